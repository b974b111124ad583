import assert from "node:assert/strict";
import test from "node:test";

import { Player } from "../player/player.js";
import { message } from "./records.js";

/** What a player needs of a media element that shows nothing. */
class FakeVideo extends EventTarget {
  constructor() {
    super();
    this.buffered = { length: 0 };
    this.currentTime = 0;
    this.playbackRate = 1;
  }

  pause() {}
}

/** A WebSocket whose other end is the test. */
class FakeSocket {
  static OPEN = 1;
  static all = [];

  constructor(address) {
    this.address = address;
    this.readyState = 1;
    this.sent = [];
    FakeSocket.all.push(this);
  }

  send(text) {
    this.sent.push(text);
  }

  close() {
    this.readyState = 3;
  }

  /** An edge of this name serves. */
  serve(edge, edges) {
    this.onopen();
    this.onmessage({ data: message("welcome", { edge, edges }) });
    this.onmessage({ data: message("state") });
  }
}

globalThis.WebSocket = FakeSocket;
globalThis.MediaSource = class {};

/** A player whose page does `act` when it is told of a change. */
function watched(act) {
  FakeSocket.all = [];
  const player = new Player(new FakeVideo(), () => act(player));
  return player;
}

test("a page that pauses while the player connects has no connection left", (t) => {
  t.mock.timers.enable({ apis: ["setInterval", "setTimeout"] });
  const player = watched(({ state }) => state === "connecting" && player.pause());
  player.play("ws://one:8088/play/demo");
  assert.equal(player.state, "paused");
  assert.deepEqual(FakeSocket.all.filter(({ readyState }) => readyState === FakeSocket.OPEN), []);
});

test("what a page does when it is told of a change counts, whatever the connection still had to say", () => {
  const edges = ["ws://one:8088", "ws://two:8088"];
  const player = watched(({ state, stats }) => state === "live" && stats.edge === "edge-2" && player.pause());
  player.play("ws://one:8088/play/demo");
  const [first] = FakeSocket.all;
  first.serve("edge-1", edges);
  assert.equal(player.state, "live");
  first.onmessage({ data: message("going_away", { edges: ["ws://two:8088"] }) });
  FakeSocket.all[1].serve("edge-2", edges);
  first.onclose({ code: 1001, reason: "" });
  assert.equal(player.state, "paused");
  assert.equal(FakeSocket.all[1].readyState, 3);
});
