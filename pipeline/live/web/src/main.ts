// The page: connects what is shown (App) with the elements that people use.

import "./squall.css";

import { App } from "./app.ts";
import { Chart } from "./chart.ts";
import {
  showAlerts,
  showLayers,
  showLegend,
  showPlaces,
  showProblems,
  showRuns,
  showScores,
  TOO_OLD,
} from "./controls.ts";
import { element, make, say } from "./dom.ts";
import type { XY } from "./grid.ts";
import { groupsOf } from "./layers.ts";
import { loadBaseMap } from "./load.ts";
import { outlookOf, unansweredOf } from "./outlook.ts";
import { forecastAt } from "./point.ts";
import { latLonOf, plain } from "./search.ts";
import { bothClocks } from "./times.ts";
import type { BaseMap, Place } from "./types.ts";

const TICK_MS = 5_000;
const [LEAST_POLL_S, MOST_POLL_S] = [3, 60];

const app = new App();
const chart = new Chart(element("point-chart"));
let places: Record<string, Place> = {};
let base: BaseMap | null = null;
let chosen: { name: string; at: XY } | null = null;

// ---- what is shown ----

function showTitle(): void {
  const run = app.run;
  if (!run) return;
  const { title, model, members, fallback, attribution } = run.manifest;
  element("title").querySelector("h1")!.textContent = title;
  document.title = `${title}: rain forecast`;
  const method = `${model}${members ? `, ${members} members` : ""}`;
  const words = fallback ? "extrapolation in place of the model" : method;
  const from = bothClocks(run.reference, undefined, app.now());
  element("about").textContent = `Forecast from ${from} · ${words}`;
  const credit = [attribution && `radar: ${attribution}`, base?.credit].filter(Boolean);
  element("credit").textContent = credit.join("; ");
}

async function showRun(): Promise<void> {
  const run = app.run!;
  showTitle();
  showLayers(run, app.view.layer, (name) => app.chooseLayer(name));
  const read = await run.places().catch(() => ({}));
  if (run !== app.run) return; // another one was chosen meanwhile
  places = read;
  showTexts();
  await showBaseMap();
  if (!chosen && app.view.at) {
    const at = app.domain!.fromLatLon(app.view.at);
    if (at) choosePoint(coordinates(app.view.at), at);
  } else if (chosen) void showPoint();
}

/** What depends on the clock, too: a forecast that is too old says nothing. */
function showTexts(): void {
  const now = app.now();
  showAlerts(app.alerts, unansweredOf(app.rules, app.alerts), now, goTo);
  showPlaces(places, now, isTooOld(), (name, place) =>
    goTo(name, [place.latitude, place.longitude]),
  );
  showProblems(app.status);
  showScores(app.status);
  if (app.run) showRuns(app.runs, app.view.run, now);
  if (chosen && isTooOld()) say(element("point-sentence"), TOO_OLD);
}

function isTooOld(): boolean {
  return app.health.level === "old";
}

let isMapAsked = false;

async function showBaseMap(): Promise<void> {
  if (base !== null || isMapAsked || app.maps.length === 0) return;
  isMapAsked = true;
  base = await loadBaseMap().catch(() => null); // it comes a moment after the first run
  isMapAsked = false;
  if (base === null) return;
  for (const map of app.maps) map.addBaseMap(base);
  const names = new Set([...Object.keys(places), ...base.towns.map((town) => town.name)]);
  const options = [...names].map((name) => make("option", "", { value: name }));
  element("towns").replaceChildren(...options);
  showTitle();
}

async function showPoint(): Promise<void> {
  const [run, domain, point] = [app.run, app.domain, chosen];
  if (!point || !run || !domain) return;
  const cell = domain.pixelAt(point.at);
  element("point").hidden = false;
  element("point").querySelector("h2")!.textContent = point.name;
  for (const map of app.maps) map.mark(point.at);
  if (!cell) {
    say(element("point-sentence"), "This place is outside the radar's grid.");
    chart.clear();
    return;
  }
  const forecast = await forecastAt(run, cell, app.now());
  if (point !== chosen || run !== app.run) return; // another one was chosen meanwhile
  const named = places[point.name];
  const words = named ? outlookOf(named, app.now()) : forecast.sentence;
  say(element("point-sentence"), isTooOld() ? TOO_OLD : words);
  chart.show(forecast.series, forecast.threshold, app.steps[app.index]?.time ?? run.reference);
}

// ---- what people do ----

function choosePoint(name: string, at: XY): void {
  chosen = { name, at };
  const named = places[name]; // the frames of a large grid take a while
  say(element("point-sentence"), named && !isTooOld() ? outlookOf(named, app.now()) : "");
  chart.clear();
  app.view.at = app.domain!.toLatLon(at);
  app.remember();
  void showPoint();
}

function closePoint(): void {
  chosen = null;
  app.view.at = null;
  app.remember();
  element("point").hidden = true;
  chart.clear();
  for (const map of app.maps) map.mark(null);
}

function goTo(name: string, latLon: [number, number]): void {
  const at = app.domain?.fromLatLon(latLon);
  if (at) choosePoint(name, at);
}

function coordinates([lat, lon]: [number, number]): string {
  const north = `${Math.abs(lat).toFixed(2)}° ${lat < 0 ? "S" : "N"}`;
  return `${north}, ${Math.abs(lon).toFixed(2)}° ${lon < 0 ? "W" : "E"}`;
}

function search(text: string): void {
  const note = element("search-note");
  const wanted = plain(text);
  const latLon = latLonOf(text);
  say(note, "");
  if (latLon) {
    goTo(coordinates(latLon), latLon);
    return;
  }
  const place = Object.entries(places).find(([name]) => plain(name) === wanted);
  if (place) {
    goTo(place[0], [place[1].latitude, place[1].longitude]);
    return;
  }
  const town =
    base?.towns.find(({ name }) => plain(name) === wanted) ??
    base?.towns.find(({ name }) => plain(name).startsWith(wanted));
  if (town && wanted) choosePoint(town.name, app.domain!.toMap([town.x, town.y]));
  else say(note, `No place “${text}” on this map. Write latitude, longitude instead.`);
}

function nextLayer(): void {
  const names = groupsOf(app.run!.manifest).flatMap((group) => group.layers.map((l) => l.name));
  app.chooseLayer(names[(names.indexOf(app.view.layer) + 1) % names.length]!);
  showLayers(app.run!, app.view.layer, (name) => app.chooseLayer(name));
}

const wantsDark = matchMedia("(prefers-color-scheme: dark)");

/** What was chosen on this page before; without a choice, what the device wants. */
function showTheme(): void {
  const device = wantsDark.matches ? "dark" : "light";
  document.documentElement.dataset["theme"] = keptTheme() ?? device;
  recolour();
}

function keptTheme(): string | null {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // the browser keeps nothing
  }
}

function changeTheme(): void {
  const theme = document.documentElement.dataset["theme"] === "dark" ? "light" : "dark";
  document.documentElement.dataset["theme"] = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // the choice holds until the page is closed
  }
  recolour();
}

function recolour(): void {
  for (const map of app.maps) map.recolour();
  if (chosen) void showPoint();
}

const KEYS: Record<string, () => void> = {
  " ": () => app.bar.toggle(),
  ArrowLeft: () => app.bar.move(-1),
  ArrowRight: () => app.bar.move(1),
  n: () => app.followNow(),
  l: nextLayer,
  t: changeTheme,
  Escape: closePoint,
};

function connect(): void {
  const opacity = element<HTMLInputElement>("opacity");
  opacity.value = String(app.view.opacity);
  opacity.addEventListener("input", () => app.setOpacity(Number(opacity.value)));
  const beside = element<HTMLInputElement>("beside");
  beside.checked = app.view.isBeside;
  beside.addEventListener("change", () => app.setBeside(beside.checked));
  const runs = element<HTMLSelectElement>("runs");
  runs.addEventListener("change", () => app.chooseRun(runs.value));
  element("theme").addEventListener("click", changeTheme);
  element("point-close").addEventListener("click", closePoint);
  element<HTMLFormElement>("search").addEventListener("submit", (event) => {
    event.preventDefault();
    search(String(new FormData(event.target as HTMLFormElement).get("place")));
  });
  const button = element("panel-button");
  button.addEventListener("click", () => {
    const isOpen = element("panel").classList.toggle("open");
    button.setAttribute("aria-expanded", String(isOpen));
  });
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    const isPlain = !event.ctrlKey && !event.altKey && !event.metaKey;
    if (!isPlain || !app.run || isOfElement(target, event.key)) return;
    const action = KEYS[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });
  wantsDark.addEventListener("change", showTheme);
  window.addEventListener("hashchange", () => location.reload()); // a link was pasted
}

/** Whether an element does something of its own with a key. */
function isOfElement(target: HTMLElement, key: string): boolean {
  if (key === "Escape") return false;
  if (/^(BUTTON|SUMMARY)$/.test(target.tagName)) return key === " " || key === "Enter";
  return /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName);
}

function connectMaps(): void {
  for (const { map } of app.maps) {
    map.on("singleclick", ({ coordinate }) => {
      const at = coordinate as XY;
      const latLon = app.domain!.toLatLon(at);
      choosePoint(latLon ? coordinates(latLon) : "Chosen place", at);
    });
  }
}

async function poll(): Promise<void> {
  const hadMaps = app.maps.length > 0;
  try {
    await app.refresh();
    if (!hadMaps && app.maps.length > 0) connectMaps();
    await showBaseMap();
  } finally {
    const wanted = app.status?.poll_s ?? LEAST_POLL_S;
    setTimeout(() => void poll(), 1000 * Math.min(Math.max(wanted, LEAST_POLL_S), MOST_POLL_S));
  }
}

app.onChange = (what) => {
  if (app.run && app.shown) showLegend(app.run, app.shown);
  if (what === "run") void showRun();
  else if (what === "status") showTexts();
  else if (chosen && !app.bar.isPlaying) void showPoint();
};

showTheme();
connect();
void poll();
setInterval(() => app.tick(), TICK_MS);
