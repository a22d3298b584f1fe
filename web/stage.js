// The photo or the webcam's picture, with the boxes on it.

import * as color from './color.js';
import { element } from './element.js';
import { percent } from './language.js';

export class Stage {
  #root;
  #image;
  #video;
  #overlay;
  #frame = { width: 1, height: 1 };
  #tags = [];

  constructor(root) {
    this.#root = root;
    this.#image = root.querySelector('img');
    this.#video = root.querySelector('video');
    this.#overlay = root.querySelector('.boxes');
    new ResizeObserver(() => this.#placeTags()).observe(this.#overlay);
    // A phone that is turned films on in another shape.
    this.#video.addEventListener('resize', () => {
      if (!this.#video.hidden) this.#shapeAsFilmed();
    });
  }

  get video() {
    return this.#video;
  }

  showPhoto(photo) {
    this.#video.hidden = true;
    this.#image.hidden = false;
    this.#image.src = photo.url;
    this.#shape(photo);
  }

  showVideo() {
    this.#image.hidden = true;
    this.#image.removeAttribute('src');
    this.#video.hidden = false;
    this.#shapeAsFilmed();
  }

  describe(text) {
    this.#image.alt = text;
  }

  /** Draws boxes that are given in pixels of a picture of this size; it may be shown at any other. */
  draw(detections, { width, height }) {
    this.#frame = { width, height };
    const boxes = detections.map((found, index) => {
      const box = element('div', { className: 'box' });
      box.dataset.index = index;
      const { x_min, y_min, x_max, y_max } = found.box;
      box.style.left = `${(100 * x_min) / width}%`;
      box.style.top = `${(100 * y_min) / height}%`;
      box.style.width = `${(100 * (x_max - x_min)) / width}%`;
      box.style.height = `${(100 * (y_max - y_min)) / height}%`;
      box.style.setProperty('--class', color.css(found.class_id));
      return box;
    });
    this.#tags = detections.map((found, index) => {
      const tag = element('span', { className: 'tag' }, `${found.label} ${percent(found.score)}`);
      tag.dataset.index = index;
      tag.style.setProperty('--class', color.css(found.class_id));
      return { tag, box: found.box };
    });
    // The best is on top, and has the first choice where its tag goes.
    this.#overlay.replaceChildren(...boxes.reverse(), ...this.#tags.map(({ tag }) => tag).reverse());
    this.#placeTags();
  }

  clear() {
    this.#tags = [];
    this.#overlay.replaceChildren();
  }

  /** Sets one box off from the others; null for none. */
  highlight(index) {
    this.#overlay.classList.toggle('chosen', index !== null);
    for (const part of this.#overlay.children) part.classList.toggle('on', Number(part.dataset.index) === index);
  }

  #shapeAsFilmed() {
    this.#shape({ width: this.#video.videoWidth, height: this.#video.videoHeight });
  }

  #shape({ width, height }) {
    this.#root.style.setProperty('--ratio', width / height);
    // A thumbnail blown up to the width of the screen shows nothing more.
    this.#root.style.setProperty('--widest', `${Math.max(width * 3, 240)}px`);
  }

  #placeTags() {
    const { clientWidth, clientHeight } = this.#overlay;
    const [across, down] = [clientWidth / this.#frame.width, clientHeight / this.#frame.height];
    const tags = this.#tags.map(({ tag, box }) => ({
      width: tag.offsetWidth,
      height: tag.offsetHeight,
      left: box.x_min * across,
      top: box.y_min * down,
      bottom: box.y_max * down,
    }));
    places(tags, clientWidth, clientHeight).forEach(({ x, y }, index) => {
      this.#tags[index].tag.style.transform = `translate(${x}px, ${y}px)`;
    });
  }
}

/**
 * Where tags of these sizes go, the best first: each above its box from `left`, `top` and `bottom`, else inside or below it,
 * where it covers the least of those before it; always inside the picture.
 */
export function places(tags, across, down) {
  const taken = [];
  for (const { width, height, left, top, bottom } of tags) {
    const x = Math.max(0, Math.min(left, across - width));
    const rows = [top - height, top, bottom - height, bottom].filter((y) => y >= 0 && y + height <= down);
    const covered = (y) => taken.reduce((sum, other) => sum + overlap({ x, y, width, height }, other), 0);
    const y = rows.reduce((best, row) => (covered(row) < covered(best) ? row : best), rows[0] ?? 0);
    taken.push({ x, y, width, height });
  }
  return taken;
}

function overlap(a, b) {
  const across = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const down = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  return Math.max(0, across) * Math.max(0, down);
}
