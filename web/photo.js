// A photo: what the person gave, what is sent, and what can be shown.

import { Problem } from './problem.js';

/** What browsers may read and the server does not; these are converted before they are sent. */
const FOREIGN = /^image\/(heic|heif|avif)|\.(heic|heif|avif)$/i;
const HEIC = /^image\/hei[cf]|\.hei[cf]$/i;
/** Longest side of what is drawn: more than any detector looks at, less than the largest canvas of a phone. */
export const DRAWN_SIDE = 4096;
const SHRUNK_SIDE = 2048;
export const JPEG_QUALITY = 0.92;

export class Photo {
  /** The file to send. */
  file;
  /** Where an <img> finds it; null where the browser cannot show it. */
  url = null;
  /** Upright, as the browser shows it. */
  width = 0;
  height = 0;
  /** Key of the text that says what was done to it. */
  note = null;
  /** Whether the file to send is one of the person's own, and not only in this page: pasted, filmed, made smaller. */
  isOnDisk = false;

  static async open(file, isOnDisk = false) {
    const photo = new Photo();
    photo.isOnDisk = isOnDisk;
    photo.file = file.name ? file : new File([file], 'photo', { type: file.type });
    await photo.#show(photo.file);
    return FOREIGN.test(file.type) || FOREIGN.test(file.name) ? ((await photo.converted()) ?? photo) : photo;
  }

  get isHeic() {
    return HEIC.test(this.file.type) || HEIC.test(this.file.name);
  }

  get isShown() {
    return this.url !== null;
  }

  /** As JPEG, made by the browser, upright; null where the browser cannot read it. */
  converted() {
    return this.#redrawn(DRAWN_SIDE, 'photo.converted');
  }

  /** Smaller, for a server that takes no more; null where the browser cannot read it. */
  shrunk() {
    return this.#redrawn(SHRUNK_SIDE, 'photo.shrunk', '-smaller');
  }

  /** Shows another picture of the same photo: what the server made of it. */
  async showAs(picture) {
    this.close();
    await this.#show(picture);
  }

  /** The photo as an image to draw from. */
  async image() {
    const image = new Image();
    image.src = this.url;
    await image.decode();
    return image;
  }

  close() {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
  }

  async #show(picture) {
    this.url = URL.createObjectURL(picture);
    try {
      const { naturalWidth, naturalHeight } = await this.image();
      Object.assign(this, { width: naturalWidth, height: naturalHeight });
    } catch {
      this.close();
    }
  }

  async #redrawn(longest, note, suffix = '') {
    if (!this.isShown) return null;
    const image = await this.image();
    const blob = await jpeg(image, within(longest, this), JPEG_QUALITY);
    const photo = new Photo();
    photo.file = new File([blob], this.file.name.replace(/\.\w+$/, '') + suffix + '.jpg', { type: blob.type });
    await photo.#show(photo.file);
    photo.note = note;
    return photo;
  }
}

/** A size of the same shape, no side of which is longer. */
export function within(longest, { width, height }) {
  const scale = Math.min(1, longest / Math.max(width, height));
  const scaled = (side) => Math.max(1, Math.round(side * scale));
  return { width: scaled(width), height: scaled(height) };
}

/**
 * Whatever can be drawn, as JPEG of this size; on white, where it is transparent. `annotate(pen)` may draw on it. A problem where
 * the browser has no room for it.
 */
export async function jpeg(source, { width, height }, quality, { canvas = document.createElement('canvas'), annotate } = {}) {
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext('2d', { alpha: false });
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, width, height);
  pen.drawImage(source, 0, 0, width, height);
  annotate?.(pen);
  const blob = await new Promise((done) => canvas.toBlob(done, 'image/jpeg', quality));
  if (!blob) throw Problem.own('NO_PICTURE');
  return blob;
}
