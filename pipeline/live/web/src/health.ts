// How the page says whether the forecast can be trusted. Pure functions of the status and the time.

import { bothClocks, clock, MINUTE, parse, span } from "./times.ts";
import type { Status } from "./types.ts";

export interface Health {
  /** good: no banner; note: a line; warn: the forecast is weaker; old: it must not be used */
  level: "good" | "note" | "warn" | "old";
  title: string;
  detail: string;
}

/**
 * The time of the service's clock.
 *
 * It goes on without the service, so that a dead service shows. A replay runs faster; one that was
 * stopped stands still.
 */
export function serviceTime(status: Status, browserTime: number): number {
  if (isEndedReplay(status)) return parse(status.heartbeat);
  const elapsed = browserTime - parse(status.machine_time);
  return parse(status.heartbeat) + elapsed * status.speed;
}

export function isReplay(status: Status): boolean {
  const apart = Math.abs(parse(status.heartbeat) - parse(status.machine_time));
  return status.speed !== 1 || apart > 60 * MINUTE;
}

/** Whether a replay was stopped: its page shows the past in any case. */
function isEndedReplay(status: Status): boolean {
  return isReplay(status) && status.is_stopped;
}

const TITLES: Record<Status["state"], string> = {
  fresh: "",
  gap: "A scan is missing",
  late: "The next scan is late",
  fallback: "Extrapolation in place of the model",
  stale: "This forecast is too old",
  down: "There is no new forecast",
};

const NOT_DRY = "An empty map does not mean that it is dry.";

/**
 * What the banner says.
 *
 * @param status null if it cannot be read
 * @param reference time of the last scan of the forecast on the map; null if there is none
 */
export function healthOf(
  status: Status | null,
  reference: number | null,
  browserTime: number,
): Health {
  if (status === null) {
    const title = "The status of the service cannot be read";
    return { level: "old", title, detail: `What is shown may be old. ${NOT_DRY}` };
  }
  const health = healthByService(status, reference, browserTime);
  const behind = parse(status.machine_time) - browserTime;
  if (behind <= 2 * MINUTE) return health;
  // the ages may be wrong, but what the service says of itself holds
  const clockNote = `The clock of this device is ${span(behind)} behind that of the service`;
  if (health.level === "good" || health.level === "note") {
    return { level: "warn", title: clockNote, detail: "The ages on this page may be wrong." };
  }
  return { ...health, detail: `${health.detail} ${clockNote}.` };
}

function healthByService(status: Status, reference: number | null, browserTime: number): Health {
  if (isEndedReplay(status)) {
    const detail = "It shows the past, and it was stopped.";
    return { level: "note", title: "This is a replay", detail };
  }
  const now = serviceTime(status, browserTime);
  const silence = browserTime - parse(status.machine_time);
  if (silence > status.heartbeat_due_s * 1000) {
    const last = bothClocks(parse(status.machine_time), undefined, browserTime);
    return {
      level: "old",
      title: `The service has not answered for ${span(silence)}`,
      detail: `Its last sign of life was at ${last}. ${NOT_DRY}`,
    };
  }
  const reason = `${sentence(status.reason)}${nextScan(status, now)}`;
  const age = reference === null ? Infinity : now - reference;
  if (status.state === "stale" || age > status.stale_after_s * 1000) {
    const title = reference === null ? TITLES.down : `This forecast is ${span(age)} old`;
    return { level: "old", title, detail: `${reason} ${NOT_DRY}` };
  }
  if (status.state === "down") {
    return { level: "old", title: TITLES.down, detail: `${reason} ${NOT_DRY}` };
  }
  if (status.state === "fresh") {
    const title = isReplay(status) ? "This is a replay of the past" : "";
    return { level: title ? "note" : "good", title, detail: "" };
  }
  const level = status.state === "gap" ? "note" : "warn";
  return { level, title: TITLES[status.state], detail: reason };
}

function nextScan(status: Status, now: number): string {
  if (!status.next_expected) return "";
  return ` The next scan is expected at ${clock(parse(status.next_expected), undefined, now)}.`;
}

function sentence(text: string): string {
  return text ? `${text[0]!.toUpperCase()}${text.slice(1)}.` : "";
}
