import assert from "node:assert/strict";
import test from "node:test";

import { addressOnEdge, playAddress } from "../player/addresses.js";
import { Backoff } from "../player/backoff.js";
import { CaptureTimes } from "../player/capture-times.js";
import { EdgeClock } from "../player/edge-clock.js";
import { chooseTracks, compareTracks, mimeType } from "../player/tracks.js";
import { track } from "./records.js";

for (const [src, expected] of [
  ["/play/demo", "wss://edge.example/play/demo"],
  ["ws://other:8088/play/demo", "ws://other:8088/play/demo"],
  ["http://other:8088/play/a/b?token=x#part", "ws://other:8088/play/a/b?token=x"],
  ["https://other/play/demo", "wss://other/play/demo"],
]) {
  test(`src ${src} means ${expected}`, () => {
    assert.equal(playAddress(src, "https://edge.example/watch/demo"), expected);
  });
}

for (const src of ["rtsp://camera/1", "http://", "javascript:alert(1)"]) {
  test(`src ${src} is refused with a sentence`, () => {
    assert.throws(() => playAddress(src, "https://edge.example/"), TypeError);
  });
}

test("the stream on another edge has its own base, the same name and the same query", () => {
  assert.equal(addressOnEdge("ws://a/play/s/1?t=x", "s/1", "ws://b:1/base/"), "ws://b:1/base/play/s/1?t=x");
  assert.equal(addressOnEdge("ws://a/play/s", "s", "http://b"), null);
  assert.equal(addressOnEdge("ws://a/play/s", "s", "ws://"), null);
});

test("waits double up to the longest, spread over their upper half", () => {
  const backoff = new Backoff({ minMs: 100, maxMs: 500 });
  assert.deepEqual([0, 1, 0.5, 1, 0].map((random) => backoff.next(random)), [50, 200, 300, 500, 250]);
  backoff.reset();
  assert.equal(backoff.next(1), 100);
});

test("the exchange with the shortest round trip tells the edge's clock", () => {
  const clock = new EdgeClock();
  assert.equal(clock.utcUs(0), null);
  clock.seed(5_000_000, 1000);
  assert.equal(clock.utcUs(2000), 6_000_000);
  clock.answer(1000, 9_000_000, 1400); // slow: 9 s in the middle of 400 ms
  clock.answer(2000, 10_010_000, 2020); // quick
  clock.answer(3000, 11_100_000, 3200);
  assert.equal(clock.roundTripMs, 20);
  assert.equal(clock.utcUs(2010), 10_010_000);
});

test("an answer from the future is no answer", () => {
  const clock = new EdgeClock();
  clock.answer(2000, 1, 1000);
  assert.equal(clock.utcUs(0), null);
});

test("old exchanges are forgotten, for clocks drift", () => {
  const clock = new EdgeClock();
  clock.answer(0, 0, 1);
  for (let turn = 0; turn < 8; turn += 1) {
    clock.answer(1000, 2_000_000, 1010);
  }
  assert.equal(clock.roundTripMs, 10);
});

test("capture times are read between chunks", () => {
  const times = new CaptureTimes();
  assert.equal(times.at(1), null);
  times.add(10, 5_000_000);
  times.add(10.1, 5_100_000);
  times.add(20, 9_000_000);
  assert.equal(times.at(9), null);
  assert.equal(Math.round(times.at(10.05)), 5_050_000);
  assert.equal(Math.round(times.at(20.5)), 9_500_000);
  times.add(100, 99_000_000);
  assert.equal(times.at(10.05), null);
});

test("the first video and audio track that can be played are chosen, others named", () => {
  const tracks = [
    track({ track: 1, codec: "hvc1.1.6.L93" }), track({ track: 2 }), track({ track: 3, kind: "audio", codec: "mp3" }),
    track({ track: 4, kind: "data", codec: "x" }),
  ];
  const { tracks: chosen, refused } = chooseTracks(tracks, (type) => type.includes("avc1"));
  assert.deepEqual(chosen.map(({ track: number }) => number), [2]);
  assert.deepEqual(refused, ["This browser does not play the stream's audio (mp3)."]);
  assert.equal(mimeType(tracks[1]), 'video/mp4; codecs="avc1.64001f"');
});

test("a new epoch goes on in the same buffers where its tracks allow it", () => {
  const video = track();
  const audio = track({ track: 2, kind: "audio", codec: "opus" });
  assert.equal(compareTracks([video, audio], [track(), audio]), "same");
  assert.equal(compareTracks([video, audio], [track({ header: [1, 2, 4] }), audio]), "headers");
  assert.equal(compareTracks([video, audio], [track({ codec: "avc1.42001e" }), audio]), "headers");
  assert.equal(compareTracks([video, audio], [video]), "rebuild");
  assert.equal(compareTracks([video], [track({ kind: "audio" })]), "rebuild");
});
