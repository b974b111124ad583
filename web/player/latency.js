/**
 * How far behind live to play, and at which rate to get there: arithmetic only (time is an argument).
 *
 * *Live* is where playing would be if every chunk travelled as fast as the fastest lately did. The distance behind it
 * is held at a target by the playback rate; too large a distance is left by seeking (steering.js). The rate is exactly
 * 1 inside a dead band, so that a settled player neither hunts nor changes the pitch.
 */

/** How long an arrival counts for where live is: long enough to span jitter, short enough to follow clocks. */
const EDGE_MEMORY_MS = 4000;

/** Live is steady when it has not come closer by more than this, in seconds: an arrival's jitter. */
const STEADY_SECONDS = 0.03;

/**
 * Where live is for a stream: where the track that comes latest is, for all of them are needed to play.
 */
export class LiveEdge {
  constructor() {
    /** @type {Map<number, TrackEdge>} */
    this._tracks = new Map();
  }

  /**
   * A chunk arrived.
   *
   * @param {number} track
   * @param {number} endSeconds media time at which it ends
   * @param {number} nowMs
   */
  observe(track, endSeconds, nowMs) {
    const edge = this._tracks.get(track) ?? new TrackEdge();
    this._tracks.set(track, edge);
    edge.observe(endSeconds, nowMs);
  }

  /**
   * Return the media time that is live now, or null before the first chunk.
   * @param {number} nowMs
   */
  at(nowMs) {
    const edges = [...this._tracks.values()].map((edge) => edge.at(nowMs)).filter((seconds) => seconds !== null);
    return edges.length === 0 ? null : Math.min(...edges);
  }

  /**
   * Return for how long live has not come closer, in milliseconds. It does as long as what an edge has kept arrives:
   * then the newest of it tells where live was, not where it is.
   * @param {number} nowMs
   */
  steadyMs(nowMs) {
    return Math.min(...[...this._tracks.values()].map((edge) => nowMs - edge.closerMs));
  }

  clear() {
    this._tracks.clear();
  }
}

/** Where live is for one track, learnt from when its chunks arrive. */
class TrackEdge {
  constructor() {
    /** Leads of arrivals, descending, each the largest since its time. @type {{ nowMs: number, lead: number }[]} */
    this._leads = [];
    /** When an arrival last was earlier than all before by more than jitter. */
    this.closerMs = -Infinity;
    this._steadyLead = -Infinity;
  }

  /** @param {number} endSeconds media time at which a chunk ends that arrived now @param {number} nowMs */
  observe(endSeconds, nowMs) {
    const lead = endSeconds - nowMs / 1000;
    if (lead > this._steadyLead + STEADY_SECONDS) {
      this.closerMs = nowMs;
      this._steadyLead = lead;
    }
    while (this._leads.length > 0 && /** @type {{ lead: number }} */ (this._leads.at(-1)).lead <= lead) {
      this._leads.pop();
    }
    this._leads.push({ nowMs, lead });
    while (this._leads.length > 1 && /** @type {{ nowMs: number }} */ (this._leads[0]).nowMs < nowMs - EDGE_MEMORY_MS) {
      this._leads.shift();
    }
  }

  /** @param {number} nowMs */
  at(nowMs) {
    const best = this._leads[0];
    return best === undefined ? null : best.lead + nowMs / 1000;
  }
}

/** So many chunks of each track tell how long its chunks are; of these, one in ten may be longer: the odd hiccup. */
const LENGTHS_MAX = 20;
const LENGTHS_ODD = 0.1;

/**
 * How long the chunks of a stream are of late. One long chunk, which a feed makes when it hiccups, is no reason to stay
 * further behind live; a stream that has long ones again and again is.
 */
export class ChunkLengths {
  constructor() {
    this._nominal = 0;
    /** The last lengths of each track, in order. @type {Map<number, number[]>} */
    this._tracks = new Map();
  }

  /**
   * Begin anew with a stream's tracks.
   * @param {number} nominalSeconds longest nominal length of a chunk, 0 when unknown: then the first chunk counts
   */
  open(nominalSeconds) {
    this._nominal = nominalSeconds;
    this._tracks.clear();
  }

  /** @param {number} track @param {number} seconds */
  observe(track, seconds) {
    const lengths = this._tracks.get(track) ?? [];
    this._tracks.set(track, lengths);
    lengths.push(seconds);
    if (lengths.length > LENGTHS_MAX) {
      lengths.shift();
    }
  }

  /** The length to leave room for. */
  get seconds() {
    return Math.max(this._nominal, ...[...this._tracks.values()].map((lengths) => this._usual(lengths)));
  }

  /** @param {readonly number[]} lengths */
  _usual(lengths) {
    const odd = lengths.length * LENGTHS_ODD;
    const left = this._nominal > 0 ? Math.ceil(odd) : Math.floor(odd);
    return [...lengths].sort((a, b) => b - a)[left] ?? 0;
  }
}

/**
 * Exponentially weighted moving average over uneven intervals.
 */
export class Average {
  /** @param {number} halfLifeMs after which a sample counts half */
  constructor(halfLifeMs) {
    this.halfLifeMs = halfLifeMs;
    /** @type {number | null} */
    this.value = null;
    this._atMs = 0;
  }

  /** @param {number} sample @param {number} nowMs */
  add(sample, nowMs) {
    if (this.value === null) {
      this.value = sample;
    } else {
      const keep = 0.5 ** (Math.max(0, nowMs - this._atMs) / this.halfLifeMs);
      this.value = keep * this.value + (1 - keep) * sample;
    }
    this._atMs = nowMs;
    return this.value;
  }

  clear() {
    this.value = null;
  }
}

/** Slowest and fastest playing: pitch is kept by the browser, movement looks natural (as in hls.js). */
export const RATE_MIN = 0.9;
export const RATE_MAX = 1.1;

/** The rate leaves 1 beyond this error and returns to it inside `BAND_IN`, in seconds. */
export const BAND_OUT_SECONDS = 0.08;
export const BAND_IN_SECONDS = 0.02;

/** Rate change for each second of error. */
const GAIN = 0.6;

/** A correction that is under way is at least this strong, so that it ends. */
const CORRECTION_MIN = 0.04;

/** With less than this buffered, in seconds, playing never speeds up: to stretch sound browsers read a tenth ahead. */
const AHEAD_MIN_SECONDS = 0.13;

/** What each stall adds to the target, and the most that all of them may. */
const STALL_GROWTH_SECONDS = 0.1;
const GROWTH_MAX_SECONDS = 2;

/** Media ahead, in seconds, under which a stall is near; it is watched over so many milliseconds, longer than jitter. */
const LOW_WATER_SECONDS = 0.07;
const LOW_WATER_MS = 1000;

/** Quiet time after which the target begins to shrink back, and how much of a second it then gives back each second. */
const SHRINK_AFTER_MS = 30_000;

/** For so long after a start the page itself may be what is busy; a stall then is forgotten after as much quiet time. */
const START_MS = 10_000;
const SHRINK_PER_SECOND = 0.01;

/** Behind live, a chunk that is still being filled is always missing: room for it, and for decoding. */
const CHUNKS_BEHIND = 1.25;
const DECODE_SECONDS = 0.08;

export class LatencyController {
  /** @param {number} targetSeconds behind live, as the page wants it */
  constructor(targetSeconds) {
    this.wantedSeconds = targetSeconds;
    this.chunks = new ChunkLengths();
    /** The rate that was last decided. */
    this.rate = 1;
    this._grown = 0;
    /** When the target last had to grow. */
    this._stalledMs = -Infinity;
    this._startedMs = -Infinity;
    this._quietMs = SHRINK_AFTER_MS;
    this._steppedMs = -Infinity;
    this._behind = new Average(400);
    this._low = Infinity;
    this._lowMs = -Infinity;
  }

  /** Where to play now, in seconds behind live. */
  get targetSeconds() {
    return Math.max(this.wantedSeconds, this.chunks.seconds * CHUNKS_BEHIND + DECODE_SECONDS) + this._grown;
  }

  /** Smoothed distance behind live in seconds, null while unknown. */
  get behindSeconds() {
    return this._behind.value;
  }

  /** Playing begins, with nothing played before. @param {number} nowMs */
  started(nowMs) {
    this._startedMs = nowMs;
  }

  /**
   * Playing stopped for want of data although the stream is live: keep more.
   * @param {number} nowMs
   */
  stalled(nowMs) {
    this._grow(STALL_GROWTH_SECONDS, nowMs);
  }

  /** The position was changed: what was averaged is of no use. */
  moved() {
    this._behind.clear();
    this._low = Infinity;
    this._lowMs = -Infinity;
    this.rate = 1;
  }

  /**
   * Return the rate to play at.
   *
   * @param {number} behindSeconds distance behind live
   * @param {number} aheadSeconds what is buffered ahead
   * @param {number} nowMs
   */
  step(behindSeconds, aheadSeconds, nowMs) {
    this._shrink(nowMs);
    this._watchWater(aheadSeconds, nowMs);
    const error = this._behind.add(behindSeconds, nowMs) - this.targetSeconds;
    this.rate = this._rateFor(error, aheadSeconds);
    return this.rate;
  }

  /**
   * @param {number} error positive when too far behind, in seconds
   * @param {number} aheadSeconds
   */
  _rateFor(error, aheadSeconds) {
    const size = Math.abs(error);
    const correcting = this.rate !== 1 && error > 0 === this.rate > 1;
    if (size < (correcting ? BAND_IN_SECONDS : BAND_OUT_SECONDS)) {
      return 1;
    }
    if (error > 0 && aheadSeconds < AHEAD_MIN_SECONDS) {
      return 1;
    }
    const change = Math.sign(error) * Math.max(CORRECTION_MIN, size * GAIN);
    return Math.round(Math.min(RATE_MAX, Math.max(RATE_MIN, 1 + change)) * 100) / 100;
  }

  /**
   * Keep a little more when what is ahead came near to nothing, before it does.
   *
   * @param {number} aheadSeconds
   * @param {number} nowMs
   */
  _watchWater(aheadSeconds, nowMs) {
    this._low = Math.min(this._low, aheadSeconds);
    if (this._lowMs === -Infinity) {
      this._lowMs = nowMs;
    } else if (nowMs - this._lowMs >= LOW_WATER_MS) {
      if (this._low < LOW_WATER_SECONDS) {
        this._grow(LOW_WATER_SECONDS - this._low, nowMs);
      }
      this._low = Infinity;
      this._lowMs = nowMs;
    }
  }

  /** @param {number} seconds @param {number} nowMs */
  _grow(seconds, nowMs) {
    this._grown = Math.min(GROWTH_MAX_SECONDS, this._grown + seconds);
    this._stalledMs = nowMs;
    this._quietMs = nowMs - this._startedMs < START_MS ? START_MS : SHRINK_AFTER_MS;
  }

  /** @param {number} nowMs */
  _shrink(nowMs) {
    const elapsed = Math.max(0, nowMs - this._steppedMs) / 1000;
    if (nowMs - this._stalledMs > this._quietMs && Number.isFinite(elapsed)) {
      this._grown = Math.max(0, this._grown - elapsed * SHRINK_PER_SECOND);
    }
    this._steppedMs = nowMs;
  }
}
