/** Why a connection was closed (docs/protocol.md, section 3.3). Pure. */

export const CLOSE_NORMAL = 1000;
export const CLOSE_PROTOCOL_ERROR = 1002;

const FINAL = new Set([CLOSE_NORMAL, CLOSE_PROTOCOL_ERROR, 1008]);

/**
 * Whether a player stays away after this code.
 * @param {number} code
 */
export function isFinal(code) {
  return FINAL.has(code);
}

/**
 * Return words for people, for an edge that gave none.
 * @param {number} code
 */
export function closeWords(code) {
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
