/**
 * How long to wait before trying again. Pure: the random number is an argument.
 */
export class Backoff {
  /**
   * @param {object} options
   * @param {number} options.minMs the first wait
   * @param {number} options.maxMs the longest
   * @param {number} [options.factor] growth from wait to wait
   */
  constructor({ minMs, maxMs, factor = 2 }) {
    this.minMs = minMs;
    this.maxMs = maxMs;
    this.factor = factor;
    /** How often it was asked since the last success. */
    this.attempts = 0;
  }

  /**
   * Return the next wait in milliseconds, between half and all of what is due, so that many players spread out.
   * @param {number} random from 0 to 1
   */
  next(random) {
    const due = Math.min(this.maxMs, this.minMs * this.factor ** this.attempts);
    this.attempts += 1;
    return due * (0.5 + random / 2);
  }

  /** It worked: begin small again. */
  reset() {
    this.attempts = 0;
  }
}
