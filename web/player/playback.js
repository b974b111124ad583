/**
 * A media element that plays chunks at live: it does what steering.js and latency.js decide.
 */

import { CaptureTimes } from "./capture-times.js";
import { LatencyController, LiveEdge } from "./latency.js";
import { MediaBuffer } from "./media-buffer.js";
import { behindLive, steer } from "./steering.js";

/** @import { Chunk, Track } from "./wire.js" */
/** @import { Move } from "./steering.js" */

/** How often the position is looked at, in milliseconds; chunks that arrive make it more often. */
const TICK_MS = 100;
const TICK_MIN_MS = 30;

/** A position that stands still for so long although there is media ahead is stuck, in milliseconds. */
const STUCK_MS = 3000;

/** Media ahead, in seconds, with which a browser has no reason to wait. */
const AHEAD_ENOUGH_SECONDS = 0.5;

/** How long a browser may take to go to a position before another one is thought of, in milliseconds. */
const SEEK_PATIENCE_MS = 500;

/**
 * To show a position all since the last random access point is decoded. So much of it takes no time worth mentioning;
 * what is beyond is allowed as much time as it would take to play it. In seconds.
 */
const PREROLL_SHORT_SECONDS = 2;

/** How far a stuck position is pushed, and how often before we begin anew. */
const NUDGE_SECONDS = 0.1;
const NUDGES_MAX = 2;

export class Playback {
  /**
   * @param {HTMLVideoElement} video
   * @param {object} owner
   * @param {(reason: string) => void} owner.failed nothing more comes out of it until `open` with new media
   * @param {() => void} owner.blocked the browser wants a gesture before it plays
   * @param {() => void} owner.paused somebody paused the element, for example by a media key
   */
  constructor(video, owner) {
    this.video = video;
    this.latency = new LatencyController(0.25);
    /** How often playing stopped for want of media. */
    this.stalls = 0;
    /** How often a hole was jumped over. */
    this.jumps = 0;
    this._owner = owner;
    this._live = new LiveEdge();
    this._captured = new CaptureTimes();
    /** @type {MediaBuffer | null} */
    this._buffer = null;
    this._flowing = false;
    this._started = false;
    /** Whether the element has played since the position was last set. */
    this._playing = false;
    this._stalled = false;
    this._stalledAt = 0;
    /** When there first was media to begin with. @type {number | null} */
    this._readyMs = null;
    /** What was left to decode when the position was set, in seconds; null once it plays. @type {number | null} */
    this._preroll = null;
    /** How long a second of that takes, in seconds, as far as is known. */
    this._prerollPace = 0;
    this._position = 0;
    this._positionMs = 0;
    this._movedMs = -Infinity;
    this._tickedMs = -Infinity;
    this._nudges = 0;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._timer = undefined;
    this._listen();
  }

  /**
   * Play the tracks of a new epoch; what is buffered is kept where the tracks allow it.
   *
   * @param {readonly Track[]} tracks
   * @param {boolean} fresh whether to begin with new buffers in any case
   */
  open(tracks, fresh) {
    this.latency.chunks.open(Math.max(0, ...tracks.map((track) => track.chunkSeconds)));
    if (fresh || this._buffer === null || !this._buffer.change(tracks)) {
      this._reset();
      this._buffer = new MediaBuffer(this.video, tracks, (reason) => this._fail(reason));
    }
    this._timer ??= setInterval(() => this._tick(performance.now()), TICK_MS);
  }

  /** @param {Chunk} chunk */
  push(chunk) {
    const now = performance.now();
    const buffer = this._buffer;
    if (buffer === null || chunk.media.length === 0) {
      return;
    }
    buffer.push(chunk);
    this._learn(buffer, chunk, now);
    if (now - this._tickedMs >= TICK_MIN_MS) {
      this._tick(now);
    }
  }

  /**
   * Whether media flows: then a range that is short will grow.
   * @param {boolean} flowing
   */
  setFlowing(flowing) {
    this._flowing = flowing;
  }

  /** No more media will come. */
  end() {
    this._flowing = false;
    this._buffer?.end();
  }

  /** Go to live at once if we are behind, as after a time in the background. */
  goLive() {
    this._movedMs = performance.now();
    this._tick(this._movedMs);
  }

  /** Stop and hold the picture. */
  halt() {
    clearInterval(this._timer);
    this._timer = undefined;
    this._reset();
    this.video.pause();
  }

  /** Show nothing, and let go of the media too. */
  clear() {
    this.halt();
    this.video.removeAttribute("src");
    this.video.load();
  }

  /** Seconds buffered ahead of the position. */
  get aheadSeconds() {
    const position = this.video.currentTime;
    const range = this._buffer?.ranges.find(([start, end]) => start <= position + 0.02 && position < end);
    return range === undefined ? 0 : range[1] - position;
  }

  /** Capture time of what is shown, UTC in microseconds, or null while nothing is. */
  get shownUs() {
    return this._started ? this._captured.at(this.video.currentTime) : null;
  }

  /** Whether a picture (or sound) was begun with. */
  get started() {
    return this._started;
  }

  // -- inside --------------------------------------------------------------------------------------------------------

  /**
   * Learn from a chunk where live is, and when its media was captured.
   *
   * @param {MediaBuffer} buffer
   * @param {Chunk} chunk
   * @param {number} now
   */
  _learn(buffer, chunk, now) {
    const start = buffer.positionOf(chunk);
    const end = buffer.positionOf(chunk, true);
    if (start === null || end === null) {
      return; // of a track that is not played
    }
    this.latency.chunks.observe(chunk.track, end - start);
    this._live.observe(chunk.track, end, now);
    if (chunk.track === buffer.tracks[0]?.track) {
      this._captured.add(start, chunk.captureUs);
    }
  }

  _listen() {
    this.video.addEventListener("waiting", () => this._waited());
    this.video.addEventListener("playing", () => this._played());
    this.video.addEventListener("pause", () => this._paused());
    this.video.addEventListener("error", () => this._fail(errorWords(this.video.error)));
  }

  _reset() {
    this._buffer?.close();
    this._buffer = null;
    this._live.clear();
    this._captured.clear();
    this.latency.moved();
    this._started = false;
    this._playing = false;
    this._stalled = false;
    this._readyMs = null;
    this._preroll = null;
    this._nudges = 0;
  }

  /** @param {string} reason */
  _fail(reason) {
    if (this._buffer !== null) {
      this._reset();
      this._owner.failed(reason);
    }
  }

  _waited() {
    if (this._playing && !this.video.seeking) {
      this._playing = false;
      this._stalled = true;
      this._stalledAt = this.video.currentTime;
      this.stalls += 1;
    }
  }

  _played() {
    this._playing = true;
    this._notePreroll(performance.now());
    if (this._stalled && this._isBuffered(this._stalledAt, this.video.currentTime)) {
      this.latency.stalled(performance.now());
    }
    this._stalled = false; // where there was a hole, which some browsers pass by themselves, more would not have helped
  }

  /** Learn how long decoding up to a position took. @param {number} now */
  _notePreroll(now) {
    if (this._preroll !== null && this._preroll > PREROLL_SHORT_SECONDS) {
      this._prerollPace = (now - this._movedMs) / 1000 / this._preroll;
    }
    this._preroll = null;
  }

  /** Whether the browser still decodes what comes before the position. @param {number} now */
  _isPrerolling(now) {
    const { seeking, paused, readyState, HAVE_FUTURE_DATA } = this.video;
    const long = Math.max(0, (this._preroll ?? 0) - PREROLL_SHORT_SECONDS) * 1000;
    if (seeking) {
      return now - this._movedMs < SEEK_PATIENCE_MS + long;
    }
    return !paused && readyState < HAVE_FUTURE_DATA && now - this._movedMs < long;
  }

  /** Whether there is media all the way. @param {number} from @param {number} to */
  _isBuffered(from, to) {
    return this._buffer?.ranges.some(([start, end]) => start <= from && to <= end) ?? false;
  }

  _paused() {
    // Browsers pause what is hidden by themselves, and what has ended.
    if (this._started && this.video.paused && !this.video.ended && !document.hidden) {
      this._owner.paused();
    }
  }

  /** @param {number} now */
  _tick(now) {
    const { video, _buffer: buffer } = this;
    this._tickedMs = now;
    if (buffer === null) {
      return;
    }
    this._notePosition(now);
    if (this._isPrerolling(now)) {
      this._positionMs = now; // it is not stuck
      return;
    }
    const move = this._steer(buffer, now);
    if (move !== null) {
      this._move(buffer, move, now);
    } else if (this._started) {
      if (!video.seeking) {
        this._hold(buffer, now);
      }
      this._checkStuck(now);
    }
    buffer.evict();
  }

  /** @param {number} now */
  _notePosition(now) {
    if (this.video.currentTime !== this._position || !this._started) {
      this._position = this.video.currentTime;
      this._positionMs = now;
    }
  }

  /** @param {MediaBuffer} buffer @param {number} now */
  _steer(buffer, now) {
    const { ranges } = buffer;
    if (ranges.length > 0) {
      this._readyMs ??= now;
    }
    return steer({
      started: this._started,
      ranges,
      position: this.video.currentTime,
      stillMs: now - this._positionMs,
      stalled: this._stalled,
      sinceMoveMs: now - this._movedMs,
      live: this._live.at(now),
      steadyMs: this._live.steadyMs(now),
      waitedMs: this._readyMs === null ? 0 : now - this._readyMs,
      seekSeconds: this._prerollPace * buffer.prerollSeconds(ranges.at(-1)?.[1] ?? 0),
      target: this.latency.targetSeconds,
      flowing: this._flowing,
    });
  }

  /** @param {MediaBuffer} buffer @param {Move} move @param {number} now */
  _move(buffer, { to, why }, now) {
    if (why === "gap") {
      this.jumps += 1; // a hole is the stream's fault, and no reason to keep more
    } else if (this._stalled) {
      this.latency.stalled(now);
    }
    this._playing = false;
    this._stalled = false;
    this._movedMs = now;
    this._positionMs = now;
    if (!this._started) {
      this._started = true;
      this.latency.started(now);
    }
    this._preroll = buffer.prerollSeconds(to);
    this.latency.moved();
    this.video.playbackRate = 1;
    this.video.currentTime = to;
    void this._play();
  }

  /**
   * Keep the distance to live by the rate.
   *
   * @param {MediaBuffer} buffer
   * @param {number} now
   */
  _hold(buffer, now) {
    const live = this._live.at(now);
    if (this.video.paused) {
      if (!document.hidden && !this.video.ended) {
        void this._play(); // the browser had paused it
      }
    } else if (this._playing && live !== null) {
      const behind = behindLive(buffer.ranges, this.video.currentTime, live);
      const rate = this.latency.step(behind, this.aheadSeconds, now);
      if (rate !== this.video.playbackRate) {
        this.video.playbackRate = rate;
      }
    }
  }

  /** @param {number} now */
  _checkStuck(now) {
    if (now - this._positionMs < STUCK_MS || this.video.paused || this.aheadSeconds < AHEAD_ENOUGH_SECONDS) {
      return;
    }
    this._nudges += 1;
    if (this._nudges > NUDGES_MAX) {
      this._fail("the browser does not go on playing");
      return;
    }
    this._positionMs = now;
    this.video.currentTime += NUDGE_SECONDS;
  }

  async _play() {
    try {
      await this.video.play();
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "NotAllowedError")) {
        return; // interrupted by a new source or a pause: whoever did that goes on
      }
      if (this.video.muted) {
        this._owner.blocked();
      } else {
        this.video.muted = true; // sound wants a gesture, a picture does not
        void this._play();
      }
    }
  }
}

/** @param {MediaError | null} error */
function errorWords(error) {
  const kind = error?.code === MediaError.MEDIA_ERR_DECODE ? "the browser cannot decode the media" : "the browser stopped";
  return error?.message ? `${kind} (${error.message})` : kind;
}
