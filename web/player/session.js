/**
 * A viewing session: one stream, from whichever edge has it. Pure: time and randomness are arguments, and what is to be
 * done comes out as data (`drain`), so the whole of it is tested without a network. connection.js is the shell.
 *
 * Theory of operation
 * -------------------
 * A session has *links*, each one WebSocket. Usually there is one, the *current* one. There are more while the session
 * moves: the edge goes away, or is silent for long enough to doubt it, or does not answer quickly. The next link
 * becomes current when it serves and the old one is gone, or as soon as it delivers a chunk; then the others are let
 * go. All links feed one `Continuity`, so that a chunk that comes twice is played once.
 *
 *     connecting ──opened──▶ joining ──welcome──▶ serving ──going_away──▶ leaving
 *         └────────────────────┴─────────closed, silent, wrong bytes────────┴──▶ gone
 *
 * After a loss another edge is tried at once, then the others; when all have been tried, the session waits with
 * backoff and begins again. It ends only on the close codes 1000, 1002 and 1008 (docs/protocol.md, section 3.3).
 */

import { addressOnEdge } from "./addresses.js";
import { Backoff } from "./backoff.js";
import { Continuity } from "./continuity.js";
import { EdgeClock } from "./edge-clock.js";
import {
  WireError,
  encodePlay,
  encodePong,
  encodeReport,
  encodeTime,
  parseChunk,
  parseMessage,
} from "./wire.js";

/** @import { Chunk, Message, Report, State, Track, Welcome } from "./wire.js" */

/** From dialling to `welcome`: a distant server needs a second at most, a dead address never answers. */
export const OPEN_TIMEOUT_MS = 5000;

/** An edge that has not welcomed us by then gets a rival. */
export const RIVAL_AFTER_MS = 1000;

/** Silence, in heartbeats, after which the edge is gone (docs/protocol.md, section 3.2). */
export const SILENT_HEARTBEATS = 3;

/** Silence, in heartbeats, after which a link to another edge is made ready. */
export const DOUBT_HEARTBEATS = 1.5;

/** Links at a time: the current one, its successor, and a rival. */
export const LINKS_MAX = 3;

/** Viewers of a dead edge come back spread over this time. */
export const SPREAD_MS = 100;

/** After a longer absence we join at live: nobody watches what was missed, and it would have to be transferred. */
export const RESUME_MAX_MS = 10_000;

/** Shortest time between two reports (docs/protocol.md, section 3.1). */
export const REPORT_MIN_MS = 1000;

/** When the clock is asked for after `welcome`, and from then on how often. */
const CLOCK_AFTER_MS = [0, 300, 700, 1500];
const CLOCK_EVERY_MS = 10_000;

/** Heartbeats outside of this are taken as the nearest bound: nobody pings faster, nobody waits longer. */
const HEARTBEAT_MIN_MS = 50;
const HEARTBEAT_MAX_MS = 30_000;

const CLOSE_NORMAL = 1000;
const CLOSE_PROTOCOL_ERROR = 1002;
const CLOSES_FOR_GOOD = new Set([CLOSE_NORMAL, CLOSE_PROTOCOL_ERROR, 1008]);

/** @typedef {"idle" | "connecting" | "connected" | "reconnecting" | "closed"} Status */

/**
 * @typedef {object} Link
 * @property {number} id names it towards the shell
 * @property {string} address
 * @property {string | null} alias the address that the edge itself gives out
 * @property {"connecting" | "joining" | "serving"} phase
 * @property {boolean} leaving whether the edge goes away
 * @property {boolean} doubted whether silence made us look for another edge
 * @property {number} since when it was dialled
 * @property {number} heardAt when it last said anything
 * @property {number} heartbeatMs
 * @property {string} edge node id, empty until the welcome
 * @property {State | null} state the last that it told
 * @property {string} refusal words of a `refused`, empty if there was none
 * @property {number} clockAt when to ask for its clock
 * @property {number} clockAsked how often it was asked
 */

/** What the shell and the player are to do or to know, in order. */
/** @typedef {{ kind: "connect", link: number, address: string }} Connect */
/** @typedef {{ kind: "send", link: number, text: string }} Send */
/** @typedef {{ kind: "close", link: number, code: number, reason: string }} Close */
/** @typedef {{ kind: "status", status: Status, reason: string, edge: string }} StatusChange */
/** @typedef {{ kind: "state", state: import("./wire.js").StreamState, reason: string }} StateChange */
/** @typedef {{ kind: "tracks", epoch: number, tracks: Track[] }} Opened */
/** @typedef {{ kind: "chunk", chunk: Chunk }} Arrived */
/** @typedef {Connect | Send | Close | StatusChange | StateChange | Opened | Arrived} Output */

export class Session {
  /**
   * @param {object} options
   * @param {string} options.address WebSocket address of the stream
   * @param {string} options.session name of this viewing session, kept across reconnections
   * @param {() => number} options.random from 0 to 1
   */
  constructor({ address, session, random }) {
    this.address = address;
    this.session = session;
    /** @type {Status} */
    this.status = "idle";
    /** Node id of the edge that serves us, empty when none does. */
    this.edge = "";
    /** How often the current link was lost or left and another took over. */
    this.reconnects = 0;
    this.continuity = new Continuity();
    this.clock = new EdgeClock();
    this._random = random;
    this._backoff = new Backoff({ minMs: 200, maxMs: 5000 });
    /** @type {Map<number, Link>} */
    this._links = new Map();
    /** @type {Link | null} */
    this._current = null;
    this._linkCount = 0;
    this._served = false;
    this._stream = "";
    /** @type {string[]} */
    this._edges = [];
    /** Addresses that failed since a link last delivered. @type {Set<string>} */
    this._tried = new Set();
    this._attemptAt = Infinity;
    this._chunkAt = -Infinity;
    this._reportAt = -Infinity;
    /** @type {Output[]} */
    this._outputs = [];
  }

  /** Return what is to be done since the last call, oldest first. */
  drain() {
    return this._outputs.splice(0);
  }

  /** When `timeout` must be called, on the clock that the caller passes as `now`; Infinity for never. */
  deadline() {
    let deadline = this._attemptAt;
    for (const link of this._links.values()) {
      deadline = Math.min(deadline, this._linkDeadline(link));
    }
    return deadline;
  }

  // -- what the owner does -------------------------------------------------------------------------------------------

  /** @param {number} now milliseconds, as everywhere here, monotonic */
  start(now) {
    this._setStatus("connecting");
    this._connect(this.address, now);
  }

  /** Leave for good. */
  stop() {
    this._closeLinks();
    this._attemptAt = Infinity;
    this._setStatus("closed");
  }

  /**
   * Join again at live, on a fresh link: what is buffered here was given up.
   * @param {number} now
   */
  rejoin(now) {
    const address = this._current?.address ?? this.address;
    this._closeLinks();
    this.continuity.restart();
    this._tried.clear();
    this._chunkAt = -Infinity;
    this._setStatus("connecting");
    this._connect(address, now);
  }

  /**
   * Tell the edge how playing goes; not more often than it wants to know.
   *
   * @param {Report} values
   * @param {number} now
   */
  report(values, now) {
    if (this._current !== null && now - this._reportAt >= REPORT_MIN_MS) {
      this._reportAt = now;
      this._send(this._current, encodeReport(values));
    }
  }

  // -- what happens to links -----------------------------------------------------------------------------------------

  /**
   * @param {number} id of the link
   * @param {number} now
   */
  opened(id, now) {
    const link = this._links.get(id);
    if (link === undefined) {
      return;
    }
    link.phase = "joining";
    const resume = now - this._chunkAt <= RESUME_MAX_MS;
    this._send(link, encodePlay(this.session, resume ? this.continuity.after() : null));
  }

  /**
   * @param {number} id
   * @param {string} text
   * @param {number} now
   */
  text(id, text, now) {
    this._receive(id, now, (link) => {
      const message = parseMessage(text);
      if (message !== null) {
        this._obey(link, message, now);
      }
    });
  }

  /**
   * @param {number} id
   * @param {ArrayBuffer} bytes
   * @param {number} now
   */
  binary(id, bytes, now) {
    this._receive(id, now, (link) => this._take(link, parseChunk(bytes), now));
  }

  /**
   * @param {number} id
   * @param {number} code
   * @param {string} reason
   * @param {number} now
   */
  closed(id, code, reason, now) {
    const link = this._links.get(id);
    if (link === undefined) {
      return; // we closed it
    }
    const words = link.refusal || reason || closeWords(code);
    if (link === this._current && CLOSES_FOR_GOOD.has(code) && this._successor(link) === null) {
      this._finish(words);
    } else if (this._current === null && link.refusal !== "" && CLOSES_FOR_GOOD.has(code)) {
      this._finish(words);
    } else {
      this._lose(link, words, now);
    }
  }

  /**
   * Do what is due.
   * @param {number} now
   */
  timeout(now) {
    for (const link of [...this._links.values()]) {
      this._checkLink(link, now);
    }
    if (now >= this._attemptAt) {
      this._attemptAt = Infinity;
      this._connect(this._pick() ?? this.address, now);
    }
  }

  // -- receiving -----------------------------------------------------------------------------------------------------

  /**
   * @param {number} id
   * @param {number} now
   * @param {(link: Link) => void} act
   */
  _receive(id, now, act) {
    const link = this._links.get(id);
    if (link === undefined) {
      return;
    }
    link.heardAt = now;
    if (link === this._current && link.doubted) {
      link.doubted = false;
      this._closeLinks(link);
    }
    try {
      act(link);
    } catch (error) {
      if (!(error instanceof WireError)) {
        throw error;
      }
      this._outputs.push({ kind: "close", link: id, code: CLOSE_PROTOCOL_ERROR, reason: error.code });
      this._lose(link, `the edge sent something wrong (${error.message})`, now);
    }
  }

  /**
   * @param {Link} link
   * @param {Message} message
   * @param {number} now
   */
  _obey(link, message, now) {
    switch (message.type) {
      case "welcome":
        return this._welcome(link, message, now);
      case "state":
        link.state = message;
        return this._tellState(link);
      case "tracks":
        if (this.continuity.open(message.epoch, message.tracks)) {
          this._outputs.push({ kind: "tracks", epoch: message.epoch, tracks: message.tracks });
        }
        return undefined;
      case "gap":
        this.continuity.lose(message.track, message.next);
        return undefined;
      case "ping":
        this._backoff.reset();
        return this._send(link, encodePong(message.id));
      case "time":
        return link === this._current ? this.clock.answer(message.sent, message.utcUs, now) : undefined;
      case "edges":
        this._edges = message.edges;
        return undefined;
      case "going_away":
        return this._leave(link, message.edges, now);
      case "refused":
        link.refusal = message.reason || message.code;
        return undefined;
      case "skipped":
        return undefined; // the hole in the numbers shows it
    }
  }

  /**
   * @param {Link} link
   * @param {Welcome} message
   * @param {number} now
   */
  _welcome(link, message, now) {
    link.phase = "serving";
    link.edge = message.edge;
    link.heartbeatMs = Math.min(HEARTBEAT_MAX_MS, Math.max(HEARTBEAT_MIN_MS, message.heartbeatMs));
    this._stream = message.stream;
    this._edges = message.edges;
    link.alias = message.edges[0] === undefined ? null : this._addressOn(message.edges[0]);
    if (this._current === null) {
      this._promote(link, now);
      this.clock.seed(message.utcUs, now);
    }
  }

  /**
   * @param {Link} link
   * @param {Chunk} chunk
   * @param {number} now
   */
  _take(link, chunk, now) {
    this._backoff.reset();
    this._tried.clear();
    this._chunkAt = now;
    if (link !== this._current && link.phase === "serving") {
      this._promote(link, now);
    }
    if (this.continuity.take(chunk) === "play") {
      this._outputs.push({ kind: "chunk", chunk });
    }
  }

  // -- links ---------------------------------------------------------------------------------------------------------

  /**
   * @param {string} address
   * @param {number} now
   */
  _connect(address, now) {
    this._linkCount += 1;
    const id = this._linkCount;
    this._links.set(id, {
      id,
      address,
      alias: null,
      phase: "connecting",
      leaving: false,
      doubted: false,
      since: now,
      heardAt: now,
      heartbeatMs: 0,
      edge: "",
      state: null,
      refusal: "",
      clockAt: Infinity,
      clockAsked: 0,
    });
    this._outputs.push({ kind: "connect", link: id, address });
  }

  /**
   * Make `link` the current one and let go of the others.
   *
   * @param {Link} link
   * @param {number} now
   */
  _promote(link, now) {
    this._current = link;
    this._closeLinks(link);
    this._attemptAt = Infinity;
    if (this._served) {
      this.reconnects += 1;
    }
    this._served = true;
    link.clockAt = now;
    this.edge = link.edge;
    this._setStatus("connected");
    this._tellState(link);
  }

  /**
   * The edge drains: be welcome elsewhere first, then leave.
   *
   * @param {Link} link
   * @param {readonly string[]} edges where to go instead
   * @param {number} now
   */
  _leave(link, edges, now) {
    link.leaving = true;
    this._markTried(link);
    const others = edges.map((edge) => this._addressOn(edge)).filter((address) => address !== null);
    this._edges = [...new Set([...edges, ...this._edges])];
    const next = others.find((address) => !this._tried.has(address)) ?? this._pick();
    if (link === this._current && next !== null && this._links.size < LINKS_MAX) {
      this._connect(next, now);
    }
  }

  /**
   * A link is gone; go on with another.
   *
   * @param {Link} link
   * @param {string} reason
   * @param {number} now
   */
  _lose(link, reason, now) {
    this._links.delete(link.id);
    this._markTried(link);
    if (link === this._current) {
      this._current = null;
      this.edge = "";
      const successor = this._successor(link);
      if (successor !== null) {
        this._promote(successor, now);
        return;
      }
    }
    if (this._current !== null) {
      return;
    }
    this._setStatus(this._served ? "reconnecting" : "connecting", reason);
    if (this._links.size === 0) {
      this._planAttempt(now);
    }
  }

  /** @param {number} now */
  _planAttempt(now) {
    if (this._pick() === null) {
      this._tried.clear();
      this._attemptAt = now + this._backoff.next(this._random());
    } else {
      this._attemptAt = now + this._random() * SPREAD_MS;
    }
  }

  /** @param {string} reason */
  _finish(reason) {
    this._closeLinks();
    this._attemptAt = Infinity;
    this._setStatus("closed", reason);
  }

  /**
   * @param {Link} link
   * @param {number} now
   */
  _checkLink(link, now) {
    if (link.phase !== "serving") {
      this._checkOpening(link, now);
      return;
    }
    if (now >= link.heardAt + SILENT_HEARTBEATS * link.heartbeatMs) {
      this._outputs.push({ kind: "close", link: link.id, code: CLOSE_NORMAL, reason: "silent" });
      this._lose(link, "the edge fell silent", now);
      return;
    }
    if (link === this._current && !link.doubted && now >= link.heardAt + DOUBT_HEARTBEATS * link.heartbeatMs) {
      link.doubted = true;
      this._connectRival(link, now);
    }
    if (now >= link.clockAt) {
      this._askClock(link, now);
    }
  }

  /**
   * @param {Link} link
   * @param {number} now
   */
  _checkOpening(link, now) {
    if (now >= link.since + OPEN_TIMEOUT_MS) {
      this._outputs.push({ kind: "close", link: link.id, code: CLOSE_NORMAL, reason: "no answer" });
      this._lose(link, "the edge does not answer", now);
    } else if (!link.doubted && now >= link.since + RIVAL_AFTER_MS) {
      link.doubted = true;
      this._connectRival(link, now);
    }
  }

  /**
   * Try another edge while `link` may still recover.
   *
   * @param {Link} link
   * @param {number} now
   */
  _connectRival(link, now) {
    const busy = new Set([...this._links.values()].flatMap(({ address, alias }) => [address, alias ?? address]));
    const address = this._pick(busy);
    if (address !== null && this._links.size < LINKS_MAX && !link.leaving) {
      this._connect(address, now);
    }
  }

  /**
   * @param {Link} link
   * @param {number} now
   */
  _askClock(link, now) {
    this._send(link, encodeTime(now));
    link.clockAsked += 1;
    const next = CLOCK_AFTER_MS[link.clockAsked];
    const last = CLOCK_AFTER_MS[link.clockAsked - 1];
    link.clockAt = now + (next === undefined || last === undefined ? CLOCK_EVERY_MS : next - last);
  }

  /** @param {Link} link */
  _linkDeadline(link) {
    if (link.phase !== "serving") {
      return link.since + (link.doubted ? OPEN_TIMEOUT_MS : RIVAL_AFTER_MS);
    }
    const doubt = link.doubted || link !== this._current ? SILENT_HEARTBEATS : DOUBT_HEARTBEATS;
    return Math.min(link.heardAt + doubt * link.heartbeatMs, link.clockAt);
  }

  /**
   * A link that could take over from `link` at once.
   * @param {Link} link
   */
  _successor(link) {
    return [...this._links.values()].find((other) => other !== link && other.phase === "serving") ?? null;
  }

  /** @param {Link} [except] */
  _closeLinks(except) {
    for (const link of this._links.values()) {
      if (link !== except) {
        this._outputs.push({ kind: "close", link: link.id, code: CLOSE_NORMAL, reason: "left" });
        this._links.delete(link.id);
      }
    }
    if (except === undefined) {
      this._current = null;
      this.edge = "";
    }
  }

  // -- addresses -----------------------------------------------------------------------------------------------------

  /**
   * Return an address that was not tried since a link last delivered, or null.
   * @param {ReadonlySet<string>} [except]
   */
  _pick(except = new Set()) {
    const others = this._edges.map((edge) => this._addressOn(edge)).filter((address) => address !== null);
    const open = [...new Set([...others, this.address])].filter(
      (address) => !this._tried.has(address) && !except.has(address),
    );
    return open[Math.min(open.length - 1, Math.floor(this._random() * open.length))] ?? null;
  }

  /** @param {Link} link */
  _markTried(link) {
    this._tried.add(link.address);
    if (link.alias !== null) {
      this._tried.add(link.alias);
    }
  }

  /** @param {string} edge */
  _addressOn(edge) {
    return addressOnEdge(this.address, this._stream, edge);
  }

  // -- telling -------------------------------------------------------------------------------------------------------

  /**
   * @param {Link} link
   * @param {string} text
   */
  _send(link, text) {
    this._outputs.push({ kind: "send", link: link.id, text });
  }

  /** @param {Link} link */
  _tellState(link) {
    if (link === this._current && link.state !== null) {
      this._outputs.push({ kind: "state", state: link.state.state, reason: link.state.reason });
    }
  }

  /**
   * @param {Status} status
   * @param {string} [reason]
   */
  _setStatus(status, reason = "") {
    this.status = status;
    this._outputs.push({ kind: "status", status, reason, edge: this.edge });
  }
}

/** @param {number} code */
function closeWords(code) {
  switch (code) {
    case CLOSE_NORMAL:
      return "the edge closed the connection";
    case 1001:
      return "the edge goes away";
    case 1006:
      return "no connection to the edge";
    case 1013:
      return "the edge is full";
    default:
      return `the edge closed the connection (${code})`;
  }
}
