/**
 * Where the stream may be had, and where it was tried already. Pure.
 */

import { addressOnEdge } from "./addresses.js";

export class EdgeList {
  /** @param {string} source the address that the page gave: always one of the choices */
  constructor(source) {
    this.source = source;
    this._stream = "";
    /** Base addresses, as an edge told them. @type {readonly string[]} */
    this._edges = [];
    /** Addresses that failed since a chunk last came. @type {Set<string>} */
    this._tried = new Set();
  }

  /**
   * @param {readonly string[]} edges base addresses
   * @param {string} [stream] the stream's name, where it was told
   */
  learn(edges, stream = this._stream) {
    this._edges = edges;
    this._stream = stream;
  }

  /**
   * Take these first, and keep the others.
   * @param {readonly string[]} edges base addresses
   */
  prefer(edges) {
    this._edges = [...new Set([...edges, ...this._edges])];
  }

  /**
   * Return the stream's address on an edge, or null when that is none.
   * @param {string} edge base address
   */
  addressOn(edge) {
    return addressOnEdge(this.source, this._stream, edge);
  }

  /**
   * Return an address that was not tried, or null.
   *
   * @param {number} random from 0 to 1: viewers of a dead edge spread over the others
   * @param {ReadonlySet<string>} [except]
   */
  pick(random, except = new Set()) {
    const others = this._edges.map((edge) => this.addressOn(edge)).filter((address) => address !== null);
    const open = [...new Set([...others, this.source])].filter(
      (address) => !this._tried.has(address) && !except.has(address),
    );
    return open[Math.min(open.length - 1, Math.floor(random * open.length))] ?? null;
  }

  /**
   * Return the first of `edges` that was not tried, or null.
   * @param {readonly string[]} edges base addresses
   */
  firstOf(edges) {
    const addresses = edges.map((edge) => this.addressOn(edge));
    return addresses.find((address) => address !== null && !this._tried.has(address)) ?? null;
  }

  /** @param {Iterable<string>} addresses that failed */
  fail(addresses) {
    for (const address of addresses) {
      this._tried.add(address);
    }
  }

  /** All may be tried again. */
  forgive() {
    this._tried.clear();
  }
}
