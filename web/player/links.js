/**
 * The links of a session, one of which may be the current one. Pure.
 */

import { Link } from "./link.js";

/** Links at a time: the current one, its successor, and a rival. */
export const LINKS_MAX = 3;

export class Links {
  constructor() {
    /** The one whose edge serves us. @type {Link | null} */
    this.current = null;
    /** @type {Map<number, Link>} */
    this._byId = new Map();
    this._count = 0;
  }

  /** @param {string} address @param {number} now */
  add(address, now) {
    this._count += 1;
    const link = new Link(this._count, address, now);
    this._byId.set(link.id, link);
    return link;
  }

  /** @param {number} id @returns {Link | undefined} undefined for one that was let go */
  get(id) {
    return this._byId.get(id);
  }

  /** @param {Link} link is gone */
  remove(link) {
    this._byId.delete(link.id);
    if (this.current === link) {
      this.current = null;
    }
  }

  /** All of them, now; the list stays as it is when links come and go. */
  all() {
    return [...this._byId.values()];
  }

  /** @param {Link | null} link @returns {Link[]} */
  others(link) {
    return this.all().filter((other) => other !== link);
  }

  /** One that serves beside the current one and could take over at once, or null. */
  get successor() {
    return this.others(this.current).find(({ phase }) => phase === "serving") ?? null;
  }

  /** Whether there may be another one. */
  get hasRoom() {
    return this._byId.size < LINKS_MAX;
  }

  /** Addresses that lead to edges which are linked already. */
  get addresses() {
    return new Set(this.all().flatMap(({ addresses }) => addresses));
  }

  /** When something is due next. */
  get deadline() {
    return Math.min(Infinity, ...this.all().map(({ deadline }) => deadline));
  }
}
