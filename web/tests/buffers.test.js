import assert from "node:assert/strict";
import test from "node:test";

import { RandomAccessPoints } from "../player/random-access.js";
import { TrackBuffer } from "../player/track-buffer.js";
import { track } from "./records.js";

/**
 * What a SourceBuffer does with frames, one second each: a removal goes on to the next random access point, and is
 * refused more bytes than `roomBytes`.
 */
class FakeSourceBuffer {
  constructor(roomBytes = Infinity) {
    this.updating = false;
    this.timestampOffset = 0;
    this.onupdateend = null;
    this.onerror = null;
    this.roomBytes = roomBytes;
    this.appends = [];
    this.removals = [];
    /** @type {{ seconds: number, randomAccess: boolean }[]} */
    this.frames = [];
  }

  get buffered() {
    const seconds = this.frames.map((frame) => frame.seconds);
    return { length: Math.min(1, seconds.length), start: () => seconds[0], end: () => seconds.at(-1) + 1 };
  }

  appendBuffer(bytes) {
    if (this.frames.length + bytes.length > this.roomBytes) {
      throw new DOMException("no room", "QuotaExceededError");
    }
    this.appends.push(bytes.length);
    for (const byte of bytes) {
      this.frames.push({ seconds: this.frames.length === 0 ? 0 : this.frames.at(-1).seconds + 1, randomAccess: byte === 1 });
    }
  }

  remove(start, end) {
    this.removals.push(end);
    const next = this.frames.find((frame) => frame.randomAccess && frame.seconds >= end);
    this.frames = this.frames.filter(({ seconds }) => seconds < start || (next !== undefined && seconds >= next.seconds));
  }
}

/** A track's buffer with groups of pictures of so many seconds in it, played at `position`. */
function filled({ seconds, group, position, room = Infinity }) {
  const source = new FakeSourceBuffer(room);
  const failures = [];
  const buffer = new TrackBuffer(source, track({ header: [] }), 0, {
    position: () => position, failed: (reason) => failures.push(reason),
  });
  for (let second = 0; second < seconds; second += 1) {
    const randomAccess = second % group === 0;
    buffer.append(new Uint8Array([randomAccess ? 1 : 0]), randomAccess ? second : null);
  }
  return { source, buffer, failures };
}

test("media is removed up to a random access point only", () => {
  const points = new RandomAccessPoints();
  assert.equal(points.removable(10), null);
  [0, 4, 8].forEach((seconds) => points.add(seconds));
  assert.equal(points.before(7.9), 4);
  assert.ok(points.removable(8) < 8 && points.removable(8) > 7.99);
  points.forget(points.removable(8));
  assert.equal(points.size, 1);
  assert.equal(points.before(7), null);
});

test("of short groups of pictures the old ones go", () => {
  const { source, buffer } = filled({ seconds: 30, group: 2, position: 29 });
  buffer.evict(19, 5);
  assert.equal(source.frames[0].seconds, 18);
  buffer.evict(20, 5);
  assert.equal(source.removals.length, 1); // too little to be worth while
});

test("a group of pictures longer than what is kept stays whole while it is played", () => {
  const { source, buffer } = filled({ seconds: 40, group: 60, position: 39 });
  buffer.evict(29, 5);
  assert.equal(source.frames.length, 40);
  assert.deepEqual(source.removals, []);
});

test("once the next group is played for long enough, the long one before it goes", () => {
  const { source, buffer } = filled({ seconds: 80, group: 60, position: 79 });
  buffer.evict(59, 5);
  assert.deepEqual(source.removals, []);
  buffer.evict(69, 5);
  assert.equal(source.frames[0].seconds, 60);
});

test("where the browser has no more room, whole groups go, and playing goes on", () => {
  const { source, failures } = filled({ seconds: 40, group: 20, position: 35, room: 30 });
  assert.deepEqual(failures, []);
  assert.equal(source.frames[0].seconds, 20);
  assert.equal(source.frames.length, 20);
});

test("where one group alone fills the browser's room it says so instead of removing what is shown", () => {
  const { source, failures } = filled({ seconds: 40, group: 60, position: 20, room: 30 });
  assert.deepEqual(failures, ["the browser has no room for the video"]);
  assert.deepEqual(source.removals, []);
});

test("what a late joiner gets at once is appended in pieces", () => {
  const source = new FakeSourceBuffer();
  const buffer = new TrackBuffer(source, track({ header: [] }), 0, { position: () => 0, failed: assert.fail });
  source.updating = true;
  const mebibyte = 1024 * 1024;
  for (let number = 0; number < 40; number += 1) {
    buffer.append(new Uint8Array(mebibyte), number === 0 ? 0 : null); // more than a minute at 5 Mbit/s
  }
  source.updating = false;
  source.appendBuffer = (bytes) => source.appends.push(bytes.length);
  for (let turn = 0; turn < 50; turn += 1) {
    source.onupdateend?.();
  }
  assert.equal(source.appends.length, 40);
  assert.ok(source.appends.every((length) => length <= mebibyte));
  assert.ok(buffer.idle);
});

test("how much has to be decoded to show a position is known", () => {
  const { buffer } = filled({ seconds: 80, group: 60, position: 79 });
  assert.equal(buffer.prerollSeconds(59), 59);
  assert.equal(buffer.prerollSeconds(61), 1);
  assert.equal(buffer.prerollSeconds(-1), 0);
});
