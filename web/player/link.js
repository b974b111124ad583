/**
 * One WebSocket of a session: its phase, and what is due when. Pure.
 */

/** @import { State } from "./wire.js" */

/** From dialling to `welcome`: a distant server needs a second at most, a dead address never answers. */
export const OPEN_TIMEOUT_MS = 5000;

/** An edge that has not welcomed us by then gets a rival. */
export const RIVAL_AFTER_MS = 1000;

/** Silence, in heartbeats, after which the edge is gone (docs/protocol.md, section 3.2). */
export const SILENT_HEARTBEATS = 3;

/** Silence, in heartbeats, after which a link to another edge is made ready. */
export const DOUBT_HEARTBEATS = 1.5;

/** Heartbeats outside of this are taken as the nearest bound: nobody pings faster, nobody waits longer. */
const HEARTBEAT_MIN_MS = 50;
const HEARTBEAT_MAX_MS = 30_000;

/** When the edge's clock is asked for, after the link became the current one, and from then on how often. */
const CLOCK_AFTER_MS = [0, 300, 700, 1500];
const CLOCK_EVERY_MS = 10_000;

export class Link {
  /**
   * @param {number} id names it towards the shell
   * @param {string} address
   * @param {number} now when it is dialled
   */
  constructor(id, address, now) {
    this.id = id;
    this.address = address;
    /** The address that the edge itself gives out, null while unknown. @type {string | null} */
    this.alias = null;
    /** @type {"connecting" | "joining" | "serving"} */
    this.phase = "connecting";
    /** Whether the edge goes away. */
    this.leaving = false;
    /** Whether silence made us look for another edge. */
    this.doubted = false;
    /** Node id, empty until the welcome. */
    this.edge = "";
    /** The last that it told. @type {State | null} */
    this.state = null;
    /** Words of a `refused`, empty if there was none. */
    this.refusal = "";
    this._since = now;
    this._heard = now;
    this._heartbeatMs = HEARTBEAT_MAX_MS;
    this._clockAt = Infinity;
    this._clockAsked = 0;
  }

  /** Every address that leads to its edge. */
  get addresses() {
    return this.alias === null ? [this.address] : [this.address, this.alias];
  }

  /** @param {number} now it said something */
  hear(now) {
    this._heard = now;
  }

  /**
   * The edge welcomed us.
   *
   * @param {string} edge
   * @param {string | null} alias
   * @param {number} heartbeatMs
   */
  serve(edge, alias, heartbeatMs) {
    this.phase = "serving";
    this.edge = edge;
    this.alias = alias;
    this._heartbeatMs = Math.min(HEARTBEAT_MAX_MS, Math.max(HEARTBEAT_MIN_MS, heartbeatMs));
  }

  /** @param {number} now it became the current one: ask for its clock */
  lead(now) {
    this._clockAt = now;
  }

  /**
   * What is due: the edge is lost, or doubtful (once), or its clock is to be asked for.
   *
   * @param {number} now
   * @returns {"lost" | "doubt" | "clock" | null}
   */
  due(now) {
    if (now >= this._lostAt) {
      return "lost";
    }
    if (!this.doubted && now >= this._doubtAt) {
      return "doubt";
    }
    return now >= this._clockAt ? "clock" : null;
  }

  /** When something is due next. */
  get deadline() {
    return Math.min(this._lostAt, this.doubted ? Infinity : this._doubtAt, this._clockAt);
  }

  /** @param {number} now its clock was asked for */
  clockAsked(now) {
    const last = CLOCK_AFTER_MS[this._clockAsked] ?? NaN;
    this._clockAsked += 1;
    const next = CLOCK_AFTER_MS[this._clockAsked];
    this._clockAt = now + (next === undefined ? CLOCK_EVERY_MS : next - last);
  }

  get _lostAt() {
    return this.phase === "serving"
      ? this._heard + SILENT_HEARTBEATS * this._heartbeatMs
      : this._since + OPEN_TIMEOUT_MS;
  }

  get _doubtAt() {
    return this.phase === "serving" ? this._heard + DOUBT_HEARTBEATS * this._heartbeatMs : this._since + RIVAL_AFTER_MS;
  }
}
