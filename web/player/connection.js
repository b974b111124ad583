/**
 * The shell around `Session`: WebSockets, one timer, the clock. It decides nothing.
 */

import { Session } from "./session.js";
import { SUBPROTOCOL } from "./wire.js";

/** @import { Output } from "./outputs.js" */

export class Connection {
  /**
   * @param {string} address WebSocket address of the stream
   * @param {(output: Output) => void} onOutput called with everything that the session tells
   */
  constructor(address, onOutput) {
    this.session = new Session({ address, session: crypto.randomUUID?.() ?? randomName(), random: Math.random });
    this._onOutput = onOutput;
    /** @type {Map<number, WebSocket>} */
    this._sockets = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._timer = undefined;
    this._pumping = false;
  }

  start() {
    this.session.start(performance.now());
    this._pump();
  }

  stop() {
    this.session.stop();
    this._pump();
  }

  /** Join again at live. */
  rejoin() {
    this.session.rejoin(performance.now());
    this._pump();
  }

  /** @param {import("./wire.js").Report} values */
  report(values) {
    this.session.report(values, performance.now());
    this._pump();
  }

  /** The edge's UTC in microseconds, or null while it is unknown. */
  utcUs() {
    return this.session.clock.utcUs(performance.now());
  }

  _pump() {
    if (this._pumping) {
      return; // an output made the player call us: the loop below goes on with what that added
    }
    this._pumping = true;
    try {
      for (let outputs = this.session.drain(); outputs.length > 0; outputs = this.session.drain()) {
        outputs.forEach((output) => this._perform(output));
      }
    } finally {
      this._pumping = false;
    }
    this._arm();
  }

  /** @param {Output} output */
  _perform(output) {
    switch (output.kind) {
      case "connect":
        this._open(output.link, output.address);
        break;
      case "send": {
        const socket = this._sockets.get(output.link);
        if (socket?.readyState === WebSocket.OPEN) {
          socket.send(output.text);
        }
        break;
      }
      case "close":
        this._close(output.link, output.code, output.reason);
        break;
      default:
        this._onOutput(output);
    }
  }

  /** @param {number} link @param {string} address */
  _open(link, address) {
    const socket = this._dial(link, address);
    if (socket === null) {
      return;
    }
    socket.binaryType = "arraybuffer";
    this._sockets.set(link, socket);
    socket.onopen = () => this._happened((now) => this.session.opened(link, now));
    socket.onmessage = ({ data }) => {
      this._happened((now) => {
        if (typeof data === "string") {
          this.session.text(link, data, now);
        } else {
          this.session.binary(link, data, now);
        }
      });
    };
    socket.onclose = ({ code, reason }) => {
      this._sockets.delete(link);
      this._happened((now) => this.session.closed(link, code, reason, now));
    };
  }

  /**
   * @param {number} link
   * @param {string} address
   * @returns {WebSocket | null} null where the browser forbids it, for example ws: from an https: page
   */
  _dial(link, address) {
    try {
      return new WebSocket(address, SUBPROTOCOL);
    } catch (error) {
      const reason = error instanceof Error ? error.message : "";
      queueMicrotask(() => this._happened((now) => this.session.closed(link, 1006, reason, now)));
      return null;
    }
  }

  /** @param {number} link @param {number} code @param {string} reason */
  _close(link, code, reason) {
    const socket = this._sockets.get(link);
    this._sockets.delete(link);
    if (socket !== undefined) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      // A page may close with 1000 and 3000 to 4999 only (WHATWG WebSockets): a protocol error becomes 3000 + its code.
      socket.close(code === 1000 ? code : 3000 + (code % 1000), reason);
    }
  }

  /** @param {(now: number) => void} tell */
  _happened(tell) {
    tell(performance.now());
    this._pump();
  }

  _arm() {
    clearTimeout(this._timer);
    const deadline = this.session.deadline();
    if (deadline !== Infinity) {
      this._timer = setTimeout(
        () => this._happened((now) => this.session.timeout(now)),
        Math.max(0, deadline - performance.now()),
      );
    }
  }
}

/** A session name where `crypto.randomUUID` is missing: it exists in secure contexts only. */
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
