// Reads what the service publishes. Runs never change, so what was read of them is kept.

import { type Codes, codesOf } from "./decoding.ts";
import { parse } from "./times.ts";
import type { Alert, BaseMap, Frame, Grid, Latest, Layer, Manifest, Place, Rules, Status } from "./types.ts";

const FORMAT = 2; // of the manifest
const ANSWER_MS = 30_000; // after which an answer does not come any more
const MOST_BYTES = 400e6; // of frames that are kept in memory: all of a run on the largest grids

async function answer(path: string, isFixed: boolean): Promise<Response> {
  const signal = AbortSignal.timeout(ANSWER_MS);
  const response = await fetch(path, { cache: isFixed ? "default" : "no-store", signal });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response;
}

async function json<T>(path: string, isFixed: boolean): Promise<T> {
  return (await answer(path, isFixed)).json() as Promise<T>;
}

export const loadLatest = () => json<Latest>("latest.json", false);
export const loadStatus = () => json<Status>("status.json", false);
export const loadBaseMap = () => json<BaseMap>("map.json", false);

/** The alerts that are not ended. A service without rules has none. */
export async function loadAlerts(): Promise<Alert[]> {
  const { alerts } = await json<{ alerts: Alert[] }>("alerts.json", false);
  return alerts.filter((alert) => alert.status === "active");
}

/** What a run says of the rules of alerts. */
export const loadRules = (run: string) => json<Rules>(`runs/${run}/rules.json`, true);

/** Names of the runs that can be shown, oldest first. */
export async function loadRuns(): Promise<string[]> {
  return (await json<{ runs: string[] }>("runs.json", false)).runs;
}

/** The reference time in the name of a run: 20240601T0430Z-…, seconds only where there are some. */
export function referenceOf(run: string): number {
  const [, y, m, d, hour, minute, second = "00"] =
    run.match(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)?Z-/) ?? [];
  return parse(`${y}-${m}-${d}T${hour}:${minute}:${second}Z`);
}

/** A run with what was read of it. */
export class Run {
  readonly times: { observed: number[]; forecast: number[] };

  private constructor(
    readonly folder: string,
    readonly manifest: Manifest,
  ) {
    const times = (name: string) => this.layer(name)?.frames.map((f) => parse(f.time)) ?? [];
    this.times = { observed: times("observed"), forecast: times("rain_rate") };
  }

  static async load(id: string): Promise<Run> {
    const folder = `runs/${id}`;
    const manifest = await json<Manifest>(`${folder}/manifest.json`, true);
    if (manifest.format !== FORMAT) {
      throw new Error(`run ${id} is of format ${manifest.format}; this page reads ${FORMAT}`);
    }
    return new Run(folder, manifest);
  }

  get reference(): number {
    return parse(this.manifest.reference_time);
  }

  layer(name: string): Layer | undefined {
    return this.manifest.layers.find((layer) => layer.name === name);
  }

  frame(layer: string, time: number): Frame | undefined {
    return this.layer(layer)?.frames.find((frame) => parse(frame.time) === time);
  }

  codes(frame: Frame): Promise<Codes> {
    return loadCodes(`${this.folder}/${frame.file}`, this.manifest.grid);
  }

  places(): Promise<Record<string, Place>> {
    return json(`${this.folder}/${this.manifest.points}`, true);
  }
}

const runs = new Map<string, Promise<Run>>();

/** A run, read once. */
export function loadRun(id: string): Promise<Run> {
  return kept(runs, id, 40, () => Run.load(id));
}

const frames = new Map<string, Promise<Codes>>();

/** The codes of a frame, read once. */
function loadCodes(path: string, { rows, columns }: Grid): Promise<Codes> {
  const most = Math.max(2, Math.floor(MOST_BYTES / (rows * columns)));
  return kept(frames, path, most, async () => {
    const bytes = new Uint8Array(await (await answer(path, true)).arrayBuffer());
    return codesOf(bytes, rows, columns).catch((error: Error) => {
      throw new Error(`${path} ${error.message}`);
    });
  });
}

/** A value of a cache; the oldest are forgotten, and failures are tried again. */
function kept<T>(
  cache: Map<string, Promise<T>>,
  key: string,
  most: number,
  load: () => Promise<T>,
): Promise<T> {
  let value = cache.get(key);
  if (value === undefined) {
    value = load();
    value.catch(() => cache.delete(key));
  }
  cache.delete(key);
  cache.set(key, value);
  if (cache.size > most) cache.delete(cache.keys().next().value!);
  return value;
}
