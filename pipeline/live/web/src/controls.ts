// What the panel shows: layers, legend, runs, scores.

import { element, make } from "./dom.ts";
import { groupsOf, labelOf, legendOf, titleOf } from "./layers.ts";
import { alertText, outlookOf } from "./outlook.ts";
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
  element("legend").replaceChildren(make("h2", title), list, unknown);
}

/** Runs to choose from, the newest first; the latest is the empty choice. */
export function showRuns(runs: string[], shown: string, now: number): void {
  const select = element<HTMLSelectElement>("runs");
  const options = [make("option", "the latest scan", { value: "" })];
  for (const run of [...runs].reverse().slice(1)) {
    const time = referenceOf(run);
    options.push(make("option", bothClocks(time, undefined, now), { value: run }));
  }
  select.replaceChildren(...options);
  select.value = shown;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

export function showPlaces(
  places: Record<string, Place>,
  reference: number,
  choose: (name: string, place: Place) => void,
): void {
  const items = Object.entries(places).map(([name, place]) => {
    const item = make("li");
    const button = make("button", name, { type: "button" });
    button.addEventListener("click", () => choose(name, place));
    item.append(button, `: ${outlookOf(place, reference)}`);
    return item;
  });
  element("places").replaceChildren(...items);
  element("places-box").hidden = items.length === 0;
}

/** The alerts; a click shows the place. */
export function showAlerts(
  alerts: Alert[],
  now: number,
  choose: (name: string, latLon: [number, number]) => void,
): void {
  const items = alerts.map((alert) => {
    const { latitude, longitude, headline } = alert.subject;
    const item = make("li", "", { class: alert.not_confirmed_since ? "doubtful" : "" });
    if (latitude === null || longitude === null) item.textContent = alertText(alert, now);
    else {
      const button = make("button", alertText(alert, now), { type: "button" });
      button.addEventListener("click", () => choose(headline, [latitude, longitude]));
      item.append(button);
    }
    return item;
  });
  element("alerts").replaceChildren(...items);
  element("alerts-box").hidden = items.length === 0;
}

const MOST_ROWS = 6;

/** Scores of the last day, beside those of extrapolation. */
export function showScores(status: Status | null): void {
  const check = status?.self_check;
  const box = element("scores-box");
  box.hidden = !check || check.by_lead_time.length === 0;
  if (!check) return;
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
  element("scores").replaceChildren(table, make("p", words));
}

function share(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : value.toFixed(2);
}
