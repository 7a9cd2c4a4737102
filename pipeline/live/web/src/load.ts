// Reads what the service publishes. Runs never change, so what was read of them is kept.

import { codeOf, type Codes, codesOf } from "./decoding.ts";
import { parse } from "./times.ts";
import type { Alert, BaseMap, Frame, Latest, Layer, Manifest, Place, Rules, Status } from "./types.ts";

const FORMAT = 2; // of the manifest
const ANSWER_MS = 30_000; // after which an answer does not come any more
const MOST_BYTES = 400e6; // of frames that are kept in memory, and as much of overviews
const MOST_BYTES_OF_PHONE = 150e6;
const MOST_PIXELS_OF_PLACES = 5_000;

async function answer(path: string, isFixed: boolean): Promise<Response> {
  const signal = AbortSignal.timeout(ANSWER_MS);
  const response = await fetch(path, { cache: isFixed ? "default" : "no-store", signal });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response;
}

async function json<T>(path: string, isFixed: boolean): Promise<T> {
  return (await answer(path, isFixed)).json() as Promise<T>;
}

/** The bytes of a picture of a run. */
async function pictureOf(path: string): Promise<Uint8Array> {
  return new Uint8Array(await (await answer(path, true)).arrayBuffer());
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

  /** The codes of all pixels of a frame. */
  codes(frame: Frame): Promise<Codes> {
    return loadCodes(frames, this.path(frame), this.manifest.grid);
  }

  /** Whether the codes of all pixels are in memory, or there is nothing smaller. */
  isWholeAtHand(frame: Frame): boolean {
    return !frame.overview || frames.has(this.path(frame));
  }

  /** The overview of a frame, or all pixels if it has none. */
  async overview(frame: Frame): Promise<Shown> {
    const factor = this.manifest.overview_factor ?? 1;
    if (!frame.overview || factor === 1) return { codes: await this.codes(frame), factor: 1 };
    const { rows, columns } = this.manifest.grid;
    const size = { rows: Math.ceil(rows / factor), columns: Math.ceil(columns / factor) };
    return { codes: await loadCodes(overviews, `${this.folder}/${frame.overview}`, size), factor };
  }

  /** The code of a pixel. The frame of a large grid does not stay in memory. */
  async code(frame: Frame, pixel: number): Promise<number> {
    if (this.isWholeAtHand(frame)) return (await this.codes(frame))[pixel]!;
    const path = this.path(frame);
    const { rows, columns } = this.manifest.grid;
    return kept(pixels, `${path}#${pixel}`, MOST_PIXELS_OF_PLACES, async () => {
      const bytes = await pictureOf(path);
      return codeOf(bytes, rows, columns, pixel);
    });
  }

  private path(frame: Frame): string {
    return `${this.folder}/${frame.file}`;
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

type Pictures = Map<string, Promise<Codes>>;
const frames: Pictures = new Map();
const overviews: Pictures = new Map();
const pixels = new Map<string, Promise<number>>();

/** Codes of a frame, or of its overview: the strongest of `factor` × `factor` pixels. */
export interface Shown {
  codes: Codes;
  factor: number;
}

/** The codes of a picture, read once. */
function loadCodes(
  cache: Pictures,
  path: string,
  { rows, columns }: { rows: number; columns: number },
): Promise<Codes> {
  const bytes = matchMedia("(pointer: coarse)").matches ? MOST_BYTES_OF_PHONE : MOST_BYTES;
  const most = Math.max(2, Math.floor(bytes / (rows * columns)));
  return kept(cache, path, most, async () => {
    const bytes = await pictureOf(path);
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
