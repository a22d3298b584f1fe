// The annotated picture, to save: what is shown, in the photo's own pixels or as large as a phone can draw it.

import * as color from './color.js';
import { percent } from './language.js';
import { DRAWN_SIDE, JPEG_QUALITY, jpeg, within } from './photo.js';
import { places } from './stage.js';

/** JPEG of the photo with these boxes, which are in pixels of a picture of `frame`'s size. */
export async function annotated(photo, detections, frame) {
  const size = within(DRAWN_SIDE, photo);
  return jpeg(await photo.image(), size, JPEG_QUALITY, { annotate: (pen) => draw(pen, size, detections, frame) });
}

function draw(pen, { width, height }, detections, frame) {
  // Line and letters as src/image/draw.rs measures them, so that they look the same at any size.
  const side = Math.max(width, height);
  const line = side < 100 ? 1 : Math.max(2, Math.floor(side / 300));
  const letters = Math.max(14, side / 45);
  pen.font = `600 ${letters}px system-ui, sans-serif`;
  pen.textBaseline = 'middle';
  const scaled = ({ x_min, y_min, x_max, y_max }) => {
    const [across, down] = [width / frame.width, height / frame.height];
    return { left: x_min * across, top: y_min * down, right: x_max * across, bottom: y_max * down };
  };
  for (const { box, class_id } of [...detections].reverse()) {
    const { left, top, right, bottom } = scaled(box);
    const stroke = (style, thickness) => {
      Object.assign(pen, { strokeStyle: style, lineWidth: thickness });
      pen.strokeRect(left + line / 2, top + line / 2, right - left - line, bottom - top - line);
    };
    stroke('rgb(0 0 0 / 50%)', line + 2 * Math.max(1, Math.floor(line / 3)));
    stroke(color.css(class_id), line);
  }
  const tags = detections.map(({ box, class_id, label, score }) => {
    const text = `${label} ${percent(score)}`;
    return { ...scaled(box), text, class_id, width: pen.measureText(text).width + letters * 0.7, height: letters * 1.4 };
  });
  places(tags, width, height).forEach((place, index) => {
    const { text, class_id } = tags[index];
    pen.fillStyle = color.css(class_id);
    pen.fillRect(place.x, place.y, place.width, place.height);
    pen.fillStyle = '#000';
    pen.fillText(text, place.x + letters * 0.35, place.y + place.height / 2);
  });
}

/** Hands a file to the browser's downloads. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = Object.assign(document.createElement('a'), { href: url, download: name });
  link.click();
  // The download holds the blob by the time the task that started it is over.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
