/** What the tests make chunks and messages with. */

/**
 * A chunk record as an edge sends it.
 */
export function record({
  kind = 1, track = 1, flags = 0, chunk = 0, epoch = 1000, segment = 1, decodeTime = 0, duration = 9000, part = 0,
  samples = 1, captureUs = 0, media = [1, 2, 3],
} = {}) {
  const bytes = new Uint8Array(48 + media.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, kind);
  view.setUint8(1, track);
  view.setUint8(2, flags);
  view.setUint32(4, chunk);
  view.setBigUint64(8, BigInt(epoch));
  view.setBigUint64(16, BigInt(segment));
  view.setBigUint64(24, BigInt(decodeTime));
  view.setUint32(32, duration);
  view.setUint16(36, part);
  view.setUint16(38, samples);
  view.setBigUint64(40, BigInt(captureUs));
  bytes.set(media, 48);
  return bytes.buffer;
}

/** A parsed chunk, as the player's modules hand it on. */
export function chunk({ track = 1, at = [1000, 1, 0], randomAccess = false, endOfSegment = false } = {}) {
  return {
    track, position: at, randomAccess, endOfSegment, endOfPart: false, decodeTime: 0, duration: 1, part: 0, samples: 1,
    captureUs: 0, media: new Uint8Array(1),
  };
}

/** A parsed track. */
export function track({ track: number = 1, kind = "video", codec = "avc1.64001f", header = [1, 2, 3] } = {}) {
  return {
    track: number, kind, codec, timescale: 90_000, header: new Uint8Array(header), width: 0, height: 0, chunkSeconds: 0,
  };
}

export const MEMBERS = {
  welcome: { edge: "edge-1", stream: "demo", edges: ["ws://one:8088"], heartbeat_ms: 1000, utc_us: 5_000_000 },
  state: { state: "live", reason: "", route: [{ node: "in-1", role: "ingress" }] },
  tracks: {
    epoch: 1000,
    tracks: [
      { track: 1, kind: "video", codec: "avc1.64001f", timescale: 90_000, header: "AAEC", width: 640, height: 360 },
      { track: 2, kind: "audio", codec: "mp4a.40.2", timescale: 48_000, header: "AwQ=" },
    ],
  },
  gap: { track: 1, next: [1000, 2, 0] },
  skipped: { entries: 7 },
  ping: { id: 3, utc_us: 1 },
  time: { sent: 12.5, utc_us: 2 },
  edges: { edges: ["ws://one:8088", "ws://two:8088"] },
  going_away: { edges: ["ws://two:8088"] },
  refused: { code: "no_such_stream", reason: "there is no such stream" },
};

/** A message as text, its usual members replaced by `members`. */
export function message(type, members = {}) {
  return JSON.stringify({ type, ...MEMBERS[type], ...members });
}
