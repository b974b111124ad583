import assert from "node:assert/strict";
import test from "node:test";

import {
  CHUNK_MAX_BYTES, WireError, comparePositions, encodePlay, encodePong, encodeReport, encodeTime, parseChunk, parseMessage,
} from "../player/wire.js";
import { MEMBERS, message, record } from "./records.js";

const code = (expected) => (error) => error instanceof WireError && error.code === expected;

test("a chunk record is read field by field, its media shares the message's memory", () => {
  const bytes = record({
    track: 2, flags: 5, chunk: 7, epoch: 1_763_600_000_123, segment: 881_800_000, decodeTime: 158_724_000_000_000,
    duration: 9000, part: 3, samples: 5, captureUs: 1_763_600_000_123_456, media: [9, 8, 7],
  });
  const chunk = parseChunk(bytes);
  assert.equal(chunk.media.buffer, bytes);
  assert.deepEqual({ ...chunk, media: [...chunk.media] }, {
    track: 2, position: [1_763_600_000_123, 881_800_000, 7], randomAccess: true, endOfPart: false, endOfSegment: true,
    decodeTime: 158_724_000_000_000, duration: 9000, part: 3, samples: 5, captureUs: 1_763_600_000_123_456, media: [9, 8, 7],
  });
});

test("a chunk that only closes its segment has no media", () => {
  const chunk = parseChunk(record({ flags: 4, duration: 0, samples: 0, media: [] }));
  assert.equal(chunk.media.length, 0);
  assert.equal(chunk.endOfSegment, true);
});

test("the reserved byte is ignored", () => {
  const bytes = record();
  new DataView(bytes).setUint8(3, 255);
  assert.equal(parseChunk(bytes).track, 1);
});

for (const [name, bytes, expected] of [
  ["shorter than its header", record().slice(0, 47), "truncated"],
  ["empty", new ArrayBuffer(0), "truncated"],
  ["too long", new ArrayBuffer(CHUNK_MAX_BYTES + 1), "too_large"],
  ["of another kind", record({ kind: 2 }), "bad_kind"],
  ["of track 0", record({ track: 0 }), "bad_track"],
  ["with an unknown flag", record({ flags: 8 }), "bad_flags"],
  ["with a number beyond 2^53", record({ decodeTime: 2n ** 53n }), "unsafe_number"],
]) {
  test(`a record ${name} is refused as ${expected}`, () => {
    assert.throws(() => parseChunk(bytes), code(expected));
  });
}

test("whatever bytes come, parsing ends with a chunk or a WireError", () => {
  let state = 1;
  const random = () => (state = (state * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
  for (let turn = 0; turn < 5000; turn += 1) {
    const bytes = new Uint8Array(record({ media: [] }));
    const cut = Math.floor(random() * (bytes.length + 1));
    for (let change = 0; change < 3; change += 1) {
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    }
    try {
      parseChunk(bytes.buffer.slice(0, cut));
    } catch (error) {
      assert.ok(error instanceof WireError);
    }
  }
});

test("messages are read with their members", () => {
  assert.deepEqual(parseMessage(message("welcome")), {
    type: "welcome", edge: "edge-1", stream: "demo", edges: ["ws://one:8088"], heartbeatMs: 1000, utcUs: 5_000_000,
  });
  assert.deepEqual(parseMessage(message("state")), {
    type: "state", state: "live", reason: "", route: [{ node: "in-1", role: "ingress" }],
  });
  assert.deepEqual(parseMessage(message("gap")), { type: "gap", track: 1, next: [1000, 2, 0] });
  assert.deepEqual(parseMessage(message("time")), { type: "time", sent: 12.5, utcUs: 2 });
  assert.deepEqual(parseMessage(message("refused")), {
    type: "refused", code: "no_such_stream", reason: "there is no such stream",
  });
  const tracks = parseMessage(message("tracks"));
  assert.deepEqual(tracks.tracks.map(({ header }) => [...header]), [[0, 1, 2], [3, 4]]);
  assert.deepEqual(tracks.tracks.map(({ timescale, chunkSeconds }) => [timescale, chunkSeconds]), [[90_000, 0], [48_000, 0]]);
});

test("unknown members and unknown types are ignored", () => {
  assert.equal(parseMessage(message("ping", { more: 1 })).id, 3);
  assert.equal(parseMessage('{"type":"later"}'), null);
  assert.equal(parseMessage('{"type":"toString"}'), null);
});

for (const [type, members] of Object.entries(MEMBERS)) {
  for (const key of Object.keys(members)) {
    test(`${type}.${key} of a wrong type is refused`, () => {
      assert.throws(() => parseMessage(message(type, { [key]: { wrong: true } })), code("bad_message"));
    });
  }
}

for (const [name, text, expected] of [
  ["no JSON", "{", "bad_message"],
  ["no object", "[]", "bad_message"],
  ["without a type", "{}", "bad_message"],
  ["too long", " ".repeat(2 ** 22), "too_large"],
  ["with an unknown state", message("state", { state: "asleep" }), "bad_message"],
  ["with a position of two", message("gap", { next: [1, 2] }), "bad_message"],
  ["with a negative position", message("gap", { next: [1, 2, -1] }), "bad_message"],
  ["without tracks", message("tracks", { tracks: [] }), "bad_tracks"],
  ["with a track twice", message("tracks", { tracks: [MEMBERS.tracks.tracks[0], MEMBERS.tracks.tracks[0]] }), "bad_tracks"],
  ["with a header that is no base64", message("tracks", { tracks: [{ ...MEMBERS.tracks.tracks[0], header: "?" }] }), "bad_tracks"],
  ["with a timescale of 0", message("tracks", { tracks: [{ ...MEMBERS.tracks.tracks[0], timescale: 0 }] }), "bad_tracks"],
]) {
  test(`text ${name} is refused as ${expected}`, () => {
    assert.throws(() => parseMessage(text), code(expected));
  });
}

test("what the player says is as the protocol wants it", () => {
  assert.deepEqual(JSON.parse(encodePlay("abc", null)), { type: "play", session: "abc" });
  assert.deepEqual(JSON.parse(encodePlay("abc", new Map([[1, [1000, 2, 3]]]))), {
    type: "play", session: "abc", after: { 1: [1000, 2, 3] },
  });
  assert.deepEqual(JSON.parse(encodeTime(1.5)), { type: "time", sent: 1.5 });
  assert.deepEqual(JSON.parse(encodePong(4)), { type: "pong", id: 4 });
  assert.deepEqual(JSON.parse(encodeReport({ stalls: 1 })), { type: "report", stalls: 1 });
});

test("positions order by epoch, then segment, then chunk", () => {
  const ordered = [[1, 9, 9], [2, 1, 5], [2, 2, 0], [2, 2, 1]];
  assert.deepEqual([...ordered].reverse().sort(comparePositions), ordered);
  assert.equal(comparePositions([1, 2, 3], [1, 2, 3]), 0);
});
