// When it rains at a place, in words and in the reader's time.

import { bothClocks, parse } from "./times.ts";
import type { Alert, Place, Rules } from "./types.ts";

/**
 * The sentence of a place of `points.json`; empty where the service does not say when it rains.
 *
 * @param now times of another day have their date
 */
export function outlookOf(place: Place, now: number, zone?: string): string {
  if (place.rain === undefined) return place.sentence; // outside the radar's grid
  const at = (text: string) => bothClocks(parse(text), zone, now);
  const until = place.known_until ? ` until ${at(place.known_until)}` : "";
  if (place.rain === "unknown") return place.sentence; // "not known: …", without a time
  if (place.rain === "none") return `no rain${until}`;
  const chance = percentOf(place);
  if (place.rain === "unlikely") return `rain is unlikely${until}${chance}`;
  const end = place.ends
    ? `, until about ${at(place.ends)}${againOf(place, at)}`
    : place.ends_not_before
      ? `, at least until ${at(place.ends_not_before)}`
      : "";
  if (place.rain === "now") return `it rains${end}`;
  const begin = place.begins
    ? ` from ${at(place.begins)}`
    : place.begins_not_after
      ? ` from ${at(place.begins_not_after)} or earlier`
      : "";
  return `rain${begin}${chance}${end}`;
}

/** A second spell of rain; the chance is told with members only. */
function againOf(place: Place, at: (text: string) => string): string {
  if (!place.begins_again) return "";
  const chance = place.chance_at_any_time == null ? null : place.chance_again;
  return `, again from about ${at(place.begins_again)}${chance == null ? "" : `, ${percentText(chance)}`}`;
}

export function isExpired(alert: Alert, now: number): boolean {
  return parse(alert.expires) < now;
}

/** What an alert says, in the reader's time. */
export function alertText(alert: Alert, now: number, zone?: string): string {
  if (isExpired(alert, now)) {
    const expired = bothClocks(parse(alert.expires), zone, now);
    return `${alert.subject.headline}: expired at ${expired}, no newer forecast says more`;
  }
  const chance = alert.chance === null ? "" : `, ${percentText(alert.chance)}`;
  const onset = bothClocks(parse(alert.onset), zone, now);
  const since = alert.not_confirmed_since;
  const doubt = since ? `, not confirmed since ${bothClocks(parse(since), zone, now)}` : "";
  const from = parse(alert.onset) <= now ? "since" : "from";
  return `${alert.subject.headline}: ${from} ${onset}${chance}${doubt}`;
}

function percentOf(place: Place): string {
  const chance = place.chance_at_any_time ?? place.highest_chance;
  return chance === null || chance === undefined ? "" : `, ${percentText(chance)}`;
}

/** A chance in percent. Frames hold half percents, so all chances are rounded to them first. */
export function percentText(chance: number): string {
  if (chance > 0 && chance < 0.01) return "below 1 %";
  if (chance > 0.99 && chance < 1) return "above 99 %";
  return `${Math.round(Math.round(200 * chance) / 2)} %`;
}

/** The rules that a run cannot answer, and that no alert speaks of. */
export function unansweredOf(rules: Rules | null, alerts: Alert[]): string[] {
  const told = new Set(alerts.map((alert) => alert.subject.rule));
  return Object.entries(rules?.outcomes ?? {})
    .filter(([rule, outcome]) => outcome.state === "unknown" && !told.has(rule))
    .map(([rule, outcome]) => `“${rule}” is not known: ${outcome.reason}`);
}
