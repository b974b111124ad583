/**
 * Where decoding can begin in one track's buffer, so that media is removed up to such a place only. Pure.
 *
 * `SourceBuffer.remove(0, end)` removes more than it is asked for: all up to the first random access point at or after
 * `end` (Media Source Extensions, range removal), for what comes before it could not be decoded any more. An `end`
 * inside a group of pictures that is longer than what is kept takes away the very pictures that are shown.
 */

/** Asked for so much before a random access point, in seconds: rounded times must not end up behind it. */
const SHORT_OF_SECONDS = 0.001;

export class RandomAccessPoints {
  constructor() {
    /** Ascending, in seconds. @type {number[]} */
    this._seconds = [];
  }

  /** How many are remembered. */
  get size() {
    return this._seconds.length;
  }

  /** @param {number} seconds later than all before */
  add(seconds) {
    this._seconds.push(seconds);
  }

  /**
   * Return the last one at or before `seconds`, or null where none is known.
   * @param {number} seconds
   */
  before(seconds) {
    const after = this._seconds.findIndex((point) => point > seconds);
    return this._seconds[(after === -1 ? this._seconds.length : after) - 1] ?? null;
  }

  /**
   * Return up to where media can be removed so that all from `seconds` on can still be decoded; null for nothing.
   * @param {number} seconds
   */
  removable(seconds) {
    const point = this.before(seconds);
    return point === null ? null : point - SHORT_OF_SECONDS;
  }

  /**
   * Forget those that were removed.
   * @param {number} end up to where media was removed, in seconds
   */
  forget(end) {
    const keep = this._seconds.findIndex((point) => point >= end);
    this._seconds.splice(0, keep === -1 ? this._seconds.length : keep);
  }
}
