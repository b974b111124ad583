import assert from "node:assert/strict";
import test from "node:test";

import {
  Average, BAND_OUT_SECONDS, ChunkLengths, LatencyController, LiveEdge, RATE_MAX, RATE_MIN,
} from "../player/latency.js";
import { SEEK_BEHIND_SECONDS, SETTLE_BEHIND_SECONDS, behindLive, steer } from "../player/steering.js";

test("live is where the quickest chunk of late says it is", () => {
  const live = new LiveEdge();
  assert.equal(live.at(0), null);
  live.observe(1, 10, 1000);
  live.observe(1, 10.1, 1150); // 50 ms late
  live.observe(1, 10.2, 1200);
  assert.ok(Math.abs(live.at(1300) - 10.3) < 1e-9);
});

test("live follows a source that has become later", () => {
  const live = new LiveEdge();
  live.observe(1, 10, 1000);
  for (let now = 2000; now <= 6100; now += 100) {
    live.observe(1, 9 + now / 1000 - 1, now); // a second later than at first
  }
  assert.ok(Math.abs(live.at(6100) - 14.1) < 1e-9);
});

test("live is where the track that comes latest is", () => {
  const live = new LiveEdge();
  live.observe(1, 10, 1000);
  live.observe(2, 9.9, 1000);
  assert.ok(Math.abs(live.at(1000) - 9.9) < 1e-9);
  live.observe(1, 10.1, 1100);
  assert.ok(Math.abs(live.at(1100) - 10) < 1e-9);
});

test("live is steady once what was kept has come", () => {
  const live = new LiveEdge();
  for (let now = 1000; now < 1030; now += 1) {
    live.observe(1, 10 + (now - 1000) * 0.1, now); // three seconds of media in thirty milliseconds
    assert.equal(live.steadyMs(now), 0);
  }
  live.observe(2, 12.8, 1040);
  assert.equal(live.steadyMs(1050), 10); // one track alone does not make it steady
  live.observe(1, 13.01, 1129); // on time, give or take
  live.observe(2, 12.91, 1140);
  assert.equal(live.steadyMs(1140), 100);
});

test("an average forgets by half-lives", () => {
  const average = new Average(100);
  assert.equal(average.add(1, 0), 1);
  assert.equal(average.add(3, 100), 2);
  assert.equal(average.add(2, 100), 2);
});

/** Let a player play against a live edge; return what it did, step by step. */
function play(controller, { behind, seconds, drift = 0, jitter = () => 0 }) {
  const steps = [];
  let distance = behind;
  for (let now = 0; now < seconds * 1000; now += 50) {
    const rate = controller.step(distance + jitter(now), Math.max(0.08, distance - 0.1), now);
    distance += 0.05 * (1 + drift - rate);
    steps.push({ now, rate, distance });
  }
  return steps;
}

for (const behind of [0.1, 0.15, 0.4, 0.5, 0.8, 1.2]) {
  test(`from ${behind} s behind it settles at the target with a rate of exactly 1`, () => {
    const controller = new LatencyController(0.25);
    const steps = play(controller, { behind, seconds: 20 });
    const last = steps.at(-1);
    assert.equal(last.rate, 1);
    assert.ok(Math.abs(last.distance - 0.25) < BAND_OUT_SECONDS, `${last.distance}`);
    assert.ok(steps.every(({ rate }) => rate >= RATE_MIN && rate <= RATE_MAX));
    const changes = steps.filter(({ rate }, index) => index > 0 && (rate === 1) !== (steps[index - 1].rate === 1));
    assert.ok(changes.length <= 2, `${changes.length} times on or off`);
  });
}

test("jitter of a chunk's length does not move the rate", () => {
  const steps = play(new LatencyController(0.25), {
    behind: 0.25, seconds: 20, jitter: (now) => (now % 200 === 0 ? 0.05 : -0.05),
  });
  assert.ok(steps.every(({ rate }) => rate === 1));
});

test("clocks that drift are followed without leaving the band for long", () => {
  const steps = play(new LatencyController(0.25), { behind: 0.25, seconds: 600, drift: 0.0005 });
  assert.ok(steps.every(({ distance }) => distance < 0.4));
  assert.ok(steps.filter(({ rate }) => rate === 1).length / steps.length > 0.95);
});

test("it does not speed up on an empty buffer", () => {
  const controller = new LatencyController(0.25);
  assert.equal(controller.step(2, 0.01, 0), 1);
});

test("stalls move the target away, quiet time brings it back", () => {
  const controller = new LatencyController(0.25);
  controller.stalled(0);
  controller.stalled(0);
  assert.ok(Math.abs(controller.targetSeconds - 0.45) < 1e-9);
  for (let now = 0; now <= 30_000; now += 100) {
    controller.step(0.45, 0.3, now);
  }
  assert.ok(Math.abs(controller.targetSeconds - 0.45) < 1e-9);
  for (let now = 30_000; now <= 60_000; now += 100) {
    controller.step(0.45, 0.3, now);
  }
  assert.ok(Math.abs(controller.targetSeconds - 0.25) < 1e-9);
});

test("a buffer that nearly runs dry moves the target away before it does", () => {
  const controller = new LatencyController(0.25);
  for (let now = 0; now <= 2000; now += 100) {
    controller.step(0.25, now % 500 === 0 ? 0.03 : 0.15, now);
  }
  assert.ok(controller.targetSeconds > 0.3 && controller.targetSeconds < 0.35, `${controller.targetSeconds}`);
  const calm = new LatencyController(0.25);
  for (let now = 0; now <= 5000; now += 100) {
    calm.step(0.25, now % 500 === 0 ? 0.1 : 0.2, now);
  }
  assert.equal(calm.targetSeconds, 0.25);
});

test("the target leaves room for the stream's own chunks", () => {
  const controller = new LatencyController(0.25);
  controller.chunks.open(0.1);
  assert.equal(controller.targetSeconds, 0.25);
  controller.chunks.open(1);
  assert.ok(controller.targetSeconds > 1);
});

test("one long chunk, or two, move the target nowhere", () => {
  const controller = new LatencyController(0.25);
  controller.chunks.open(0.12);
  for (let number = 0; number < 100; number += 1) {
    controller.chunks.observe(1, number % 50 === 0 ? 0.64 : 0.12);
    controller.chunks.observe(2, 0.1);
    assert.equal(controller.targetSeconds, 0.25, `after ${number} chunks`);
  }
});

test("chunks that stay long move the target away, and short ones bring it back", () => {
  const controller = new LatencyController(0.25);
  controller.chunks.open(0.12);
  const observe = (seconds, count) => {
    for (let number = 0; number < count; number += 1) {
      controller.chunks.observe(1, seconds);
      controller.chunks.observe(2, 0.1);
    }
  };
  observe(0.12, 20);
  observe(0.64, 5);
  assert.ok(controller.targetSeconds > 0.64);
  observe(0.12, 15);
  assert.ok(controller.targetSeconds > 0.64); // five of the last twenty
  observe(0.12, 5);
  assert.equal(controller.targetSeconds, 0.25); // two seconds later
});

test("where no length of chunks is told, the first one counts", () => {
  const lengths = new ChunkLengths();
  lengths.open(0);
  assert.equal(lengths.seconds, 0);
  lengths.observe(1, 1);
  assert.equal(lengths.seconds, 1);
  lengths.open(0.1);
  lengths.observe(1, 1);
  assert.equal(lengths.seconds, 0.1);
});

test("a stall while the page begins is forgotten sooner than a later one", () => {
  const grown = (stalledMs) => {
    const controller = new LatencyController(0.25);
    controller.started(0);
    controller.stalled(stalledMs);
    for (let now = stalledMs; now <= stalledMs + 21_000; now += 100) {
      controller.step(0.3, 0.3, now);
    }
    return controller.targetSeconds - 0.25;
  };
  assert.ok(grown(3000) < 1e-9, `${grown(3000)}`);
  assert.ok(Math.abs(grown(15_000) - 0.1) < 1e-9, `${grown(15_000)}`);
});

const SITUATION = {
  started: true, ranges: [[10, 20]], position: 19.75, stillMs: 0, stalled: false, sinceMoveMs: 60_000,
  live: 20, target: 0.25, flowing: true, steadyMs: 60_000, waitedMs: 60_000, seekSeconds: 0,
};
const answer = (changes) => steer({ ...SITUATION, ...changes });

test("where all is well it stays", () => {
  assert.equal(answer({}), null);
  assert.equal(answer({ ranges: [] }), null);
});

test("it begins near the target, when enough is there", () => {
  const begin = answer({ started: false, position: 0 });
  assert.equal(begin.why, "start");
  assert.ok(begin.to > 19.7 && begin.to < 20, `${begin.to}`);
  assert.equal(answer({ started: false, position: 0, ranges: [[10, 10.05]], live: 10.05 }), null);
});

test("it does not begin while what was kept arrives, but not for long", () => {
  const begin = { started: false, position: 0, steadyMs: 20 };
  assert.equal(answer({ ...begin, waitedMs: 500 }), null);
  assert.equal(answer({ ...begin, waitedMs: 500, steadyMs: 120 }).why, "start");
  assert.equal(answer({ ...begin, waitedMs: 500, flowing: false }).why, "start");
  assert.equal(answer({ ...begin, waitedMs: 3000 }).why, "start");
});

test("it goes to live only when that takes less than it gains", () => {
  assert.equal(answer({ position: 17, seekSeconds: 1 }).why, "behind");
  assert.equal(answer({ position: 17, seekSeconds: 2 }), null);
});

test("it begins at the first media when that is newer than the target", () => {
  const begin = answer({ started: false, position: 0, ranges: [[10, 10.24]], live: 10.24 });
  assert.ok(begin.to >= 10 && begin.to < 10.05);
});

test("a position in a hole goes to the next media", () => {
  const jump = answer({ ranges: [[10, 12], [15, 16], [18, 20]], position: 13 });
  assert.equal(jump.why, "gap");
  assert.ok(jump.to >= 15 && jump.to < 15.1);
});

test("before the first media it waits for none: it goes there", () => {
  assert.ok(answer({ position: 5, ranges: [[18, 20]] }).to >= 18);
});

test("the end of a range is left when playing stands still there", () => {
  const ranges = [[10, 12], [15, 20]];
  assert.equal(answer({ ranges, position: 11.95, stillMs: 50, live: 15.3 }), null);
  assert.equal(answer({ ranges, position: 11.95, stillMs: 200, live: 15.3 }).why, "gap");
});

test("a range that has just begun is entered only with enough in it", () => {
  const situation = { ranges: [[10, 12], [15, 15.04]], position: 11.99, stillMs: 500, live: 15.04 };
  assert.equal(answer(situation), null);
  assert.ok(answer({ ...situation, flowing: false }).to >= 15);
});

test("a stall is ended as soon as enough is there again, near live", () => {
  assert.equal(answer({ position: 19.9, stillMs: 500, stalled: true }), null);
  const short = answer({ position: 19.7, stillMs: 500, stalled: true });
  assert.equal(short.why, "stall");
  assert.ok(short.to > 19.7 && short.to < 20);
  const long = answer({ position: 19, stillMs: 1000, stalled: true });
  assert.ok(long.to > 19.7 && long.to < 20);
});

test("too far behind it goes to the target, a little behind it does not", () => {
  assert.equal(answer({ position: 20 - 0.25 - SEEK_BEHIND_SECONDS + 0.05 }), null);
  const jump = answer({ position: 18 });
  assert.equal(jump.why, "behind");
  assert.ok(jump.to > 19.7 && jump.to < 20);
});

test("a jump of the timeline is no distance: what is buffered before it is played to its end", () => {
  const ranges = [[10, 12], [15, 15.3]];
  assert.ok(Math.abs(behindLive(ranges, 11.5, 15.3) - 0.8) < 1e-9);
  assert.ok(Math.abs(behindLive(ranges, 13, 15.3) - 0.3) < 1e-9);
  assert.ok(Math.abs(behindLive(ranges, 15.1, 15.3) - 0.2) < 1e-9);
  assert.equal(answer({ ranges, position: 11.5, live: 15.3 }), null);
});

test("shortly after a start it is less patient", () => {
  const position = 20 - 0.25 - SETTLE_BEHIND_SECONDS - 0.1;
  assert.equal(answer({ position, sinceMoveMs: 500 }).why, "behind");
  assert.equal(answer({ position, sinceMoveMs: 5000 }), null);
});

test("it does not go where nothing is: a source that is late is waited for", () => {
  assert.equal(answer({ position: 19.9, live: 25 }), null);
});
