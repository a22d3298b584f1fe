// A webcam: its newest frame is asked about as soon as the one before is answered.

import { jpeg } from './photo.js';
import { Problem } from './problem.js';

/** The rate is that of the last frames. */
const REMEMBERED = 20;
const FRAME_QUALITY = 0.8;

export class Webcam {
  #video;
  #stop = null;

  constructor(video) {
    this.#video = video;
  }

  get isRunning() {
    return this.#stop !== null;
  }

  /** Takes the camera and shows it; an AbortError where it was stopped meanwhile. */
  async start(deviceId) {
    if (!navigator.mediaDevices?.getUserMedia) throw Problem.own('CAMERA_NEEDS_HTTPS');
    this.stop();
    const stop = new AbortController();
    this.#stop = stop;
    const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: 'environment' };
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { ...which, width: { ideal: 1280 } }, audio: false });
      const release = () => stream.getTracks().forEach((track) => track.stop());
      stop.signal.addEventListener('abort', release);
      if (stop.signal.aborted) release();
      stop.signal.throwIfAborted();
      this.#video.srcObject = stream;
      await this.#video.play();
    } catch (error) {
      stop.signal.throwIfAborted();
      this.stop();
      throw refusal(error);
    }
  }

  stop() {
    this.#stop?.abort();
    this.#stop = null;
    this.#video.srcObject = null;
  }

  /** The cameras there are; names are known once one was allowed. */
  async cameras() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter(({ kind }) => kind === 'videoinput');
  }

  get deviceId() {
    return this.#video.srcObject?.getVideoTracks()[0]?.getSettings().deviceId;
  }

  /**
   * Until it is stopped: takes a frame that fits into `size()`, asks `detect(frame, signal)`, and hands over
   * `onAnswer(frame, answer, {rate, ms})`. One request is under way at a time; frames in between are never sent. A server that
   * says when to come back is left alone that long, which `onPause(problem, seconds)` is told.
   */
  async run({ size, detect, onAnswer, onPause }) {
    const { signal } = this.#stop;
    const canvas = document.createElement('canvas');
    let answered = [];
    while (!signal.aborted) {
      await this.#nextFrame(signal);
      if (signal.aborted) return;
      const begin = performance.now();
      try {
        const frame = await this.#frame(size(), canvas);
        const answer = await detect(frame, signal);
        const end = performance.now();
        answered = [...answered, end].slice(-REMEMBERED);
        const rate = answered.length > 1 ? (1000 * (answered.length - 1)) / (end - answered[0]) : null;
        if (!signal.aborted) onAnswer(frame, answer, { rate, ms: end - begin });
      } catch (error) {
        if (signal.aborted) return;
        if (!error.retryAfter) throw error;
        onPause(error, error.retryAfter);
        await pause(error.retryAfter, signal);
        answered = [];
      }
    }
  }

  /** A frame that was not there before; none come while the page is hidden. */
  #nextFrame(signal) {
    const video = this.#video;
    return unlessStopped(signal, (done) => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(done) : requestAnimationFrame(done)));
  }

  async #frame(size, canvas) {
    const { videoWidth, videoHeight } = this.#video;
    const scale = Math.min(1, size.width / videoWidth, size.height / videoHeight);
    const [width, height] = [videoWidth, videoHeight].map((side) => Math.max(1, Math.round(side * scale)));
    const blob = await jpeg(this.#video, { width, height }, FRAME_QUALITY, { canvas });
    return new File([blob], 'webcam.jpg', { type: blob.type });
  }
}

const pause = (seconds, signal) => unlessStopped(signal, (done) => setTimeout(done, seconds * 1000));

/** Waits until `begin` calls back, or no longer than the webcam runs. */
function unlessStopped(signal, begin) {
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    signal.addEventListener('abort', done);
    begin(done);
  });
}

function refusal(error) {
  if (error instanceof Problem) return error;
  const codes = { NotAllowedError: 'CAMERA_REFUSED', SecurityError: 'CAMERA_REFUSED', NotFoundError: 'NO_CAMERA', OverconstrainedError: 'NO_CAMERA' };
  return Problem.own(codes[error.name] ?? 'CAMERA_BUSY');
}
