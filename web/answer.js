// What of an answer is shown: the score slider and the class filter work here, on what has already arrived.

import { LEAST_SCORE } from './request.js';

export class Filter {
  minScore = 0.3;
  /** Labels that are switched off. */
  hidden = new Set();

  /** The detections that pass, in the answer's order. */
  of(answer) {
    return answer.detections.filter(({ label, score }) => score >= this.minScore && !this.hidden.has(label));
  }

  /** Labels at this score with how many there are, most first; those switched off stay, to be switched on again. */
  labels(answer) {
    const counts = new Map([...this.hidden].map((label) => [label, 0]));
    for (const { label, score } of answer.detections) {
      if (score >= this.minScore) counts.set(label, (counts.get(label) ?? 0) + 1);
    }
    return [...counts].sort(([, a], [, b]) => b - a);
  }

  /** The options with which the server answers what is shown. */
  options(answer) {
    const excluded = [...this.hidden].map((label) => {
      // A label with a comma or made of digits would read as something else; the id always works.
      const plain = !label.includes(',') && !/^\s*\d+\s*$/.test(label);
      return plain ? label : answer?.detections.find((found) => found.label === label)?.class_id;
    });
    return { minScore: Math.max(this.minScore, LEAST_SCORE), excluded: excluded.filter((it) => it !== undefined) };
  }
}

/** The answer with only these detections, as text; a box takes one line. */
export function json(answer, detections) {
  const text = JSON.stringify({ ...answer, detections }, null, 2);
  return text.replace(/("(?:box|model)": )\{\s+([^{}]*?)\s+\}/g, (_, name, inner) => `${name}{ ${inner.replace(/\s*\n\s*/g, ' ')} }`);
}
