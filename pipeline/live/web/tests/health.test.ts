import assert from "node:assert/strict";
import { test } from "node:test";

import { healthOf, isReplay, serviceTime } from "../src/health.ts";
import type { Status } from "../src/types.ts";

const NOW = Date.parse("2026-01-05T12:03:00Z");
const SHOWN = Date.parse("2026-01-05T12:00:00Z");

function status(changes: Partial<Status> = {}): Status {
  return {
    state: "fresh",
    since: "2026-01-05T12:02:00Z",
    reason: "the last scan is of 12:00",
    is_stopped: false,
    next_expected: null,
    heartbeat: "2026-01-05T12:02:55Z",
    machine_time: "2026-01-05T12:02:55Z",
    speed: 1,
    poll_s: 10,
    heartbeat_due_s: 250,
    stale_after_s: 1800,
    problems: [],
    self_check: null,
    ...changes,
  };
}

test("a fresh forecast has no banner", () => {
  assert.equal(healthOf(status(), SHOWN, NOW).level, "good");
  assert.equal(healthOf(status(), SHOWN, NOW).title, "");
});

test("each state of the service shows, and what is weaker does not look old", () => {
  const levels = { gap: "note", late: "warn", fallback: "warn", stale: "old", down: "old" } as const;
  for (const [state, level] of Object.entries(levels)) {
    const health = healthOf(status({ state: state as Status["state"] }), SHOWN, NOW);
    assert.equal(health.level, level, state);
    assert.match(health.detail, /The last scan is of 12:00/);
  }
});

test("the banner says when the next scan is expected", () => {
  const late = status({ state: "late", next_expected: "2026-01-05T12:07:00Z" });
  assert.match(healthOf(late, SHOWN, NOW).detail, /next scan is expected at \d\d:07/);
});

test("a dead service shows by the clock of the browser alone", () => {
  const later = NOW + 5 * 60_000;
  const health = healthOf(status(), SHOWN, later);
  assert.equal(health.level, "old");
  assert.match(health.title, /not answered for 5 min/);
  assert.match(health.detail, /does not mean that it is dry/);
});

test("a forecast that is too old is never shown as good, whatever the status says", () => {
  const alive = status({ heartbeat: "2026-01-05T12:40:00Z", machine_time: "2026-01-05T12:40:00Z" });
  const health = healthOf(alive, SHOWN, Date.parse("2026-01-05T12:40:05Z"));
  assert.equal(health.level, "old");
  assert.match(health.title, /40 min old/);
});

test("without a status nothing is trusted", () => {
  assert.equal(healthOf(null, SHOWN, NOW).level, "old");
});

test("without a forecast the page says so", () => {
  const health = healthOf(status({ state: "down", reason: "no scan has come yet" }), null, NOW);
  assert.equal(health.level, "old");
  assert.match(health.title, /no new forecast/);
});

test("a device whose clock is behind says so", () => {
  const behind = NOW - 10 * 60_000;
  assert.match(healthOf(status(), SHOWN, behind).title, /clock of this device/);
  // and hides nothing that the service says
  const stale = healthOf(status({ state: "stale" }), SHOWN, behind);
  assert.equal(stale.level, "old");
  assert.match(stale.detail, /clock of this device/);
});

test("the clock of a replay runs faster, and goes on without the service", () => {
  const replay = status({ heartbeat: "2010-08-26T05:00:00Z", speed: 60 });
  assert.equal(isReplay(replay), true);
  assert.equal(isReplay(status()), false);
  const later = Date.parse(replay.machine_time) + 10_000;
  assert.equal(serviceTime(replay, later), Date.parse("2010-08-26T05:10:00Z"));
});

test("a replay that was stopped is not an alarm, a service that was stopped is one", () => {
  const stopped = { state: "down", is_stopped: true } as const;
  const replay = status({ ...stopped, heartbeat: "2010-08-26T05:00:00Z", speed: 60 });
  assert.equal(healthOf(replay, SHOWN, NOW + 3_600_000).level, "note");
  assert.equal(serviceTime(replay, NOW + 3_600_000), Date.parse("2010-08-26T05:00:00Z"));
  assert.equal(healthOf(status(stopped), SHOWN, NOW).level, "old");
});
