/**
 * The edge's clock as seen from here, so that latency does not depend on this computer's own UTC. Pure.
 */

/** How many exchanges are remembered; the one with the shortest round trip among them counts. */
const SAMPLES_MAX = 8;

/**
 * An offset counts half a round trip as its error, so the sample with the shortest is the best (RFC 5905, section 10).
 */
export class EdgeClock {
  constructor() {
    /** @type {{ offsetMs: number, roundTripMs: number }[]} */
    this._samples = [];
    /** @type {number | null} */
    this._roughOffsetMs = null;
  }

  /** Shortest round trip among the remembered exchanges, in milliseconds; null before the first. */
  get roundTripMs() {
    return this._best?.roundTripMs ?? null;
  }

  /**
   * A stamp that just came, its time of travel unknown: better than nothing until the first exchange.
   *
   * @param {number} utcUs the edge's UTC in microseconds
   * @param {number} nowMs our monotonic clock
   */
  seed(utcUs, nowMs) {
    this._samples = [];
    this._roughOffsetMs = utcUs / 1000 - nowMs;
  }

  /** It is another edge's clock from now on; until that answered, the last one's has to do. */
  restart() {
    this._roughOffsetMs = this._best?.offsetMs ?? this._roughOffsetMs;
    this._samples = [];
  }

  /**
   * The answer to an exchange.
   *
   * @param {number} sentMs our monotonic clock when we asked
   * @param {number} utcUs the edge's UTC in microseconds when it answered
   * @param {number} nowMs our monotonic clock
   */
  answer(sentMs, utcUs, nowMs) {
    const roundTripMs = nowMs - sentMs;
    if (roundTripMs < 0) {
      return; // not ours: `sent` comes back from the edge
    }
    this._samples.push({ offsetMs: utcUs / 1000 - (sentMs + roundTripMs / 2), roundTripMs });
    this._samples.splice(0, this._samples.length - SAMPLES_MAX);
  }

  /**
   * Return the edge's UTC in microseconds, or null while nothing is known.
   * @param {number} nowMs our monotonic clock
   */
  utcUs(nowMs) {
    const offsetMs = this._best?.offsetMs ?? this._roughOffsetMs;
    return offsetMs === null ? null : (nowMs + offsetMs) * 1000;
  }

  get _best() {
    return this._samples.reduce(
      (best, sample) => (best === null || sample.roundTripMs < best.roundTripMs ? sample : best),
      /** @type {{ offsetMs: number, roundTripMs: number } | null} */ (null),
    );
  }
}
