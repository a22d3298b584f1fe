// What was found, as a list: for everyone, and in place of the boxes for those who do not see them.

import * as color from './color.js';
import { element } from './element.js';
import { percent, t } from './language.js';

export class FoundList {
  #list;
  #onHighlight;
  /** Index of the item that stays highlighted. */
  #pinned = null;

  constructor(list, onHighlight) {
    this.#list = list;
    this.#onHighlight = onHighlight;
    const index = (event) => {
      const button = event.target.closest?.('button');
      return button ? Number(button.dataset.index) : null;
    };
    for (const kind of ['pointerover', 'focusin']) list.addEventListener(kind, (event) => onHighlight(index(event) ?? this.#pinned));
    for (const kind of ['pointerleave', 'focusout']) list.addEventListener(kind, () => onHighlight(this.#pinned));
    list.addEventListener('click', (event) => {
      const chosen = index(event);
      if (chosen !== null) this.#pin(chosen === this.#pinned ? null : chosen);
    });
  }

  /** Shows these. Items are kept and refilled, so that the keyboard's focus stays while a webcam's answers come in. */
  show(detections) {
    while (this.#list.children.length > detections.length) this.#list.lastChild.remove();
    detections.forEach((found, index) => {
      const item = this.#list.children[index] ?? this.#list.appendChild(newItem(index));
      fill(item, found);
    });
    if (this.#pinned !== null && this.#pinned >= detections.length) this.#pinned = null;
    this.#mark();
  }

  /** Forgets which item was chosen: another photo has other objects. */
  reset() {
    this.#pin(null);
  }

  /** Back to the item that stays highlighted, if any. */
  release() {
    this.#onHighlight(this.#pinned);
  }

  /** Shows which item a box belongs to. */
  point(index) {
    [...this.#list.children].forEach((item, at) => item.classList.toggle('pointed', at === index));
  }

  #pin(index) {
    this.#pinned = index;
    this.#mark();
  }

  #mark() {
    [...this.#list.children].forEach((item, index) => item.firstChild.setAttribute('aria-pressed', index === this.#pinned));
    this.#onHighlight(this.#pinned);
  }
}

function newItem(index) {
  const part = (className) => element('span', { className });
  const button = element('button', { type: 'button' }, part('swatch'), part('label'), part('score'), part('place'));
  button.dataset.index = index;
  return element('li', {}, button);
}

function fill(item, { label, score, class_id, box }) {
  const [swatch, name, sure, place] = item.firstChild.children;
  swatch.style.background = color.css(class_id);
  name.textContent = label;
  sure.textContent = percent(score);
  place.textContent = t('found.place', box);
  item.style.setProperty('--score', score);
}
