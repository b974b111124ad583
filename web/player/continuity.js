/**
 * Which chunks were had, so that each is played once and in order, whatever edge it comes from. Pure.
 *
 * For one track `(epoch, segment, chunk)` only grows and has no holes (docs/protocol.md, section 2.1). So a chunk that
 * is not newer than the last is a duplicate, and one that does not follow it directly comes after a gap.
 */

import { comparePositions } from "./wire.js";

/** @import { Chunk, Position, Track } from "./wire.js" */

/** What to do with a chunk: play it, or leave it out because it was had or cannot be decoded. */
/** @typedef {"play" | "duplicate" | "undecodable"} Verdict */

export class Continuity {
  constructor() {
    /** The epoch whose tracks are known, 0 before the first. */
    this.epoch = 0;
    /** Chunks taken for playing. */
    this.chunks = 0;
    /** Chunks that came again. */
    this.duplicates = 0;
    /** Holes in the numbers, told or seen. */
    this.gaps = 0;
    /** @type {Map<number, Progress>} */
    this._tracks = new Map();
  }

  /**
   * The tracks of an epoch; false, and nothing changes, when it is not newer than the one we are in.
   *
   * @param {number} epoch
   * @param {readonly Track[]} tracks
   */
  open(epoch, tracks) {
    if (epoch <= this.epoch) {
      return false;
    }
    const before = this._tracks;
    this.epoch = epoch;
    this._tracks = new Map(tracks.map((track) => [track.track, progressOf(track, before.get(track.track))]));
    return true;
  }

  /**
   * Take note of a chunk and say what to do with it.
   * @param {Chunk} chunk
   * @returns {Verdict}
   */
  take(chunk) {
    const progress = this._tracks.get(chunk.track);
    const { last } = progress ?? { last: null };
    if (chunk.position[0] < this.epoch || (last !== null && comparePositions(chunk.position, last.position) <= 0)) {
      this.duplicates += 1;
      return "duplicate";
    }
    if (progress === undefined || chunk.position[0] !== this.epoch) {
      return "undecodable"; // its tracks were never told
    }
    this._noteGap(progress, chunk);
    progress.last = { position: chunk.position, endOfSegment: chunk.endOfSegment };
    progress.waiting &&= !chunk.randomAccess;
    if (progress.waiting) {
      return "undecodable";
    }
    this.chunks += 1;
    return "play";
  }

  /**
   * Chunks of a track before `next` will not come; false when we have them or do not know the track. An edge that does
   * not know whether the last one that we had ended its segment says so before what follows directly as well.
   *
   * @param {number} track
   * @param {Position} next
   */
  lose(track, next) {
    const progress = this._tracks.get(track);
    if (progress === undefined || progress.last === null || comparePositions(next, progress.last.position) <= 0) {
      return false;
    }
    if (follows(progress.last, next)) {
      return false;
    }
    this.gaps += 1;
    progress.told = next;
    return true;
  }

  /** Forget what was had, to join anew at live; what was counted stays. */
  restart() {
    this.epoch = 0;
    this._tracks = new Map();
  }

  /** Return the last chunk had of each track, or null before the first. */
  after() {
    /** @type {Map<number, Position>} */
    const after = new Map();
    for (const [track, { last }] of this._tracks) {
      if (last !== null) {
        after.set(track, last.position);
      }
    }
    return after.size === 0 ? null : after;
  }

  /** @param {Progress} progress @param {Chunk} chunk */
  _noteGap(progress, chunk) {
    if (progress.last === null || follows(progress.last, chunk.position)) {
      return;
    }
    const told = progress.told !== null && comparePositions(progress.told, chunk.position) >= 0;
    if (progress.last.position[0] === chunk.position[0] && !told) {
      this.gaps += 1;
    }
    progress.told = null;
    progress.waiting = progress.needsRandomAccess;
  }
}

/**
 * @typedef {object} Progress
 * @property {boolean} needsRandomAccess whether decoding can begin at a random access point only
 * @property {boolean} waiting for a random access point
 * @property {{ position: Position, endOfSegment: boolean } | null} last the last chunk had, also of an older epoch
 * @property {Position | null} told what comes after a gap that the edge told
 */

/**
 * @param {Track} track
 * @param {Progress | undefined} before the same track in the epoch before
 * @returns {Progress}
 */
function progressOf(track, before) {
  const needsRandomAccess = track.kind === "video";
  return { needsRandomAccess, waiting: needsRandomAccess, last: before?.last ?? null, told: before?.told ?? null };
}

/** @param {{ position: Position, endOfSegment: boolean }} last @param {Position} next */
function follows({ position: [epoch, segment, chunk], endOfSegment }, next) {
  const due = /** @type {Position} */ (endOfSegment ? [epoch, segment + 1, 0] : [epoch, segment, chunk + 1]);
  return comparePositions(due, next) === 0;
}
