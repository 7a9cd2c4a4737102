// What the panel shows: layers, legend, runs, scores.

import { element, make, redraw } from "./dom.ts";
import { groupsOf, labelOf, legendOf, titleOf } from "./layers.ts";
import { alertText, isExpired, outlookOf } from "./outlook.ts";
import { type Run, referenceOf } from "./load.ts";
import { bothClocks } from "./times.ts";
import type { Alert, Layer, Place, Status } from "./types.ts";

export function showLayers(run: Run, chosen: string, choose: (name: string) => void): void {
  const groups = groupsOf(run.manifest).map(({ title, layers }) => {
    const group = make("fieldset");
    group.append(make("legend", title));
    for (const layer of layers) {
      const label = make("label", "", { class: "choice" });
      const button = make("input", "", { type: "radio", name: "layer", value: layer.name });
      button.checked = layer.name === chosen;
      button.addEventListener("change", () => choose(layer.name));
      label.append(button, ` ${labelOf(layer, run.manifest)}`);
      group.append(label);
    }
    return group;
  });
  element("layers").replaceChildren(...groups);
}

export function showLegend(run: Run, layer: Layer): void {
  const { unit, entries } = legendOf(layer, run.manifest);
  const list = make("ol");
  for (const { colour, label } of entries) {
    const item = make("li", label);
    item.style.setProperty("--colour", colour);
    list.append(item);
  }
  const unknown = make("p", "not observed, or no forecast", { class: "unknown" });
  const title = `${titleOf(layer, run.manifest)} [${unit}]`;
  redraw(element("legend"), [title, entries], () => [make("h2", title), list, unknown]);
}

/** Runs to choose from, the newest first; the latest is the empty choice. */
export function showRuns(runs: string[], shown: string, now: number): void {
  const select = element<HTMLSelectElement>("runs");
  // a forecast that was made again takes the place of the one before
  const newest = new Map(runs.map((run) => [referenceOf(run), run]));
  const names = [...newest.values()].reverse().slice(1);
  const labels = names.map((run) => bothClocks(referenceOf(run), undefined, now));
  redraw(select, [names, labels], () => [
    make("option", "the latest scan", { value: "" }),
    ...names.map((run, i) => make("option", labels[i], { value: run })),
  ]);
  select.value = shown;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

/** @param isOld the forecast says nothing about now */
export function showPlaces(
  places: Record<string, Place>,
  now: number,
  isOld: boolean,
  choose: (name: string, place: Place) => void,
): void {
  const texts = Object.values(places).map((p) => (isOld ? TOO_OLD : outlookOf(p, now)));
  redraw(element("places"), [Object.keys(places), texts], () =>
    Object.entries(places).map(([name, place], i) => {
      const item = make("li");
      const button = make("button", name, { type: "button" });
      button.addEventListener("click", () => choose(name, place));
      item.append(button, `: ${texts[i]}`);
      return item;
    }),
  );
  element("places-box").hidden = texts.length === 0;
}

/** The alerts, and what is not known of them; a click shows the place. */
export function showAlerts(
  alerts: Alert[],
  unanswered: string[],
  now: number,
  choose: (name: string, latLon: [number, number]) => void,
): void {
  const texts = alerts.map((alert) => alertText(alert, now));
  redraw(element("alerts"), [texts, unanswered], () => [
    ...alerts.map((alert, i) => {
      const { latitude, longitude, headline } = alert.subject;
      const isDoubtful = alert.not_confirmed_since !== null || isExpired(alert, now);
      const item = make("li", "", { class: isDoubtful ? "doubtful" : "" });
      if (latitude === null || longitude === null) item.textContent = texts[i]!;
      else {
        const button = make("button", texts[i], { type: "button" });
        button.addEventListener("click", () => choose(headline, [latitude, longitude]));
        item.append(button);
      }
      return item;
    }),
    ...unanswered.map((text) => make("li", text, { class: "doubtful" })),
  ]);
  element("alerts-box").hidden = texts.length + unanswered.length === 0;
}

export const TOO_OLD = "not known any more, the forecast is too old";
const MOST_ROWS = 6;

/** What goes wrong in the service. */
export function showProblems(status: Status | null): void {
  const problems = status?.problems ?? [];
  redraw(element("problems"), problems, () => problems.map((text) => make("li", text)));
  element("problems-box").hidden = problems.length === 0;
}

/** Scores of the last day, beside those of extrapolation. */
export function showScores(status: Status | null): void {
  const check = status?.self_check;
  const box = element("scores-box");
  box.hidden = !check || check.by_lead_time.length === 0;
  if (check) redraw(element("scores"), check, () => scoresOf(check));
}

function scoresOf(check: NonNullable<Status["self_check"]>): HTMLElement[] {
  const table = make("table");
  const head = make("tr");
  const threshold = check.thresholds_mm_h[0];
  for (const text of ["min", `CSI ≥ ${threshold}`, "extrap.", "error", "extrap."]) {
    head.append(make("th", text));
  }
  table.append(head);
  const every = Math.ceil(check.by_lead_time.length / MOST_ROWS);
  for (const row of check.by_lead_time.filter((_, i) => (i + 1) % every === 0)) {
    const line = make("tr");
    const { forecast, extrapolation } = row;
    const cells = [
      String(row.lead_min),
      share(forecast.csi[0]),
      share(extrapolation.csi[0]),
      forecast.mean_absolute_error_mm_h.toFixed(2),
      extrapolation.mean_absolute_error_mm_h.toFixed(2),
    ];
    line.append(...cells.map((text) => make("td", text)));
    table.append(line);
  }
  const words =
    `${check.scans} scans. CSI is the share of rain that was forecast right: hits / (hits + ` +
    "misses + false alarms). The error is the mean absolute one [mm/h].";
  return [table, make("p", words)];
}

function share(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : value.toFixed(2);
}
