// How the page says whether the forecast can be trusted. Pure functions of the status and the time.

import { clock, MINUTE, parse, span } from "./times.ts";
import type { Latest, Status } from "./types.ts";

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
  return isReplay(status) && status.state === "down" && status.reason.includes("was stopped");
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
 * @param shown the run that `latest.json` names, if there is one
 */
export function healthOf(status: Status | null, shown: Latest | null, browserTime: number): Health {
  if (status === null) {
    const title = "The status of the service cannot be read";
    return { level: "old", title, detail: `What is shown may be old. ${NOT_DRY}` };
  }
  const silence = browserTime - parse(status.machine_time);
  if (silence < -2 * MINUTE) {
    return {
      level: "warn",
      title: `The clock of this device is ${span(silence)} behind that of the service`,
      detail: "The ages on this page may be wrong.",
    };
  }
  if (isEndedReplay(status)) {
    const detail = "It shows the past, and it was stopped.";
    return { level: "note", title: "This is a replay", detail };
  }
  const now = serviceTime(status, browserTime);
  if (silence > status.heartbeat_due_s * 1000) {
    const last = clock(parse(status.machine_time), undefined, browserTime);
    return {
      level: "old",
      title: `The service has not answered for ${span(silence)}`,
      detail: `Its last sign of life was at ${last}. ${NOT_DRY}`,
    };
  }
  const age = shown ? now - parse(shown.reference_time) : Infinity;
  if (status.state === "stale" || age > status.stale_after_s * 1000) {
    const title = shown ? `This forecast is ${span(age)} old` : TITLES.down;
    return { level: "old", title, detail: `${sentence(status.reason)} ${NOT_DRY}` };
  }
  if (status.state === "down") {
    return { level: "old", title: TITLES.down, detail: `${sentence(status.reason)} ${NOT_DRY}` };
  }
  if (status.state === "fresh") {
    const title = isReplay(status) ? "This is a replay of the past" : "";
    return { level: title ? "note" : "good", title, detail: "" };
  }
  const level = status.state === "gap" ? "note" : "warn";
  return { level, title: TITLES[status.state], detail: sentence(status.reason) };
}

function sentence(text: string): string {
  return text ? `${text[0]!.toUpperCase()}${text.slice(1)}.` : "";
}
