// The color of a class: the same that src/image/draw/color.rs paints, which gives the reasons for its numbers.

const TURN = 0.618033988749895;
const TONES = [[0.85, 1.0], [1.0, 0.75], [0.5, 1.0]];
const MIN_LUMINANCE = 0.2;

/** Red, green and blue, 0 to 255. Black letters are readable on it. */
export function ofClass(id) {
  const step = ((id % 2520) + 2520) % 2520;
  const hue = (step * TURN + 0.36) % 1;
  const [saturation, value] = TONES[step % 3];
  let color = fromHsv(hue, saturation, value);
  while (luminance(color) < MIN_LUMINANCE) color = color.map((channel) => channel + Math.ceil((255 - channel) / 16));
  return color;
}

export const css = (id) => `rgb(${ofClass(id).join(' ')})`;

function luminance(color) {
  const [r, g, b] = color.map((channel) => {
    const share = channel / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function fromHsv(hue, saturation, value) {
  return [5, 3, 1].map((offset) => {
    const k = (offset + hue * 6) % 6;
    const share = value - value * saturation * Math.min(Math.max(Math.min(k, 4 - k), 0), 1);
    return Math.round(share * 255);
  });
}
