/** What the pages know of streams: the edge's list, and words for it. */

/**
 * @typedef {object} Track
 * @property {string} kind
 * @property {string} codec RFC 6381
 * @property {number} width
 * @property {number} height
 * @property {number} frame_rate
 */

/**
 * @typedef {object} Stream
 * @property {string} name
 * @property {string} state
 * @property {string} owner the node that has its source
 * @property {Track[]} tracks
 */

/** @typedef {{ node: string, streams: Stream[] }} Listing */

const ANSWER_MS = 5000;

/** Names that people know, by the beginning of the codec string. @type {Record<string, string>} */
const CODECS = {
  avc1: "H.264",
  avc3: "H.264",
  hvc1: "H.265",
  hev1: "H.265",
  av01: "AV1",
  vp09: "VP9",
  "mp4a.40": "AAC",
  "mp4a.6b": "MP3",
  "mp4a.69": "MP3",
  opus: "Opus",
  flac: "FLAC",
};

/** @returns {Promise<Listing>} */
export async function listStreams() {
  const response = await fetch("/streams", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
  if (!response.ok) {
    throw new Error(`the edge answered ${response.status}`);
  }
  return response.json();
}

/** @param {Track} track */
export function describeTrack({ kind, codec, width, height, frame_rate }) {
  const lower = codec.toLowerCase();
  const known = Object.keys(CODECS).find((prefix) => lower.startsWith(prefix));
  const name = (known && CODECS[known]) || codec || kind;
  const size = height ? ` ${width}×${height}` : "";
  const rate = frame_rate ? `, ${Math.round(frame_rate * 100) / 100} fps` : "";
  return name + size + rate;
}

/** @param {Stream} stream */
export const describeStream = (stream) => stream.tracks.map(describeTrack).join(" · ");

/** @param {string} name of a stream */
export const watchPath = (name) => `/watch/${name.split("/").map(encodeURIComponent).join("/")}`;
