// A request: its path and query, and the same as a curl line.

import { address, mediaType } from './api.js';

/** What is asked for once, so that the slider filters without asking again. Below it there is nothing but noise. */
export const LEAST_SCORE = 0.1;

/** `{model, version, minScore, classes, excluded, maxDetections}` as a path of the service. */
export function path({ model, version, minScore, excluded = [], maxDetections }) {
  const query = new URLSearchParams();
  query.set('min_score', String(minScore));
  if (excluded.length) query.set('exclude_classes', excluded.join(','));
  if (maxDetections) query.set('max_detections', String(maxDetections));
  if (version) query.set('version', version);
  const route = model ? `v1/models/${encodeURIComponent(model)}/detect` : 'v1/detect';
  // Commas are legal in a query, and a line that people read is better with them.
  return `${route}?${query}`.replaceAll('%2C', ',');
}

/** The line for a POSIX shell. */
export function curl(photo, request, withKey) {
  const words = [`curl --data-binary ${quoted(`@${photo.name}`)}`, `-H ${quoted(`Content-Type: ${mediaType(photo)}`)}`];
  if (withKey) words.push('-H "Authorization: Bearer $SPOTTER_KEY"');
  words.push(quoted(address(path(request)).href));
  return words.join(' \\\n  ');
}

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
