/**
 * headrace.play.v1 as bytes and text (docs/protocol.md, sections 2.2 and 3). Pure: nothing here waits or talks.
 *
 * Whatever comes from an edge passes through `parseChunk` or `parseMessage` once and may be relied upon afterwards.
 */

import { Members, WireError, toCount } from "./members.js";

export { WireError };

export const SUBPROTOCOL = "headrace.play.v1";

/** Fixed part of a chunk record, in bytes. */
export const RECORD_HEADER_BYTES = 48;

/** Largest chunk record, in bytes: a second of 100 Mbit/s intra-only video fits, a wrong length does not. */
export const CHUNK_MAX_BYTES = 16 * 1024 * 1024;

/** Largest text message, in UTF-16 units: sixteen tracks with the longest headers, in base64. */
export const MESSAGE_MAX_CHARACTERS = 2 * 1024 * 1024;

/** Most tracks of one stream. */
export const TRACKS_MAX = 16;

/** Largest CMAF header of a track, in bytes. */
export const HEADER_MAX_BYTES = 64 * 1024;

/** Most edges kept from one list; a page needs a handful to fail over to. */
export const EDGES_MAX = 64;

const KIND_CHUNK = 1;
const FLAG_RANDOM_ACCESS = 1;
const FLAG_END_OF_PART = 2;
const FLAG_END_OF_SEGMENT = 4;
const FLAGS_ALL = FLAG_RANDOM_ACCESS | FLAG_END_OF_PART | FLAG_END_OF_SEGMENT;

/**
 * The place of a chunk in its track: epoch, segment, chunk. For one track it only grows.
 * @typedef {readonly [epoch: number, segment: number, chunk: number]} Position
 */

/**
 * One chunk of one track.
 * @typedef {object} Chunk
 * @property {number} track from 1
 * @property {Position} position its place in the track
 * @property {boolean} randomAccess decoding can begin with the first sample
 * @property {boolean} endOfPart
 * @property {boolean} endOfSegment the next chunk is chunk 0 of the next segment
 * @property {number} decodeTime of the first sample, in the track's timescale
 * @property {number} duration in the track's timescale, 0 without media
 * @property {number} part number of its part in the segment
 * @property {number} samples
 * @property {number} captureUs capture of the first sample, UTC in microseconds since 1970
 * @property {Uint8Array<ArrayBuffer>} media prft, moof and mdat; empty when the chunk only closes its segment
 */

/** @typedef {"video" | "audio" | "data"} TrackKind */

/**
 * What the player needs to know of a track (docs/protocol.md, section 2.3).
 * @typedef {object} Track
 * @property {number} track its number, from 1
 * @property {TrackKind} kind
 * @property {string} codec RFC 6381
 * @property {number} timescale ticks per second
 * @property {Uint8Array<ArrayBuffer>} header ftyp and moov
 * @property {number} width pixels, 0 unknown
 * @property {number} height pixels, 0 unknown
 * @property {number} chunkSeconds nominal length of a chunk, 0 when it varies
 */

/** @typedef {"live" | "interrupted" | "ended"} StreamState */
/** @typedef {{ node: string, role: string }} RouteHop */

/** @typedef {{ type: "welcome", edge: string, stream: string, edges: string[], heartbeatMs: number, utcUs: number }} Welcome */
/** @typedef {{ type: "state", state: StreamState, reason: string, route: RouteHop[] }} State */
/** @typedef {{ type: "tracks", epoch: number, tracks: Track[] }} Tracks */
/** @typedef {{ type: "gap", track: number, next: Position }} Gap */
/** @typedef {{ type: "skipped", entries: number }} Skipped */
/** @typedef {{ type: "ping", id: number, utcUs: number }} Ping */
/** @typedef {{ type: "time", sent: number, utcUs: number }} Time */
/** @typedef {{ type: "edges", edges: string[] }} Edges */
/** @typedef {{ type: "going_away", edges: string[] }} GoingAway */
/** @typedef {{ type: "refused", code: string, reason: string }} Refused */
/** @typedef {Welcome | State | Tracks | Gap | Skipped | Ping | Time | Edges | GoingAway | Refused} Message */

/**
 * Return the chunk that one binary message holds; its media shares the message's memory.
 *
 * @param {ArrayBuffer} record
 * @returns {Chunk}
 * @throws {WireError} `truncated`, `too_large`, `bad_kind`, `bad_track`, `bad_flags`; `unsafe_number` for a number
 *   beyond 2^53, which JavaScript could only round.
 */
export function parseChunk(record) {
  if (record.byteLength < RECORD_HEADER_BYTES) {
    throw new WireError("truncated", `chunk record of ${record.byteLength} bytes`);
  }
  if (record.byteLength > CHUNK_MAX_BYTES) {
    throw new WireError("too_large", `chunk record of ${record.byteLength} bytes`);
  }
  const view = new DataView(record);
  const kind = view.getUint8(0);
  const track = view.getUint8(1);
  const flags = view.getUint8(2);
  if (kind !== KIND_CHUNK) {
    throw new WireError("bad_kind", `record of kind ${kind}`);
  }
  if (track === 0) {
    throw new WireError("bad_track", "chunk of track 0: tracks count from 1");
  }
  if (flags & ~FLAGS_ALL) {
    throw new WireError("bad_flags", `chunk flags ${flags}`);
  }
  return {
    track,
    position: [safe(view, 8), safe(view, 16), view.getUint32(4)],
    randomAccess: (flags & FLAG_RANDOM_ACCESS) !== 0,
    endOfPart: (flags & FLAG_END_OF_PART) !== 0,
    endOfSegment: (flags & FLAG_END_OF_SEGMENT) !== 0,
    decodeTime: safe(view, 24),
    duration: view.getUint32(32),
    part: view.getUint16(36),
    samples: view.getUint16(38),
    captureUs: safe(view, 40),
    media: new Uint8Array(record, RECORD_HEADER_BYTES),
  };
}

/**
 * Return what one text message says, or `null` for a type that this version does not know.
 *
 * @param {string} text
 * @returns {Message | null}
 * @throws {WireError} `too_large`; `bad_message` when it is no JSON object, or a member is missing or of another type.
 */
export function parseMessage(text) {
  if (text.length > MESSAGE_MAX_CHARACTERS) {
    throw new WireError("too_large", `message of ${text.length} characters`);
  }
  const members = new Members(parseJson(text), "message");
  const type = members.text("type");
  const read = Object.hasOwn(READERS, type) ? READERS[/** @type {keyof typeof READERS} */ (type)] : undefined;
  return read === undefined ? null : read(members);
}

/**
 * The first message of a connection.
 *
 * @param {string} session kept across reconnections
 * @param {ReadonlyMap<number, Position> | null} after last chunk had of each track, or null to join at live
 */
export function encodePlay(session, after) {
  const message = { type: "play", session };
  return JSON.stringify(after === null ? message : { ...message, after: Object.fromEntries(after) });
}

/** @param {number} sent any number; the answer repeats it */
export function encodeTime(sent) {
  return JSON.stringify({ type: "time", sent });
}

/** @param {number} id as in the ping */
export function encodePong(id) {
  return JSON.stringify({ type: "pong", id });
}

/**
 * What a player tells its edge, for metrics.
 * @typedef {object} Report
 * @property {number} [latency_ms] capture to screen
 * @property {number} [buffer_ms]
 * @property {number} [dropped_frames] since the beginning
 * @property {number} [stalls] since the beginning
 */

/** @param {Report} report */
export function encodeReport(report) {
  return JSON.stringify({ type: "report", ...report });
}

/**
 * Order two places of one track: negative when `a` comes first, 0 when they are the same.
 *
 * @param {Position} a
 * @param {Position} b
 */
export function comparePositions(a, b) {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

const READERS = {
  /** @param {Members} m @returns {Welcome} */
  welcome: (m) => ({
    type: "welcome",
    edge: m.text("edge"),
    stream: m.text("stream"),
    edges: readEdges(m),
    heartbeatMs: m.number("heartbeat_ms"),
    utcUs: m.number("utc_us"),
  }),
  /** @param {Members} m @returns {State} */
  state: (m) => ({
    type: "state",
    state: readState(m),
    reason: m.text("reason", ""),
    route: m.values["route"] === undefined ? [] : m.list("route", 16).map(readHop),
  }),
  /** @param {Members} m @returns {Tracks} */
  tracks: (m) => ({ type: "tracks", epoch: m.count("epoch"), tracks: readTracks(m) }),
  /** @param {Members} m @returns {Gap} */
  gap: (m) => ({ type: "gap", track: m.count("track"), next: readPosition(m) }),
  /** @param {Members} m @returns {Skipped} */
  skipped: (m) => ({ type: "skipped", entries: m.count("entries") }),
  /** @param {Members} m @returns {Ping} */
  ping: (m) => ({ type: "ping", id: m.number("id"), utcUs: m.number("utc_us") }),
  /** @param {Members} m @returns {Time} */
  time: (m) => ({ type: "time", sent: m.number("sent"), utcUs: m.number("utc_us") }),
  /** @param {Members} m @returns {Edges} */
  edges: (m) => ({ type: "edges", edges: readEdges(m) }),
  /** @param {Members} m @returns {GoingAway} */
  going_away: (m) => ({ type: "going_away", edges: readEdges(m) }),
  /** @param {Members} m @returns {Refused} */
  refused: (m) => ({ type: "refused", code: m.text("code"), reason: m.text("reason", "") }),
};

/** @param {Members} members @returns {StreamState} */
function readState(members) {
  const state = members.text("state");
  if (state !== "live" && state !== "interrupted" && state !== "ended") {
    throw members.wrong("state", "one that is known");
  }
  return state;
}

/** @param {unknown} value @returns {RouteHop} */
function readHop(value) {
  const hop = new Members(value, "route");
  return { node: hop.text("node"), role: hop.text("role", "") };
}

/** @param {Members} members @returns {string[]} */
function readEdges(members) {
  return members.list("edges", EDGES_MAX).map((edge) => {
    if (typeof edge !== "string") {
      throw members.wrong("edges", "a list of texts");
    }
    return edge;
  });
}

/** @param {Members} members @returns {Position} */
function readPosition(members) {
  const list = members.list("next", 4);
  const wrong = () => members.wrong("next", "a position");
  if (list.length !== 3) {
    throw wrong();
  }
  return [toCount(list[0], wrong), toCount(list[1], wrong), toCount(list[2], wrong)];
}

/** @param {Members} members @returns {Track[]} */
function readTracks(members) {
  const tracks = members.list("tracks", TRACKS_MAX + 1).map(readTrack);
  const numbers = new Set(tracks.map((track) => track.track));
  if (tracks.length === 0 || tracks.length > TRACKS_MAX || numbers.size !== tracks.length) {
    throw new WireError("bad_tracks", `${tracks.length} tracks with ${numbers.size} different numbers`);
  }
  return tracks;
}

/** @param {unknown} value @returns {Track} */
function readTrack(value) {
  const m = new Members(value, "track");
  const kind = m.text("kind");
  const timescale = m.count("timescale");
  if (kind !== "video" && kind !== "audio" && kind !== "data") {
    throw new WireError("bad_tracks", `track of kind ${kind}`);
  }
  if (timescale === 0) {
    throw new WireError("bad_tracks", "timescale 0");
  }
  return {
    track: m.count("track"),
    kind,
    codec: m.text("codec"),
    timescale,
    header: readHeader(m.text("header")),
    width: m.number("width", 0),
    height: m.number("height", 0),
    chunkSeconds: m.number("chunk_seconds", 0),
  };
}

/** @param {string} base64 @returns {Uint8Array<ArrayBuffer>} */
function readHeader(base64) {
  if (base64.length > (HEADER_MAX_BYTES * 4) / 3 + 4) {
    throw new WireError("bad_tracks", `header of ${base64.length} base64 characters`);
  }
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    throw new WireError("bad_tracks", "header is no base64");
  }
}

/** @param {string} text @returns {unknown} */
function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new WireError("bad_message", "message is no JSON");
  }
}

/**
 * A 64-bit number as a JavaScript one.
 * @param {DataView} view
 * @param {number} offset
 */
function safe(view, offset) {
  const value = Number(view.getBigUint64(offset));
  if (!Number.isSafeInteger(value)) {
    throw new WireError("unsafe_number", `number beyond 2^53 at offset ${offset}`);
  }
  return value;
}
