/**
 * A stream in a media element: connection and playback put together, how it goes, and how it recovers.
 */

import { Backoff } from "./backoff.js";
import { Connection } from "./connection.js";
import { mediaSourceType } from "./media-buffer.js";
import { Playback } from "./playback.js";
import { chooseTracks } from "./tracks.js";

/** @import { Output, StateChange, StatusChange } from "./outputs.js" */
/** @import { Session } from "./session.js" */
/** @import { Track } from "./wire.js" */

/** How often the edge is told how playing goes, in milliseconds. */
const REPORT_EVERY_MS = 5000;

/** Playing for so long without trouble makes the next trouble the first one again, in milliseconds. */
const HEALTHY_MS = 30_000;

/**
 * How a player is doing, for people and for programs.
 * `idle` nothing asked for · `connecting` · `live` · `interrupted` the source is away, it goes on by itself ·
 * `reconnecting` · `paused` by somebody · `ended` · `failed` for good, the reason says why
 * @typedef {"idle" | "connecting" | "live" | "interrupted" | "reconnecting" | "paused" | "ended" | "failed"} PlayerState
 */

/**
 * A snapshot (docs/player.md). Unknown values are null.
 * @typedef {object} Stats
 * @property {PlayerState} state
 * @property {string} reason words for people, often empty
 * @property {string} edge node id of the edge that serves us
 * @property {number | null} latencyMs from capture to the screen
 * @property {number | null} behindMs from live to what is played, as the player steers it
 * @property {number} targetMs the distance behind live that is held
 * @property {number} bufferMs media ahead of what is played
 * @property {number} rate of playing
 * @property {number} droppedFrames
 * @property {number} stalls how often playing stopped for want of media
 * @property {number} jumps how often a hole was jumped over
 * @property {number} chunks
 * @property {number} duplicates chunks that came again and were left out
 * @property {number} gaps holes in the numbers of chunks
 * @property {number} reconnects
 * @property {number} recoveries how often the browser's decoding was begun anew after an error
 * @property {number | null} roundTripMs to the edge
 */

export class Player {
  /**
   * @param {HTMLVideoElement} video
   * @param {() => void} onChange called when state, reason or edge have changed
   */
  constructor(video, onChange) {
    /** @type {PlayerState} */
    this.state = "idle";
    this.reason = "";
    /** Whether the stream has sound that this browser plays. */
    this.hasAudio = false;
    this.recoveries = 0;
    this._onChange = onChange;
    this._playback = new Playback(video, {
      failed: (reason) => this._recover(reason),
      blocked: () => {
        this._leave();
        this._set("paused", "The browser waits for a click before it plays.");
      },
      paused: () => this.pause(),
    });
    this._address = "";
    /** @type {Connection | null} */
    this._connection = null;
    /** Of the connection, kept for what it counted when that is gone. @type {Session | null} */
    this._session = null;
    /** Words of the stream's own state. @type {StateChange | null} */
    this._streamState = null;
    this._fresh = true;
    this._retry = new Backoff({ minMs: 200, maxMs: 10_000 });
    this._recoveredMs = -Infinity;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._retryTimer = undefined;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._reportTimer = undefined;
  }

  /** @param {number} seconds how far behind live to play */
  setTarget(seconds) {
    this._playback.latency.wantedSeconds = seconds;
  }

  /**
   * Play the stream at `address` from live.
   * @param {string} address WebSocket address
   */
  play(address) {
    this._leave();
    if (mediaSourceType() === undefined) {
      this.fail("This browser cannot play live media from a script (it has no Media Source Extensions).");
      return;
    }
    this._address = address;
    this._fresh = true;
    this._streamState = null;
    const connection = new Connection(address, (output) => {
      if (connection === this._connection) {
        this._heed(output); // otherwise the page, told of the output before, has left it
      }
    });
    this._connection = connection;
    this._session = connection.session;
    this._reportTimer = setInterval(() => this._report(), REPORT_EVERY_MS);
    connection.start(); // last, for the page is told and may leave at once
  }

  /** Stop and hold the picture; `resume` goes on at live. */
  pause() {
    if (this._connection !== null) {
      this._leave();
      this._set("paused");
    }
  }

  /** Go on at live. */
  resume() {
    if (this._address !== "") {
      this.play(this._address);
    }
  }

  /** Catch up with live, as after a time in the background. */
  goLive() {
    this._playback.goLive();
  }

  /** Stop and show nothing. */
  stop() {
    this._leave();
    this._playback.clear();
    this._address = "";
    this._set("idle");
  }

  /**
   * There is nothing to play, for a reason that the page knows.
   * @param {string} reason
   */
  fail(reason) {
    this._leave();
    this._set("failed", reason);
  }

  /** Whether media flows but none could be begun with yet: a viewer joins at a random access point only. */
  get waiting() {
    return this.state === "live" && !this._playback.started;
  }

  /** @returns {Readonly<Stats>} */
  get stats() {
    const { video, latency, stalls, jumps, aheadSeconds } = this._playback;
    const session = this._session;
    const behind = latency.behindSeconds;
    return Object.freeze({
      state: this.state,
      reason: this.reason,
      edge: session?.edge ?? "",
      latencyMs: this._latencyMs(),
      behindMs: behind === null ? null : Math.round(behind * 1000),
      targetMs: Math.round(latency.targetSeconds * 1000),
      bufferMs: Math.round(aheadSeconds * 1000),
      rate: video.playbackRate,
      droppedFrames: video.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0,
      stalls,
      jumps,
      chunks: session?.continuity.chunks ?? 0,
      duplicates: session?.continuity.duplicates ?? 0,
      gaps: session?.continuity.gaps ?? 0,
      reconnects: session?.reconnects ?? 0,
      recoveries: this.recoveries,
      roundTripMs: session?.clock.roundTripMs ?? null,
    });
  }

  // -- inside --------------------------------------------------------------------------------------------------------

  _latencyMs() {
    const now = this._connection?.utcUs() ?? null;
    const shown = this._playback.shownUs;
    return now === null || shown === null ? null : Math.round((now - shown) / 1000);
  }

  /** @param {Output} output of the session */
  _heed(output) {
    switch (output.kind) {
      case "status":
        this._heedStatus(output);
        break;
      case "state":
        this._streamState = output;
        this._tellStreamState();
        break;
      case "tracks":
        this._open(output.tracks);
        break;
      case "chunk":
        this._playback.push(output.chunk);
        break;
      default: // the connection's own
    }
  }

  /** @param {StatusChange} change */
  _heedStatus({ status, reason }) {
    switch (status) {
      case "connecting":
      case "reconnecting":
        this._set(status, reason);
        break;
      case "connected":
        this._tellStreamState();
        break;
      case "closed":
        if (this._streamState?.state !== "ended" && reason !== "") {
          this.fail(reason);
        }
        break;
      default:
    }
  }

  _tellStreamState() {
    const { state, reason } = this._streamState ?? { state: undefined, reason: "" };
    this._playback.setFlowing(state === "live");
    if (state === "ended") {
      this._playback.end();
    }
    if (state !== undefined) {
      this._set(state, reason);
    }
  }

  /** @param {readonly Track[]} all */
  _open(all) {
    const { tracks, refused } = chooseTracks(all, (type) => mediaSourceType()?.isTypeSupported(type) ?? false);
    if (tracks.length === 0) {
      this.fail(refused.join(" ") || "The stream has neither picture nor sound.");
      return;
    }
    this.hasAudio = tracks.some(({ kind }) => kind === "audio");
    this._playback.open(tracks, this._fresh);
    this._fresh = false;
    this._onChange();
  }

  /**
   * The browser gave up on the media: begin anew at live.
   * @param {string} reason
   */
  _recover(reason) {
    const now = performance.now();
    if (now - this._recoveredMs > HEALTHY_MS) {
      this._retry.reset();
    }
    this._recoveredMs = now;
    this.recoveries += 1;
    this._set("reconnecting", reason);
    clearTimeout(this._retryTimer);
    this._retryTimer = setTimeout(() => {
      this._fresh = true;
      this._connection?.rejoin();
    }, this._retry.next(Math.random()));
  }

  _report() {
    const { latencyMs, bufferMs, droppedFrames, stalls } = this.stats;
    this._connection?.report({
      ...(latencyMs === null ? {} : { latency_ms: latencyMs }),
      buffer_ms: bufferMs,
      dropped_frames: droppedFrames,
      stalls,
    });
  }

  _leave() {
    clearTimeout(this._retryTimer);
    clearInterval(this._reportTimer);
    const connection = this._connection;
    this._connection = null;
    connection?.stop();
    this._playback.halt();
  }

  /** @param {PlayerState} state @param {string} [reason] */
  _set(state, reason = "") {
    this.state = state;
    this.reason = reason;
    this._onChange();
  }
}
