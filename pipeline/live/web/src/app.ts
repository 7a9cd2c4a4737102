// What is shown, and what follows when it changes: a new run, another time, layer or place.

import type OlView from "ol/View.js";

import { coloursOf } from "./codes.ts";
import { element, say } from "./dom.ts";
import { Domain } from "./grid.ts";
import { type Health, healthOf, serviceTime } from "./health.ts";
import { isOfAllTimes, titleOf } from "./layers.ts";
import { formatView, parseView, START, type View } from "./link.ts";
import * as load from "./load.ts";
import type { Run, Shown } from "./load.ts";
import { PanelMap, viewOf } from "./panel-map.ts";
import { indexAt, type Step, stepsOf } from "./timeline.ts";
import { TimeBar } from "./timebar.ts";
import { bothClocks, date, MINUTE } from "./times.ts";
import type { Alert, Frame, Latest, Layer, Rules, Status } from "./types.ts";

const COARSEST_PX = 2; // pixels of the screen that one of an overview may cover
const PAST_MIN = 60; // observed times before those of the run

export class App {
  view: View = parseView(location.hash);
  run: Run | null = null;
  runs: string[] = [];
  status: Status | null = null;
  latest: Latest | null = null;
  alerts: Alert[] = [];
  /** what the latest run says of the rules of alerts */
  rules: Rules | null = null;
  private rulesOf = "";
  health: Health = { level: "good", title: "", detail: "" };
  domain: Domain | null = null;
  steps: Step[] = [];
  index = 0;
  readonly bar = new TimeBar((index) => this.chooseStep(index));
  /** is called when the run, the layer or the shown time is another one */
  onChange: (what: "run" | "layer" | "time" | "status") => void = () => undefined;
  private forecastMap: PanelMap | null = null;
  private observedMap: PanelMap | null = null;
  private olView: OlView | null = null;
  /** the layer on the map: that of the scans for a time of the past */
  shown: Layer | null = null;
  private asked = 0;
  /** whether the map showed single pixels when it was moved */
  private wasFine = false;
  /** why the newest forecast is not shown */
  private problem = "";
  private writing = 0;

  /** Read what is new. What cannot be read keeps its last value, except the status. */
  async refresh(): Promise<void> {
    const [latest, status, runs, alerts] = await Promise.allSettled([
      load.loadLatest(),
      load.loadStatus(),
      load.loadRuns(),
      load.loadAlerts(),
    ]);
    if (latest.status === "fulfilled") this.latest = latest.value;
    this.status = status.status === "fulfilled" ? status.value : null;
    if (runs.status === "fulfilled") this.runs = runs.value;
    if (alerts.status === "fulfilled") this.alerts = alerts.value;
    const rules = this.readRules(); // the map does not wait for them
    this.showHealth();
    const wanted = this.view.run || this.latest?.id;
    if (wanted && wanted !== this.run?.manifest.id) await this.openRun(wanted);
    await rules;
    this.tick();
  }

  private async readRules(): Promise<void> {
    const id = this.latest?.id;
    if (!id || id === this.rulesOf) return;
    this.rules = await load.loadRules(id).catch(() => null);
    if (this.rules) this.rulesOf = id;
  }

  /** What follows from the clock alone. */
  tick(): void {
    this.showHealth();
    this.onChange("status");
    this.bar.markNow(this.steps, this.now());
    const isFollowing = !this.view.run && !this.view.time && !this.bar.isPlaying;
    if (isFollowing && this.steps.length) {
      const index = indexAt(this.steps, this.now());
      if (index !== this.index) void this.showStep(index);
    }
  }

  async openRun(id: string): Promise<void> {
    let run: Run;
    try {
      run = await load.loadRun(id);
    } catch (error) {
      this.problem = `The newest forecast cannot be read: ${(error as Error).message}`;
      this.showHealth();
      if (!this.view.run) return;
      this.view.run = ""; // an old run that is deleted: back to the latest
      await this.refresh();
      return;
    }
    if (id !== (this.view.run || this.latest?.id)) return; // another one was chosen meanwhile
    if (this.domain && !isSame(run.manifest.grid, this.domain.grid)) {
      location.reload(); // the maps are made for one grid
      return;
    }
    this.problem = "";
    this.run = run;
    if (!this.domain) this.makeMaps(run);
    if (!run.layer(this.view.layer)) this.view.layer = START.layer;
    const earlier = this.runs
      .map(load.referenceOf)
      .filter((time) => time < run.reference && time >= run.reference - PAST_MIN * MINUTE);
    this.steps = stepsOf(run.times, earlier);
    this.bar.setSteps(this.steps, run.reference);
    const chosen = this.steps.findIndex((step) => step.time === Date.parse(this.view.time));
    if (chosen < 0) this.view.time = "";
    const start = this.view.run ? run.reference : this.now();
    await this.showStep(chosen >= 0 ? chosen : indexAt(this.steps, start));
    this.onChange("run");
    void this.fetchAhead();
  }

  /** The user wants a time. */
  chooseStep(index: number): void {
    const step = this.steps[index];
    if (!step) return;
    this.view.time = new Date(step.time).toISOString();
    void this.showStep(index);
  }

  followNow(): void {
    this.view.time = "";
    void this.showStep(indexAt(this.steps, this.now()));
  }

  chooseLayer(name: string): void {
    this.view.layer = name;
    // a chance is shown from the first forecast on
    const isPast = this.steps[this.index]?.kind === "observed" && name !== START.layer;
    const first = this.steps.findIndex((step) => step.kind === "forecast");
    if (isPast && first >= 0) this.chooseStep(first);
    else void this.showStep(this.index);
    this.onChange("layer");
    void this.fetchAhead();
  }

  chooseRun(id: string): void {
    this.view.run = id;
    this.view.time = "";
    void this.refresh();
  }

  setBeside(isBeside: boolean): void {
    this.view.isBeside = isBeside;
    element("observed-map").hidden = !isBeside;
    element("maps").classList.toggle("beside", isBeside);
    this.forecastMap?.map.updateSize();
    this.observedMap?.map.updateSize();
    void this.showStep(this.index);
  }

  setOpacity(opacity: number): void {
    this.view.opacity = opacity;
    for (const map of this.maps) map.raster.setOpacity(opacity);
    this.remember();
  }

  get layer(): Layer | undefined {
    return this.run?.layer(this.view.layer);
  }

  get maps(): PanelMap[] {
    return [this.forecastMap, this.observedMap].filter((map) => map !== null);
  }

  now(): number {
    return this.status ? serviceTime(this.status, Date.now()) : Date.now();
  }

  /** Keep what is shown in the address, a moment later: browsers refuse many changes at once. */
  remember(): void {
    window.clearTimeout(this.writing);
    this.writing = window.setTimeout(() => this.writeAddress(), 300);
  }

  private writeAddress(): void {
    const centre = this.olView?.getCenter();
    if (centre && this.olView) {
      this.view.map = [centre[0]!, centre[1]!, this.olView.getZoom() ?? 0];
    }
    try {
      history.replaceState(null, "", `#${formatView(this.view)}`);
    } catch {
      // the browser has had too many changes; the next one tells it
    }
  }

  async showStep(index: number): Promise<void> {
    const [run, step, layer] = [this.run, this.steps[index], this.layer];
    if (!run || !step || !layer || !this.forecastMap) return;
    const asked = ++this.asked;
    this.index = index;
    this.wasFine = this.isFine;
    // an overview is there sooner than all pixels
    const stages = this.wasFine ? (["at hand", "all"] as const) : (["overview"] as const);
    for (const pixels of stages) {
      await this.drawStep(asked, [run, step, layer], pixels);
      if (asked !== this.asked) return; // another one was wanted meanwhile
    }
    this.remember();
    this.onChange("time");
  }

  /** Whether an overview would be too coarse for what the map shows. */
  private get isFine(): boolean {
    const factor = this.run?.manifest.overview_factor ?? 1;
    const resolution = this.olView?.getResolution();
    if (factor === 1 || !resolution || !this.domain) return false;
    return (factor * this.domain.pixel * devicePixelRatio) / resolution > COARSEST_PX;
  }

  private async drawStep(
    asked: number,
    [run, step, layer]: [Run, Step, Layer],
    pixels: Pixels,
  ): Promise<void> {
    const map = this.forecastMap!;
    const isWhole = isOfAllTimes(layer);
    this.bar.setDisabled(isWhole);
    const isObserved = step.kind === "observed" && !isWhole;
    const shown = isObserved ? run.layer("observed")! : layer;
    const [own, seen] = await Promise.allSettled([
      isObserved
        ? observedAt(this.runs, run, step, pixels)
        : shownOf(run, frameOf(run, layer, step.time), pixels),
      this.view.isBeside ? observedAt(this.runs, run, step, pixels) : null,
    ]);
    if (asked !== this.asked) return; // another one was wanted meanwhile
    this.shown = shown;
    draw(run, map, element("forecast-note"), shown, own, step.time);
    this.bar.setIndex(step, this.index, run.reference);
    const valid = bothClocks(step.time, undefined);
    const badge = element("forecast-badge");
    badge.textContent = isObserved
      ? `observed ${valid}`
      : isWhole
        ? `${titleOf(layer, run.manifest)}, until ${bothClocks(run.times.forecast.at(-1)!, undefined)}`
        : `${titleOf(layer, run.manifest)}, forecast for ${valid}`;
    const factor = own.status === "fulfilled" && own.value !== null ? own.value.factor : 1;
    if (factor > 1) {
      const which = shown.code === "first_rain" ? "earliest" : "highest";
      badge.textContent += ` · ${which} of ${factor} × ${factor} pixels`;
    }
    badge.dataset["kind"] = isObserved ? "observed" : "forecast";
    if (this.view.isBeside && this.observedMap) {
      const observed = run.layer("observed")!;
      draw(run, this.observedMap, element("observed-note"), observed, seen, step.time);
      element("observed-badge").textContent = `observed ${valid}`;
      element("observed-badge").dataset["kind"] = "observed";
    }
  }

  private showHealth(): void {
    const reference = this.latest ? Date.parse(this.latest.reference_time) : null;
    const shown = this.view.run ? reference : (this.run?.reference ?? reference);
    const health = this.withProblem(healthOf(this.status, shown, Date.now()));
    this.health = health;
    const banner = element("banner");
    document.body.dataset["level"] = health.level;
    banner.dataset["level"] = health.level;
    const text = health.detail ? `${health.title}. ${health.detail}` : health.title;
    if (banner.textContent !== text) say(banner, text);
  }

  /** Add that the newest forecast is not shown, or that an earlier one is. */
  private withProblem(health: Health): Health {
    if (this.problem) {
      const level = health.level === "old" ? "old" : "warn";
      const title = health.title || this.problem;
      return { level, title, detail: health.title ? `${health.detail} ${this.problem}` : "" };
    }
    if (!this.view.run || !this.run) return health;
    const title = `This is an earlier forecast, of ${date(this.run.reference, undefined)} ${bothClocks(this.run.reference, undefined)}`;
    if (health.level === "good" || health.level === "note") {
      return { level: "note", title, detail: "" };
    }
    return { ...health, detail: `${health.detail} ${title}.` };
  }

  private makeMaps(run: Run): void {
    this.domain = new Domain(run.manifest.grid);
    this.olView = viewOf(this.domain);
    this.forecastMap = new PanelMap(element("forecast-map"), this.domain, this.olView);
    this.observedMap = new PanelMap(element("observed-map"), this.domain, this.olView);
    if (this.view.map) {
      const [x, y, zoom] = this.view.map;
      this.olView.setCenter([x, y]);
      this.olView.setZoom(zoom);
    } else void this.fitToRadar(run);
    this.forecastMap.map.on("moveend", () => {
      this.remember();
      if (this.isFine !== this.wasFine) void this.showStep(this.index);
    });
    this.setOpacity(this.view.opacity);
    if (this.view.isBeside) this.setBeside(true);
  }

  /** Show what the radar sees; a composite may be a small part of its grid. */
  private async fitToRadar(run: Run): Promise<void> {
    const [size, unknown] = [this.forecastMap!.map.getSize(), run.manifest.codes.rain_rate.unknown];
    this.olView!.fit(this.domain!.extent, { size });
    const last = run.layer("observed")?.frames.at(-1);
    const seen = last && (await run.overview(last).catch(() => undefined));
    if (!seen) return;
    const box = this.domain!.boxAround(seen.codes, unknown, seen.factor);
    this.olView!.fit(box, { size, padding: [20, 20, 20, 20] });
  }

  /** Load the other times of the layer, so that playing does not wait. */
  private async fetchAhead(): Promise<void> {
    const [run, layer] = [this.run, this.layer];
    if (!run || !layer) return;
    for (const frame of [...layer.frames, ...(run.layer("observed")?.frames ?? [])]) {
      if (run !== this.run || layer !== this.layer) return;
      await run.overview(frame).catch(() => undefined);
    }
  }
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function frameOf(run: Run, layer: Layer, time: number): Frame | undefined {
  return isOfAllTimes(layer) ? layer.frames[0] : run.frame(layer.name, time);
}

/** What is drawn of a frame: its overview, all pixels if they are in memory, or all pixels. */
type Pixels = "overview" | "at hand" | "all";

async function shownOf(run: Run, frame: Frame | undefined, pixels: Pixels): Promise<Shown> {
  if (!frame) throw new Error("this run has no such frame");
  const isAll = pixels === "all" || (pixels === "at hand" && run.isWholeAtHand(frame));
  return isAll ? { codes: await run.codes(frame), factor: 1 } : run.overview(frame);
}

/** The scan of a time: of the run itself, or of the run that was made from this scan. */
async function observedAt(runs: string[], run: Run, step: Step, pixels: Pixels): Promise<Shown> {
  const own = run.frame("observed", step.time);
  if (own) return shownOf(run, own, pixels);
  const id = runs.findLast((name) => load.referenceOf(name) === step.time);
  if (!id) throw new Error("no scan of this time has been published");
  const other = await load.loadRun(id);
  if (!isSame(other.manifest.grid, run.manifest.grid)) {
    throw new Error("the scan of this time is on another grid");
  }
  const frame = other.frame("observed", step.time);
  if (!frame) throw new Error("no scan of this time has been published");
  return shownOf(other, frame, pixels);
}

/** Draw codes; where they cannot be read, everything is hatched, and a note says why. */
function draw(
  run: Run,
  map: PanelMap,
  note: HTMLElement,
  layer: Layer,
  picture: PromiseSettledResult<Shown | null>,
  time: number,
): void {
  if (picture.status === "rejected") {
    map.raster.show(null);
    const reason = (picture.reason as Error).message;
    say(note, `There is no picture of ${bothClocks(time, undefined)}: ${reason}`);
    return;
  }
  say(note, "");
  if (picture.value === null) return;
  const code = run.manifest.codes[layer.code];
  const colours = coloursOf(layer.code, code);
  map.raster.show({ ...picture.value, colours, unknown: code.unknown });
}
