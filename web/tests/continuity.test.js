import assert from "node:assert/strict";
import test from "node:test";

import { Continuity } from "../player/continuity.js";
import { chunk, track } from "./records.js";

const VIDEO = track();
const AUDIO = track({ track: 2, kind: "audio" });

function opened() {
  const continuity = new Continuity();
  continuity.open(1000, [VIDEO, AUDIO]);
  return continuity;
}

const take = (continuity, ...chunks) => chunks.map((each) => continuity.take(chunk(each)));

test("chunks in order are played, each once, whatever link brings them", () => {
  const continuity = opened();
  const first = { at: [1000, 1, 0], randomAccess: true };
  const second = { at: [1000, 1, 1], endOfSegment: true };
  const third = { at: [1000, 2, 0], randomAccess: true };
  assert.deepEqual(take(continuity, first, second, first, second, third), ["play", "play", "duplicate", "duplicate", "play"]);
  assert.deepEqual([continuity.chunks, continuity.duplicates, continuity.gaps], [3, 2, 0]);
});

test("video begins at a random access point, audio anywhere", () => {
  const continuity = opened();
  const verdicts = take(
    continuity, { at: [1000, 1, 4] }, { at: [1000, 1, 5] }, { track: 2, at: [1000, 1, 4] },
    { at: [1000, 1, 6], randomAccess: true }, { at: [1000, 1, 7] },
  );
  assert.deepEqual(verdicts, ["undecodable", "undecodable", "play", "play", "play"]);
});

test("after a hole video waits for the next random access point and audio goes on", () => {
  const continuity = opened();
  take(continuity, { at: [1000, 1, 0], randomAccess: true }, { track: 2, at: [1000, 1, 0] });
  const verdicts = take(
    continuity, { at: [1000, 1, 2] }, { track: 2, at: [1000, 1, 2] }, { at: [1000, 1, 3], randomAccess: true },
  );
  assert.deepEqual(verdicts, ["undecodable", "play", "play"]);
  assert.equal(continuity.gaps, 2);
});

test("a gap that was told is not counted again when it shows", () => {
  const continuity = opened();
  take(continuity, { at: [1000, 1, 0], randomAccess: true });
  assert.equal(continuity.lose(1, [1000, 2, 0]), true);
  assert.deepEqual(take(continuity, { at: [1000, 2, 0], randomAccess: true }), ["play"]);
  assert.equal(continuity.gaps, 1);
});

test("a gap before what we have, or of an unknown track, is none", () => {
  const continuity = opened();
  take(continuity, { at: [1000, 1, 0], randomAccess: true });
  assert.equal(continuity.lose(1, [1000, 1, 0]), false);
  assert.equal(continuity.lose(9, [1000, 2, 0]), false);
  assert.equal(continuity.gaps, 0);
});

test("a gap before what follows directly is none: an edge may not know where a segment ended", () => {
  const continuity = opened();
  take(continuity, { at: [1000, 1, 0], randomAccess: true }, { at: [1000, 1, 1], endOfSegment: true });
  assert.equal(continuity.lose(1, [1000, 2, 0]), false);
  assert.deepEqual(take(continuity, { at: [1000, 2, 0], randomAccess: true }), ["play"]);
  assert.equal(continuity.gaps, 0);
});

test("a new epoch begins at a random access point and ends the old one", () => {
  const continuity = opened();
  take(continuity, { at: [1000, 1, 0], randomAccess: true });
  assert.equal(continuity.open(2000, [VIDEO, AUDIO]), true);
  assert.equal(continuity.open(2000, [VIDEO, AUDIO]), false);
  const verdicts = take(continuity, { at: [1000, 1, 1] }, { at: [2000, 2, 0], randomAccess: true });
  assert.deepEqual(verdicts, ["duplicate", "play"]);
  assert.equal(continuity.gaps, 0);
});

test("chunks whose tracks were not told are not played", () => {
  assert.deepEqual(take(opened(), { track: 3, randomAccess: true }, { at: [2000, 1, 0], randomAccess: true }), [
    "undecodable", "undecodable",
  ]);
});

test("it tells the last chunk of each track, and nothing when it had none", () => {
  const continuity = opened();
  assert.equal(continuity.after(), null);
  take(continuity, { at: [1000, 1, 0], randomAccess: true }, { track: 2, at: [1000, 1, 3] });
  assert.deepEqual([...continuity.after()], [[1, [1000, 1, 0]], [2, [1000, 1, 3]]]);
  continuity.open(2000, [VIDEO, AUDIO]);
  assert.deepEqual([...continuity.after()], [[1, [1000, 1, 0]], [2, [1000, 1, 3]]]);
});

test("after a restart the same epoch is opened again and counts stay", () => {
  const continuity = opened();
  take(continuity, { at: [1000, 1, 0], randomAccess: true });
  continuity.restart();
  assert.equal(continuity.after(), null);
  assert.equal(continuity.open(1000, [VIDEO, AUDIO]), true);
  assert.deepEqual(take(continuity, { at: [1000, 1, 0], randomAccess: true }), ["play"]);
  assert.equal(continuity.chunks, 2);
});
