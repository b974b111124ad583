/**
 * Media Source Extensions: one MediaSource with one SourceBuffer for each track.
 *
 * Why one each and not a combined one: all browsers take it, a track changes its codec alone, and the headers come one
 * by one as they are. Decode times are UTC seconds (docs/protocol.md, section 2.4); they are shifted so that the
 * media element's position is a small number, which every browser handles to the microsecond.
 */

import { TrackBuffer, WAITING_MAX_BYTES } from "./track-buffer.js";
import { compareTracks, mimeType } from "./tracks.js";

/** @import { Chunk, Track } from "./wire.js" */
/** @import { Range } from "./steering.js" */

/** The position at which the first media lies: room for what of other tracks begins a little earlier. */
const ORIGIN_SECONDS = 10;

/**
 * Played media that is kept, in seconds, and all that is needed to decode it; and by how much more it is let grow before
 * some is removed.
 */
const KEEP_SECONDS = 10;
const KEEP_SLACK_SECONDS = 5;

/**
 * @typedef {typeof MediaSource & { prototype: MediaSource }} MediaSourceType
 */

/**
 * The browser's MediaSource, ManagedMediaSource where there is one (Safari, and iPhones have nothing else).
 * @returns {MediaSourceType | undefined}
 */
export function mediaSourceType() {
  const scope = /** @type {{ ManagedMediaSource?: MediaSourceType, MediaSource?: MediaSourceType }} */ (globalThis);
  return scope.ManagedMediaSource ?? scope.MediaSource;
}

export class MediaBuffer {
  /**
   * @param {HTMLVideoElement} video is attached to it
   * @param {readonly Track[]} tracks to play, supported all of them
   * @param {(reason: string) => void} onFailed called once, when nothing more can be played from it
   */
  constructor(video, tracks, onFailed) {
    this.tracks = tracks;
    this._video = video;
    this._onFailed = onFailed;
    /** @type {Map<number, TrackBuffer>} */
    this._buffers = new Map();
    /** Chunks that came before the MediaSource was open. @type {Chunk[]} */
    this._early = [];
    this._earlyBytes = 0;
    /** Media second that is position 0; null until the first chunk. @type {number | null} */
    this._zeroSeconds = null;
    this._ended = false;
    this._closed = false;
    const type = mediaSourceType();
    if (type === undefined) {
      throw new TypeError("This browser has no Media Source Extensions.");
    }
    this._source = new type();
    this._source.onsourceopen = () => this._work();
    this._url = URL.createObjectURL(this._source);
    video.disableRemotePlayback = true; // ManagedMediaSource does not open otherwise
    video.src = this._url;
  }

  /**
   * Positions at which every track has media, ascending.
   * @returns {Range[]}
   */
  get ranges() {
    const { buffered } = this._video;
    return Array.from({ length: buffered.length }, (_, index) => [buffered.start(index), buffered.end(index)]);
  }

  /**
   * Return the position of a chunk's beginning, or null before the first chunk.
   *
   * @param {Chunk} chunk
   * @param {boolean} [atEnd] its end instead
   */
  positionOf(chunk, atEnd = false) {
    const track = this.tracks.find(({ track: number }) => number === chunk.track);
    if (track === undefined || this._zeroSeconds === null) {
      return null;
    }
    return (chunk.decodeTime + (atEnd ? chunk.duration : 0)) / track.timescale - this._zeroSeconds;
  }

  /** @param {Chunk} chunk of one of the tracks */
  push(chunk) {
    const track = this.tracks.find(({ track: number }) => number === chunk.track);
    if (track === undefined || this._closed) {
      return;
    }
    this._zeroSeconds ??= Math.floor(chunk.decodeTime / track.timescale) - ORIGIN_SECONDS;
    this._ended = false; // a stream that had ended may begin again
    this._early.push(chunk);
    this._earlyBytes += chunk.media.length;
    if (this._earlyBytes > WAITING_MAX_BYTES) {
      this._fail("the browser does not open its media source");
      return;
    }
    this._work();
  }

  /**
   * Go on with the tracks of a new epoch; false when that needs a new MediaBuffer.
   * @param {readonly Track[]} tracks
   */
  change(tracks) {
    const change = compareTracks(this.tracks, tracks);
    if (change === "rebuild" || this._closed || (change === "headers" && this._buffers.size === 0)) {
      return false;
    }
    this.tracks = tracks;
    for (const track of tracks) {
      this._buffers.get(track.track)?.change(track);
    }
    return true;
  }

  /** Remove media that was played long ago. */
  evict() {
    const position = this._video.currentTime - KEEP_SECONDS;
    this._buffers.forEach((buffer) => buffer.evict(position, KEEP_SLACK_SECONDS));
  }

  /**
   * How much has to be decoded to show what is at `position`, in seconds.
   * @param {number} position
   */
  prerollSeconds(position) {
    return Math.max(0, ...[...this._buffers.values()].map((buffer) => buffer.prerollSeconds(position)));
  }

  /** Nothing more will come: let the element play to the end. */
  end() {
    this._ended = true;
    this._work();
  }

  /** Let go of everything; the element keeps its last picture until another source is set. */
  close() {
    if (this._closed) {
      return;
    }
    this._closed = true;
    this._source.onsourceopen = null;
    this._buffers.forEach((buffer) => buffer.close());
    this._early = [];
    URL.revokeObjectURL(this._url);
  }

  _work() {
    if (this._closed || this._source.readyState === "closed" || this._zeroSeconds === null) {
      return;
    }
    if (this._buffers.size === 0 && !this._open(this._zeroSeconds)) {
      return;
    }
    this._earlyBytes = 0;
    for (const chunk of this._early.splice(0)) {
      this._buffers.get(chunk.track)?.append(chunk.media, chunk.randomAccess ? this.positionOf(chunk) : null);
    }
    if (this._ended && this._source.readyState === "open" && [...this._buffers.values()].every(({ idle }) => idle)) {
      this._source.endOfStream();
    }
  }

  /** @param {number} zeroSeconds */
  _open(zeroSeconds) {
    const owner = {
      position: () => this._video.currentTime,
      /** @param {string} reason */
      failed: (reason) => this._fail(reason),
    };
    for (const [track, buffer] of this._addSourceBuffers()) {
      this._buffers.set(track.track, new TrackBuffer(buffer, track, -zeroSeconds, owner));
      buffer.addEventListener("updateend", () => this._work());
    }
    return !this._closed && this._buffers.size > 0;
  }

  /**
   * All of them before the first byte: browsers add no SourceBuffer once another one has its header.
   * @returns {[Track, SourceBuffer][]} empty when the browser refuses
   */
  _addSourceBuffers() {
    try {
      this._source.duration = Infinity;
      return this.tracks.map((track) => [track, this._source.addSourceBuffer(mimeType(track))]);
    } catch (error) {
      this._fail(`the browser opens no buffer (${error instanceof Error ? error.message : error})`);
      return [];
    }
  }

  /** @param {string} reason */
  _fail(reason) {
    if (!this._closed) {
      this.close();
      this._onFailed(reason);
    }
  }
}
