/**
 * When what is on the screen was captured. Pure.
 */

/** How much is remembered, in seconds of media: more than is ever buffered behind the newest chunk. */
const MEMORY_SECONDS = 30;

export class CaptureTimes {
  constructor() {
    /** Ascending in both. @type {{ seconds: number, captureUs: number }[]} */
    this._stamps = [];
  }

  /**
   * @param {number} seconds media time of a chunk
   * @param {number} captureUs its capture time
   */
  add(seconds, captureUs) {
    this._stamps.push({ seconds, captureUs });
    const keep = this._stamps.findIndex((stamp) => stamp.seconds >= seconds - MEMORY_SECONDS);
    if (keep > 0) {
      this._stamps.splice(0, keep);
    }
  }

  /**
   * Return the capture time of the media at `seconds`, UTC in microseconds, or null where none is known.
   * @param {number} seconds
   */
  at(seconds) {
    const next = this._stamps.findIndex((stamp) => stamp.seconds > seconds);
    const stamp = next === -1 ? this._stamps.at(-1) : this._stamps[next - 1];
    return stamp === undefined ? null : stamp.captureUs + (seconds - stamp.seconds) * 1e6;
  }

  clear() {
    this._stamps = [];
  }
}
