/**
 * Where a stream is played from: the address in `src`, and the same stream on other edges. Pure.
 */

const PLAY_PATH = "/play/";

/**
 * Return the WebSocket address that `src` means.
 *
 * @param {string} src ws(s)://, http(s):// or a path, for example `/play/demo`
 * @param {string} base the page's own address, which a path is relative to
 * @returns {string}
 * @throws {TypeError} with a sentence for people when it is no such address
 */
export function playAddress(src, base) {
  const url = parse(src, base);
  const scheme = { "http:": "ws:", "https:": "wss:", "ws:": "ws:", "wss:": "wss:" }[url.protocol];
  if (scheme === undefined) {
    throw new TypeError(`src ${JSON.stringify(src)}: a stream is played from a ws, wss, http or https address`);
  }
  url.protocol = scheme;
  url.hash = "";
  return url.href;
}

/**
 * Return the address of the stream on another edge.
 *
 * @param {string} address of the stream on the edge that the page named; its query goes along (it may hold a token)
 * @param {string} stream its name
 * @param {string} edge base address of the other edge, from a list of edges
 * @returns {string | null} null when `edge` is no WebSocket address
 */
export function addressOnEdge(address, stream, edge) {
  if (!/^wss?:\/\//i.test(edge)) {
    return null;
  }
  try {
    const url = new URL(edge);
    url.pathname = `${url.pathname.replace(/\/+$/, "")}${PLAY_PATH}${stream}`;
    url.search = new URL(address).search;
    return url.href;
  } catch {
    return null;
  }
}

/** @param {string} src @param {string} base */
function parse(src, base) {
  try {
    return new URL(src, base);
  } catch {
    throw new TypeError(`src ${JSON.stringify(src)} is no address`);
  }
}
