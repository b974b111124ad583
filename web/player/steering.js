/**
 * Where to move the playing position: pure. The playback asks often and does what is answered.
 *
 * Reasons to move, in order: nothing was played yet; the position is in a hole, or at the end of a range with another
 * one after it (a new epoch, a lost chunk); it stalled and has enough again; it is too far behind live. A range is
 * entered only when it holds enough to go on from there.
 *
 * Why a stall is ended by a move: after each one Chromium waits for twice as much media before it goes on, up to three
 * seconds, and forgets that only at a seek.
 */

/** Distance behind the target at which seeking is better than playing faster, in seconds. */
export const SEEK_BEHIND_SECONDS = 1.25;

/** The same shortly after a start or a jump, when another jump disturbs nobody. */
export const SETTLE_BEHIND_SECONDS = 0.3;

/**
 * What passes until a position that was set plays, in seconds: browsers need at least so long to fill their decoders. At
 * a start, where decoders are new, it is more, but not reliably so.
 */
const SEEK_SECONDS = 0.1;
const START_SECONDS = 0.05;

/** Media ahead, in seconds, that a position needs to play at once: browsers' sound runs dry with a tenth left. */
const AHEAD_NEEDED_SECONDS = 0.12;

/** How long after a start or a jump that is, in milliseconds. */
export const SETTLE_MS = 1500;

/** Two positions closer than this are the same: a frame at 50 per second. */
const EPSILON_SECONDS = 0.02;

/** A range is exhausted when less than this is left and the position does not move: decoders hold a few frames back. */
const TAIL_SECONDS = 0.3;

/** How long the position must stand still before the tail of a range is given up, in milliseconds. */
const STILL_MS = 150;

/**
 * How long live must have been steady before a first position is taken, in milliseconds: in that time each track gets a
 * chunk that is new, and what the edge had kept has come. Media that has been there for the other time begins anyway.
 */
const STEADY_MS = 100;
const START_PATIENCE_MS = 2000;

/** A seek must gain so many times what it costs. */
const SEEK_WORTH = 2;

/** @typedef {readonly [start: number, end: number]} Range */

/**
 * What is known of playing at one moment; times of media in seconds.
 * @typedef {object} Situation
 * @property {boolean} started whether a first position was taken
 * @property {readonly Range[]} ranges buffered, ascending
 * @property {number} position
 * @property {number} stillMs for how long the position has not moved
 * @property {boolean} stalled whether playing stopped for want of media
 * @property {number} sinceMoveMs time since the last start or jump
 * @property {number | null} live where live is
 * @property {number} steadyMs for how long live has not come closer
 * @property {number} waitedMs for how long there has been media without a first position
 * @property {number} seekSeconds how long it takes to go to live: all since the last random access point is decoded
 * @property {number} target how far behind live to play
 * @property {boolean} flowing whether more media is expected for the newest range
 */

/** @typedef {{ to: number, why: "start" | "gap" | "stall" | "behind" }} Move */

/**
 * Return where to go, or null to stay.
 * @param {Situation} situation
 * @returns {Move | null}
 */
export function steer(situation) {
  const { started, ranges, position, stillMs, stalled, target } = situation;
  const newest = ranges.at(-1);
  if (newest === undefined) {
    return null;
  }
  if (!started) {
    const { steadyMs, waitedMs, flowing } = situation;
    const settled = steadyMs >= STEADY_MS || waitedMs >= START_PATIENCE_MS || !flowing;
    return settled ? enter(newest, situation, "start") : null;
  }
  const index = ranges.findIndex(([start, end]) => start - EPSILON_SECONDS <= position && position < end);
  const range = ranges[index];
  if (range === undefined) {
    const next = ranges.find(([start]) => start > position);
    return next === undefined ? null : enter(next, situation, "gap");
  }
  const next = ranges[index + 1];
  if (next !== undefined && range[1] - position < TAIL_SECONDS && stillMs >= STILL_MS) {
    return enter(next, situation, "gap");
  }
  if (stalled && stillMs >= STILL_MS && range[1] - position >= target) {
    return { to: Math.max(position + EPSILON_SECONDS / 2, aimAt(newest, situation)), why: "stall" };
  }
  return catchUp(range, newest, situation);
}

/**
 * The position in the newest range from which playing ends up at the target.
 *
 * @param {Range} newest
 * @param {Situation} situation
 */
function aimAt([start, end], situation) {
  const wanted = distance(situation);
  const needed = Math.min(wanted, AHEAD_NEEDED_SECONDS);
  return Math.max(start + EPSILON_SECONDS / 2, Math.min((situation.live ?? end) - wanted, end - needed));
}

/**
 * How far behind live to enter, so that it is the target once playing.
 * @param {Situation} situation
 */
function distance({ started, target }) {
  return Math.max(0, target - (started ? SEEK_SECONDS : START_SECONDS));
}

/**
 * Begin inside `range`, at the target if it lies there; null while the range is too short to go on from.
 *
 * @param {Range} range
 * @param {Situation} situation
 * @param {"start" | "gap"} why
 * @returns {Move | null}
 */
function enter(range, situation, why) {
  const [start, end] = range;
  const { ranges, flowing, live } = situation;
  if (range !== ranges.at(-1)) {
    return { to: start + EPSILON_SECONDS / 2, why };
  }
  const to = aimAt(range, situation);
  const needed = distance(situation) - EPSILON_SECONDS;
  const enough = !flowing || end - to >= needed || (live !== null && live - to >= needed);
  return enough ? { to, why } : null;
}

/**
 * Return how much media `position` is behind live, in seconds: time that nothing is buffered for does not count.
 *
 * @param {readonly Range[]} ranges buffered, ascending
 * @param {number} position
 * @param {number} live where live is
 */
export function behindLive(ranges, position, live) {
  let behind = live - position;
  for (const [index, [start]] of ranges.entries()) {
    const before = Math.max(position, ranges[index - 1]?.[1] ?? position);
    behind -= Math.max(0, start - before);
  }
  return behind;
}

/**
 * @param {Range} range the one that is played
 * @param {Range} newest
 * @param {Situation} situation
 * @returns {Move | null}
 */
function catchUp(range, newest, situation) {
  const { ranges, position, live, target, sinceMoveMs, seekSeconds } = situation;
  if (live === null) {
    return null;
  }
  const patience = sinceMoveMs < SETTLE_MS ? SETTLE_BEHIND_SECONDS : SEEK_BEHIND_SECONDS;
  const limit = Math.max(patience, SEEK_WORTH * seekSeconds);
  const to = aimAt(newest, situation);
  const tooFar = behindLive(ranges, position, live) - target > limit;
  const gain = to - position;
  return tooFar && gain > (range === newest ? limit / 2 : 0) ? { to, why: "behind" } : null;
}
