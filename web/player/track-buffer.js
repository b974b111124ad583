/**
 * One SourceBuffer and what waits for it: a SourceBuffer does one thing at a time, and says when it is done.
 */

import { RandomAccessPoints } from "./random-access.js";
import { mimeType, sameHeader } from "./tracks.js";

/** @import { Track } from "./wire.js" */

/**
 * Most bytes that wait for a SourceBuffer. Who joins has all since the last random access point at once, at most what an
 * edge keeps of a stream (96 MiB unless it is told otherwise); more means that the SourceBuffer is stuck.
 */
export const WAITING_MAX_BYTES = 128 * 1024 * 1024;

/** Most bytes joined into one append: an append of many chunks costs hardly more than one of one. */
const APPEND_MAX_BYTES = 1024 * 1024;

/** Kept behind the position when the browser's own quota is reached, in seconds: no more than rounding needs. */
const QUOTA_KEEP_SECONDS = 0.1;

/**
 * @typedef {(
 *   | { kind: "append", bytes: Uint8Array<ArrayBuffer> }
 *   | { kind: "remove", end: number }
 *   | { kind: "type", type: string }
 * )} Operation
 */

export class TrackBuffer {
  /**
   * @param {SourceBuffer} buffer new and empty
   * @param {Track} track
   * @param {number} offsetSeconds added to all times of media
   * @param {object} owner
   * @param {() => number} owner.position the position that is played, in seconds
   * @param {(reason: string) => void} owner.failed the buffer is of no more use
   */
  constructor(buffer, track, offsetSeconds, owner) {
    this.track = track;
    this._buffer = buffer;
    this._owner = owner;
    /** @type {Operation[]} */
    this._waiting = [];
    this._waitingBytes = 0;
    /** Whether the media that waits was refused for lack of room already. */
    this._refused = false;
    this._points = new RandomAccessPoints();
    this._closed = false;
    buffer.timestampOffset = offsetSeconds;
    buffer.onupdateend = () => this._work();
    // The media element tells why right afterwards (Media Source Extensions, append error); we only take no more.
    buffer.onerror = () => this.close();
    this.append(track.header);
  }

  /** Whether everything was handed to the browser. */
  get idle() {
    return this._waiting.length === 0 && !this._buffer.updating;
  }

  /**
   * @param {Uint8Array<ArrayBuffer>} bytes a header, or whole chunks
   * @param {number | null} [randomAccessSeconds] position at which they begin, if decoding can begin there
   */
  append(bytes, randomAccessSeconds = null) {
    if (bytes.length === 0 || this._closed) {
      return;
    }
    if (randomAccessSeconds !== null) {
      this._points.add(randomAccessSeconds);
    }
    if (this._waitingBytes + bytes.length > WAITING_MAX_BYTES) {
      this._fail(`the browser takes no more ${this.track.kind}`);
      return;
    }
    this._waitingBytes += bytes.length;
    this._waiting.push({ kind: "append", bytes });
    this._work();
  }

  /**
   * Go on with the same track under another header.
   * @param {Track} track
   */
  change(track) {
    if (track.codec !== this.track.codec) {
      this._waiting.push({ kind: "type", type: mimeType(track) });
    }
    const same = sameHeader(this.track, track);
    this.track = track;
    if (!same) {
      this.append(track.header);
    }
  }

  /**
   * How much has to be decoded to show what is at `position`, in seconds: all since the last random access point.
   * @param {number} position in seconds
   */
  prerollSeconds(position) {
    return position - (this._points.before(position) ?? position);
  }

  /**
   * Let go of media that is not needed to decode what comes from `position` on, if it is worth while.
   *
   * @param {number} position in seconds
   * @param {number} slack as long as less than this would go, in seconds, nothing goes
   */
  evict(position, slack) {
    const end = this._points.removable(position);
    const planned = this._waiting.some(({ kind }) => kind === "remove");
    if (!this._closed && !planned && end !== null && this._startsBefore(end - slack)) {
      this._waiting.push({ kind: "remove", end });
      this._points.forget(end);
      this._work();
    }
  }

  /** Take no more, tell no more. */
  close() {
    this._closed = true;
    this._waiting = [];
    this._buffer.onupdateend = this._buffer.onerror = null;
  }

  /** @param {number} seconds */
  _startsBefore(seconds) {
    const { buffered } = this._buffer;
    return buffered.length > 0 && buffered.start(0) < seconds;
  }

  _work() {
    const next = this._waiting[0];
    if (this._closed || next === undefined || this._buffer.updating) {
      return;
    }
    try {
      this._perform(next);
    } catch (error) {
      if (error instanceof DOMException && error.name === "QuotaExceededError" && !this._refused) {
        this._makeRoom();
      } else {
        this._fail(`the browser refuses the ${this.track.kind} (${error instanceof Error ? error.message : error})`);
      }
    }
  }

  /** @param {Operation} operation the first that waits */
  _perform(operation) {
    switch (operation.kind) {
      case "append": {
        const { bytes, count } = this._joined();
        this._buffer.appendBuffer(bytes);
        this._waiting.splice(0, count);
        this._waitingBytes -= bytes.length;
        this._refused = false;
        break;
      }
      case "remove":
        this._buffer.remove(0, operation.end);
        this._waiting.shift();
        break;
      case "type":
        this._buffer.changeType(operation.type);
        this._waiting.shift();
        this._work();
        break;
    }
  }

  /** The bytes that can be appended at once, and of how many operations they are. */
  _joined() {
    /** @type {Uint8Array<ArrayBuffer>[]} */
    const parts = [];
    let length = 0;
    for (const operation of this._waiting) {
      if (operation.kind !== "append" || (length > 0 && length + operation.bytes.length > APPEND_MAX_BYTES)) {
        break;
      }
      parts.push(operation.bytes);
      length += operation.bytes.length;
    }
    return { bytes: join(parts, length), count: parts.length };
  }

  /**
   * The quota of the browser is reached: let go of what was played, then try once more. Where nothing can go, for all is
   * one group of pictures, beginning anew is what is left.
   */
  _makeRoom() {
    this._refused = true;
    const end = this._points.removable(this._owner.position() - QUOTA_KEEP_SECONDS);
    if (end === null || !this._startsBefore(end)) {
      this._fail(`the browser has no room for the ${this.track.kind}`);
      return;
    }
    this._points.forget(end);
    this._waiting.unshift({ kind: "remove", end });
    this._work();
  }

  /** @param {string} reason */
  _fail(reason) {
    if (!this._closed) {
      this.close();
      this._owner.failed(reason);
    }
  }
}

/**
 * @param {readonly Uint8Array<ArrayBuffer>[]} parts
 * @param {number} length of all of them
 */
function join(parts, length) {
  const [first] = parts;
  if (parts.length === 1 && first !== undefined) {
    return first;
  }
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
