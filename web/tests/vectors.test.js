/** The golden vectors that every implementation of headrace.play.v1 shares (tests/vectors). */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { encodePlay, encodePong, encodeReport, encodeTime, parseChunk, parseMessage } from "../player/wire.js";

const VECTORS = JSON.parse(readFileSync(new URL("../../tests/vectors/play.json", import.meta.url), "utf8"));

const bytesOf = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** What we make of a player's message, by its type. */
const ENCODERS = {
  play: ({ session, after }) =>
    encodePlay(session, after === undefined ? null : new Map(Object.entries(after).map(([key, at]) => [Number(key), at]))),
  time: ({ sent }) => encodeTime(sent),
  report: ({ type: _, ...values }) => encodeReport(values),
  pong: ({ id }) => encodePong(id),
};

for (const { name, text } of VECTORS.player_to_edge) {
  test(`says: ${name}`, () => {
    const message = JSON.parse(text);
    assert.deepEqual(JSON.parse(ENCODERS[message.type](message)), message);
  });
}

/** A member as the wire has it, from the name that we give it. */
const wireName = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

for (const { name, text } of VECTORS.edge_to_player) {
  test(`understands: ${name}`, () => {
    const sent = JSON.parse(text);
    const { tracks, ...read } = parseMessage(text);
    for (const [key, value] of Object.entries(read)) {
      assert.deepEqual(value, sent[wireName(key)], key);
    }
    for (const [index, track] of (tracks ?? []).entries()) {
      const { header, ...members } = track;
      assert.equal(btoa(String.fromCharCode(...header)), sent.tracks[index].header);
      for (const [key, value] of Object.entries(members)) {
        assert.deepEqual(value, sent.tracks[index][wireName(key)], key);
      }
    }
  });
}

for (const text of VECTORS.ignored) {
  test(`ignores: ${text}`, () => assert.equal(parseMessage(text), null));
}

for (const vector of VECTORS.chunks) {
  test(`reads a chunk: ${vector.name}`, () => {
    const { media, ...chunk } = parseChunk(bytesOf(vector.hex).buffer);
    assert.equal(hexOf(media), vector.media_hex);
    for (const [key, value] of Object.entries(chunk)) {
      assert.deepEqual(value, vector[wireName(key)], key);
    }
  });
}
