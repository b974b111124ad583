import assert from "node:assert/strict";
import test from "node:test";

import { OPEN_TIMEOUT_MS, RIVAL_AFTER_MS } from "../player/link.js";
import { RESUME_MAX_MS, SPREAD_MS, Session } from "../player/session.js";
import { message, record } from "./records.js";

const SOURCE = "ws://here:8088/play/demo?token=x";
const ONE = "ws://one:8088/play/demo?token=x";
const TWO = "ws://two:8088/play/demo?token=x";
const EDGES = { edges: ["ws://one:8088", "ws://two:8088"] };

/** A session with its clock, and what it told to do. */
class Rig {
  constructor({ random = () => 0 } = {}) {
    this.session = new Session({ address: SOURCE, session: "viewer-1", random });
    this.now = 1000;
    this.outputs = [];
    this.session.start(this.now);
    this.collect();
  }

  collect() {
    const outputs = this.session.drain();
    this.outputs.push(...outputs);
    return outputs;
  }

  /** Take what was told since the last call. */
  told(kind) {
    this.collect();
    const told = this.outputs.filter((output) => kind === undefined || output.kind === kind);
    this.outputs = this.outputs.filter((output) => !told.includes(output));
    return told;
  }

  open(link) {
    this.session.opened(link, this.now);
    const [sent] = this.told("send").filter((output) => output.link === link);
    return JSON.parse(sent.text);
  }

  say(link, type, members) {
    this.session.text(link, message(type, members), this.now);
  }

  serve(link, members = EDGES) {
    const play = this.open(link);
    this.say(link, "welcome", members);
    this.say(link, "state");
    this.say(link, "tracks");
    return play;
  }

  chunk(link, number, options = {}) {
    this.session.binary(link, record({ chunk: number, flags: number === 0 ? 1 : 0, ...options }), this.now);
  }

  wait(milliseconds) {
    const until = this.now + milliseconds;
    while (this.session.deadline() <= until) {
      this.now = Math.max(this.now, this.session.deadline());
      this.session.timeout(this.now);
      this.collect();
    }
    this.now = until;
  }

  close(link, code, reason = "") {
    this.session.closed(link, code, reason, this.now);
  }
}

/** A session that plays from its first link, whose edge names two edges. */
function playing() {
  const rig = new Rig();
  rig.serve(1);
  rig.chunk(1, 0);
  rig.told();
  return rig;
}

test("it dials, asks to play, and passes on state, tracks and chunks", () => {
  const rig = new Rig();
  assert.deepEqual(rig.told("connect"), [{ kind: "connect", link: 1, address: SOURCE }]);
  assert.deepEqual(rig.serve(1), { type: "play", session: "viewer-1" });
  rig.chunk(1, 0);
  const told = rig.told().filter(({ kind }) => kind !== "send");
  assert.deepEqual(told.map(({ kind }) => kind), ["status", "status", "state", "tracks", "chunk"]);
  assert.deepEqual([told[1].status, rig.session.edge, told[2].state], ["connected", "edge-1", "live"]);
});

test("it answers pings, and asks for the clock several times", () => {
  const rig = playing();
  rig.say(1, "ping", { id: 9 });
  assert.deepEqual(rig.told("send").map(({ text }) => JSON.parse(text)), [{ type: "pong", id: 9 }]);
  rig.wait(10);
  rig.now += 20;
  rig.say(1, "time", { sent: rig.now - 20, utc_us: 7_000_000_000 });
  assert.equal(rig.session.clock.roundTripMs, 20);
  assert.equal(rig.session.clock.utcUs(rig.now), 7_000_010_000);
});

test("it reports not more than once a second", () => {
  const rig = playing();
  rig.session.report({ stalls: 1 }, rig.now);
  rig.session.report({ stalls: 2 }, rig.now + 999);
  rig.session.report({ stalls: 3 }, rig.now + 1000);
  assert.deepEqual(rig.told("send").map(({ text }) => JSON.parse(text).stalls), [1, 3]);
});

test("a lost connection is taken up again at the next chunk, on another edge", () => {
  const rig = playing();
  rig.chunk(1, 1);
  rig.close(1, 1006);
  const [status] = rig.told("status");
  assert.deepEqual([status.status, status.reason], ["reconnecting", "no connection to the edge"]);
  rig.wait(SPREAD_MS);
  assert.deepEqual(rig.told("connect"), [{ kind: "connect", link: 2, address: TWO }]);
  assert.deepEqual(rig.serve(2).after, { 1: [1000, 1, 1] });
  rig.told();
  rig.chunk(2, 1);
  rig.chunk(2, 2);
  assert.deepEqual(rig.told("chunk").map(({ chunk }) => chunk.position), [[1000, 1, 2]]);
  assert.deepEqual([rig.session.reconnects, rig.session.continuity.duplicates, rig.session.continuity.gaps], [1, 1, 0]);
});

test("the edge that served is not tried under its own address while there is another", () => {
  const rig = playing(); // the source's address turned out to be edge one
  rig.close(1, 1006);
  rig.wait(SPREAD_MS);
  rig.close(2, 1006);
  assert.deepEqual(rig.told("connect").map(({ address }) => address), [TWO]);
});

test("when all edges were tried it waits longer and longer", () => {
  const rig = new Rig({ random: () => 0.999 });
  const waits = [];
  for (let link = 1; link <= 7; link += 1) {
    rig.close(link, 1006);
    const began = rig.now;
    rig.now = rig.session.deadline();
    rig.session.timeout(rig.now);
    waits.push(Math.round(rig.now - began));
  }
  const due = [200, 400, 800, 1600, 3200, 5000, 5000];
  assert.ok(waits.every((wait, index) => wait <= due[index] && wait > 0.99 * due[index]), `${waits}`);
});

test("a chunk ends the waiting: the next loss is answered at once", () => {
  const rig = new Rig({ random: () => 1 });
  rig.close(1, 1006);
  rig.wait(200);
  rig.serve(2, { edges: ["ws://here:8088"] });
  rig.chunk(2, 0);
  rig.close(2, 1006);
  assert.ok(rig.session.deadline() - rig.now <= 200);
});

for (const code of [1000, 1002, 1008]) {
  test(`close code ${code} is the end`, () => {
    const rig = playing();
    rig.close(1, code, "enough");
    const [status] = rig.told("status");
    assert.deepEqual([status.status, status.reason], ["closed", "enough"]);
    assert.equal(rig.session.deadline(), Infinity);
  });
}

test("a refusal is told in the edge's words", () => {
  const rig = new Rig();
  rig.open(1);
  rig.say(1, "refused");
  rig.close(1, 1008);
  assert.deepEqual(rig.told("status").at(-1).reason, "there is no such stream");
  assert.equal(rig.session.status, "closed");
});

test("an edge that is full is tried again", () => {
  const rig = new Rig();
  rig.open(1);
  rig.say(1, "refused", { code: "full", reason: "no room" });
  rig.close(1, 1013);
  assert.equal(rig.session.status, "connecting");
  assert.ok(rig.session.deadline() < Infinity);
});

test("silence of three heartbeats is the end of the edge", () => {
  const rig = playing();
  rig.wait(2999);
  assert.equal(rig.session.status, "connected");
  rig.wait(1);
  assert.equal(rig.session.status, "reconnecting");
  assert.ok(rig.told("close").some(({ link, reason }) => link === 1 && reason === "the edge fell silent"));
});

test("a silent edge gets a rival early, which takes over with its first chunk", () => {
  const rig = playing();
  rig.wait(1500);
  assert.deepEqual(rig.told("connect"), [{ kind: "connect", link: 2, address: TWO }]);
  rig.serve(2);
  assert.equal(rig.session.edge, "edge-1");
  rig.chunk(2, 1);
  assert.deepEqual(rig.told("close").map(({ link }) => link), [1]);
  assert.deepEqual([rig.session.status, rig.session.reconnects], ["connected", 1]);
});

test("an edge that speaks again keeps its place and the rival goes", () => {
  const rig = playing();
  rig.wait(1500);
  rig.serve(2);
  rig.told();
  rig.say(1, "ping");
  assert.deepEqual(rig.told("close").map(({ link }) => link), [2]);
  assert.equal(rig.session.reconnects, 0);
});

test("an edge that goes away is left after the next one delivers, and nothing is played twice", () => {
  const rig = playing();
  rig.say(1, "going_away");
  assert.deepEqual(rig.told("connect"), [{ kind: "connect", link: 2, address: TWO }]);
  rig.chunk(1, 1);
  assert.deepEqual(rig.serve(2).after, { 1: [1000, 1, 1] });
  rig.chunk(1, 2);
  rig.chunk(2, 2);
  rig.chunk(2, 3);
  assert.deepEqual(rig.told("chunk").map(({ chunk }) => chunk.position[2]), [1, 2, 3]);
  assert.deepEqual(rig.told("close"), [{ kind: "close", link: 1, code: 1000, reason: "left" }]);
  assert.ok(!rig.told("status").some(({ status }) => status === "reconnecting"));
});

test("an edge that goes away and closes first is followed by the link that serves already", () => {
  const rig = playing();
  rig.say(1, "going_away");
  rig.serve(2);
  rig.close(1, 1001);
  assert.equal(rig.session.status, "connected");
  assert.equal(rig.session.reconnects, 1);
});

test("when the next edge cannot be had, the one that goes away serves on while others are tried", () => {
  const rig = playing();
  rig.say(1, "going_away");
  rig.close(2, 1006);
  rig.chunk(1, 1);
  rig.wait(200);
  assert.equal(rig.told("connect").length, 2);
  assert.equal(rig.session.status, "connected");
  rig.serve(3);
  rig.chunk(3, 2);
  assert.deepEqual(rig.told("close").map(({ link }) => link), [1]);
});

test("an edge that does not answer gets a rival, and is given up", () => {
  const rig = playing();
  rig.close(1, 1006);
  rig.wait(SPREAD_MS); // link 2 is dialled
  rig.told();
  rig.wait(RIVAL_AFTER_MS);
  rig.wait(OPEN_TIMEOUT_MS);
  assert.ok(rig.told("close").some(({ link, reason }) => link === 2 && reason === "the edge does not answer"));
  assert.equal(rig.session.status, "reconnecting");
});

test("wrong bytes end that connection only", () => {
  const rig = playing();
  rig.session.binary(1, new ArrayBuffer(3), rig.now);
  assert.deepEqual(rig.told("close"), [{ kind: "close", link: 1, code: 1002, reason: "truncated" }]);
  rig.wait(SPREAD_MS);
  assert.equal(rig.told("connect").length, 1);
});

test("after a long absence it joins at live", () => {
  const rig = playing();
  rig.close(1, 1006);
  rig.wait(RESUME_MAX_MS + 1);
  const { link } = rig.told("connect").at(-1);
  assert.equal(rig.open(link).after, undefined);
});

test("to begin anew it joins at live on a fresh link and opens the epoch again", () => {
  const rig = playing();
  rig.session.rejoin(rig.now);
  assert.deepEqual(rig.told("close").map(({ link }) => link), [1]);
  assert.equal(rig.serve(2).after, undefined);
  assert.equal(rig.told("tracks").length, 1);
});

test("what a link says after it was let go is not heard", () => {
  const rig = playing();
  rig.session.stop();
  rig.told();
  rig.chunk(1, 1);
  rig.say(1, "ping");
  rig.close(1, 1006);
  assert.deepEqual(rig.told(), []);
  assert.equal(rig.session.deadline(), Infinity);
});

test("the list of edges is kept fresh", () => {
  const rig = playing();
  rig.say(1, "edges", { edges: ["ws://one:8088", "ws://three:8088"] });
  rig.close(1, 1006);
  rig.wait(SPREAD_MS);
  assert.equal(rig.told("connect")[0].address, "ws://three:8088/play/demo?token=x");
});
