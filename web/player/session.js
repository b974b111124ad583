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

import { Backoff } from "./backoff.js";
import { CLOSE_NORMAL, CLOSE_PROTOCOL_ERROR, closeWords, isFinal } from "./close-codes.js";
import { Continuity } from "./continuity.js";
import { EdgeClock } from "./edge-clock.js";
import { EdgeList } from "./edge-list.js";
import { Links } from "./links.js";
import { WireError, encodePlay, encodePong, encodeReport, encodeTime, parseChunk, parseMessage } from "./wire.js";

/** @import { Link } from "./link.js" */
/** @import { Output, Status } from "./outputs.js" */
/** @import { Chunk, Message, Report, Welcome } from "./wire.js" */

/** Viewers of a dead edge come back spread over this time. */
export const SPREAD_MS = 100;

/** After a longer absence we join at live: nobody watches what was missed, and it would have to be transferred. */
export const RESUME_MAX_MS = 10_000;

/** Shortest time between two reports (docs/protocol.md, section 3.1). */
export const REPORT_MIN_MS = 1000;

/** Waits between attempts once all edges were tried. */
const RETRY = { minMs: 200, maxMs: 5000 };

export class Session {
  /**
   * @param {object} options
   * @param {string} options.address WebSocket address of the stream
   * @param {string} options.session name of this viewing session, kept across reconnections
   * @param {() => number} options.random from 0 to 1
   */
  constructor({ address, session, random }) {
    this.session = session;
    /** @type {Status} */
    this.status = "idle";
    /** How often the current link was lost or left and another took over. */
    this.reconnects = 0;
    this.continuity = new Continuity();
    this.clock = new EdgeClock();
    this._random = random;
    this._backoff = new Backoff(RETRY);
    this._links = new Links();
    this._served = false;
    this._edges = new EdgeList(address);
    this._attemptAt = Infinity;
    this._chunkAt = -Infinity;
    this._reportAt = -Infinity;
    /** @type {Output[]} */
    this._outputs = [];
  }

  /** Node id of the edge that serves us, empty when none does. */
  get edge() {
    return this._links.current?.edge ?? "";
  }

  /** Return what is to be done since the last call, oldest first. */
  drain() {
    return this._outputs.splice(0);
  }

  /** When `timeout` must be called, on the clock that the caller passes as `now`; Infinity for never. */
  deadline() {
    return Math.min(this._attemptAt, this._links.deadline);
  }

  // -- what the owner does -------------------------------------------------------------------------------------------

  /** @param {number} now milliseconds, as everywhere here, monotonic */
  start(now) {
    this._setStatus("connecting");
    this._connect(this._edges.source, now);
  }

  /** Leave for good. */
  stop() {
    this._closeLinks();
    this._attemptAt = Infinity;
    this._setStatus("closed");
  }

  /** Join again at live, on a fresh link: what is buffered here was given up. @param {number} now */
  rejoin(now) {
    const address = this._links.current?.address ?? this._edges.source;
    this._closeLinks();
    this.continuity.restart();
    this._edges.forgive();
    this._chunkAt = -Infinity;
    this._setStatus("connecting");
    this._connect(address, now);
  }

  /** Tell the edge how playing goes; not more often than it wants to know. @param {Report} values @param {number} now */
  report(values, now) {
    if (this._links.current !== null && now - this._reportAt >= REPORT_MIN_MS) {
      this._reportAt = now;
      this._send(this._links.current, encodeReport(values));
    }
  }

  // -- what happens to links -----------------------------------------------------------------------------------------

  /** @param {number} id of the link @param {number} now */
  opened(id, now) {
    const link = this._links.get(id);
    if (link === undefined) {
      return;
    }
    link.phase = "joining";
    const resume = now - this._chunkAt <= RESUME_MAX_MS;
    this._send(link, encodePlay(this.session, resume ? this.continuity.after() : null));
  }

  /** @param {number} id @param {string} text @param {number} now */
  text(id, text, now) {
    this._receive(id, now, (link) => {
      const message = parseMessage(text);
      if (message !== null) {
        this._obey(link, message, now);
      }
    });
  }

  /** @param {number} id @param {ArrayBuffer} bytes @param {number} now */
  binary(id, bytes, now) {
    this._receive(id, now, (link) => this._take(link, parseChunk(bytes), now));
  }

  /** @param {number} id @param {number} code @param {string} reason @param {number} now */
  closed(id, code, reason, now) {
    const link = this._links.get(id);
    if (link === undefined) {
      return; // we closed it
    }
    const words = link.refusal || reason || closeWords(code);
    if (link === this._links.current && isFinal(code) && this._links.successor === null) {
      this._finish(words);
    } else if (this._links.current === null && link.refusal !== "" && isFinal(code)) {
      this._finish(words);
    } else {
      this._lose(link, words, now);
    }
  }

  /** Do what is due. @param {number} now */
  timeout(now) {
    for (const link of this._links.all()) {
      this._checkLink(link, now);
    }
    if (now >= this._attemptAt) {
      this._attemptAt = Infinity;
      this._connect(this._edges.pick(this._random()) ?? this._edges.source, now);
    }
  }

  // -- receiving -----------------------------------------------------------------------------------------------------

  /** @param {number} id @param {number} now @param {(link: Link) => void} act */
  _receive(id, now, act) {
    const link = this._links.get(id);
    if (link === undefined) {
      return;
    }
    link.hear(now);
    if (link === this._links.current && link.doubted && !link.leaving) {
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

  /** @param {Link} link @param {Message} message @param {number} now */
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
        return link === this._links.current ? this.clock.answer(message.sent, message.utcUs, now) : undefined;
      case "edges":
        this._edges.learn(message.edges);
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

  /** @param {Link} link @param {Welcome} message @param {number} now */
  _welcome(link, message, now) {
    this._edges.learn(message.edges, message.stream);
    const [own] = message.edges;
    link.serve(message.edge, own === undefined ? null : this._edges.addressOn(own), message.heartbeatMs);
    if (this._links.current === null) {
      this._promote(link, now);
      this.clock.seed(message.utcUs, now);
    }
  }

  /** @param {Link} link @param {Chunk} chunk @param {number} now */
  _take(link, chunk, now) {
    this._backoff.reset();
    this._chunkAt = now;
    if (!link.leaving) {
      this._edges.forgive();
    }
    if (link !== this._links.current && link.phase === "serving") {
      this._promote(link, now);
    }
    if (this.continuity.take(chunk) === "play") {
      this._outputs.push({ kind: "chunk", chunk });
    }
  }

  // -- links ---------------------------------------------------------------------------------------------------------

  /** @param {string} address @param {number} now */
  _connect(address, now) {
    this._outputs.push({ kind: "connect", link: this._links.add(address, now).id, address });
  }

  /** Make `link` the current one and let go of the others. @param {Link} link @param {number} now */
  _promote(link, now) {
    this._links.current = link;
    this._closeLinks(link);
    this._attemptAt = Infinity;
    if (this._served) {
      this.reconnects += 1;
    }
    this._served = true;
    link.lead(now);
    this.clock.restart();
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
    this._edges.fail(link.addresses);
    this._edges.prefer(edges);
    const next = this._edges.firstOf(edges) ?? this._edges.pick(this._random());
    if (link === this._links.current && next !== null && this._links.hasRoom) {
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
    const wasCurrent = link === this._links.current;
    this._links.remove(link);
    this._edges.fail(link.addresses);
    const { current, successor } = this._links;
    if (wasCurrent && successor !== null) {
      this._promote(successor, now);
      return;
    }
    if (current === null) {
      this._setStatus(this._served ? "reconnecting" : "connecting", reason);
    }
    if ((current === null || current.leaving) && this._links.others(current).length === 0) {
      this._planAttempt(now);
    }
  }

  /** @param {number} now */
  _planAttempt(now) {
    if (this._edges.pick(0) === null) {
      this._edges.forgive();
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

  /** @param {Link} link @param {number} now */
  _checkLink(link, now) {
    const due = link.due(now);
    if (due === "lost") {
      const reason = link.phase === "serving" ? "the edge fell silent" : "the edge does not answer";
      this._outputs.push({ kind: "close", link: link.id, code: CLOSE_NORMAL, reason });
      this._lose(link, reason, now);
    } else if (due === "doubt") {
      link.doubted = true;
      this._connectRival(link, now);
    } else if (due === "clock") {
      this._send(link, encodeTime(now));
      link.clockAsked(now);
    }
  }

  /** Try another edge while `link` may still recover. @param {Link} link @param {number} now */
  _connectRival(link, now) {
    const address = this._edges.pick(this._random(), this._links.addresses);
    const wanted = this._links.current === null || link === this._links.current;
    if (address !== null && wanted && this._links.hasRoom && !link.leaving) {
      this._connect(address, now);
    }
  }

  /** @param {Link | null} [except] */
  _closeLinks(except = null) {
    for (const link of this._links.others(except)) {
      this._outputs.push({ kind: "close", link: link.id, code: CLOSE_NORMAL, reason: "left" });
      this._links.remove(link);
    }
  }

  // -- telling -------------------------------------------------------------------------------------------------------

  /** @param {Link} link @param {string} text */
  _send(link, text) {
    this._outputs.push({ kind: "send", link: link.id, text });
  }

  /** @param {Link} link */
  _tellState(link) {
    if (link === this._links.current && link.state !== null) {
      this._outputs.push({ kind: "state", state: link.state.state, reason: link.state.reason });
    }
  }

  /** @param {Status} status @param {string} [reason] */
  _setStatus(status, reason = "") {
    this.status = status;
    this._outputs.push({ kind: "status", status, reason });
  }
}
