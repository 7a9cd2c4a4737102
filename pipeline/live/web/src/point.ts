// What a run says of one pixel.

import { valuesOf } from "./codes.ts";
import type { Run } from "./load.ts";
import { percentText } from "./outlook.ts";
import { bothClocks, MINUTE } from "./times.ts";

export interface Series {
  times: number[];
  /** mm/h; null = not known */
  rain: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  chance: (number | null)[];
  /** number of times before the first forecast */
  observed: number;
}

export interface PointForecast {
  series: Series;
  threshold: number | null;
  sentence: string;
}

type Cell = { row: number; column: number };

/** Values of a layer at a pixel; null where a frame is missing or not known. */
async function valuesAt(run: Run, layer: string, times: number[], cell: Cell): Promise<(number | null)[]> {
  const described = run.layer(layer);
  if (!described) return times.map(() => null);
  const values = valuesOf(described.code, run.manifest.codes[described.code]);
  const index = cell.row * run.manifest.grid.columns + cell.column;
  return Promise.all(
    times.map(async (time) => {
      const frame = run.frame(layer, time);
      if (!frame) return null;
      try {
        const value = values[await run.code(frame, index)]!;
        return Number.isNaN(value) ? null : value;
      } catch {
        return null;
      }
    }),
  );
}

/** @param now times of another day have their date */
export async function forecastAt(run: Run, cell: Cell, now: number): Promise<PointForecast> {
  const { observed, forecast } = run.times;
  const chances = run.manifest.layers.filter((l) => l.code === "chance" && l.where === "at_pixel");
  const lowest = chances[0]?.name ?? "";
  const percents = run.manifest.layers.filter((l) => l.percent !== undefined);
  const [past, rain, low, high, chance] = await Promise.all([
    valuesAt(run, "observed", observed, cell),
    valuesAt(run, "rain_rate", forecast, cell),
    valuesAt(run, percents[0]?.name ?? "", forecast, cell),
    valuesAt(run, percents.at(-1)?.name ?? "", forecast, cell),
    valuesAt(run, lowest, forecast, cell),
  ]);
  const nothing = observed.map(() => null);
  return {
    series: {
      times: [...observed, ...forecast],
      rain: [...past, ...rain],
      low: [...nothing, ...low],
      high: [...nothing, ...high],
      chance: [...nothing, ...chance],
      observed: observed.length,
    },
    threshold: chances[0]?.threshold_mm_h ?? null,
    sentence: await sentenceAt(run, cell, chance, now),
  };
}

/** When it first rains, or that this is not known: missing radar is never "no rain". */
async function sentenceAt(
  run: Run,
  cell: Cell,
  chance: (number | null)[],
  now: number,
): Promise<string> {
  const layer = run.manifest.layers.find((l) => l.code === "first_rain");
  const end = run.times.forecast.at(-1);
  if (!layer || end === undefined) return "";
  const [minutes] = await valuesAt(run, layer.name, [end], cell);
  const until = bothClocks(end, undefined, now);
  if (minutes === null || minutes === undefined) {
    return `Not known until ${until}: the radar does not see enough here.`;
  }
  const rain = `rain of at least ${layer.threshold_mm_h} mm/h`;
  // as in points.json: of an ensemble the chance at any time, else the highest of a lead time
  const whole = run.manifest.layers.find((l) => l.code === "chance_at_any_time");
  const atAnyTime = whole ? ((await valuesAt(run, whole.name, [end], cell))[0] ?? null) : null;
  const ofALead = Math.max(...chance.map((value) => value ?? 0));
  const highest = Math.max(atAnyTime ?? 0, ofALead);
  const words = atAnyTime === null ? "chance up to" : "chance";
  const percent = highest > 0 ? ` (${words} ${percentText(atAnyTime ?? ofALead)})` : "";
  if (minutes === Infinity) return `No ${rain} expected until ${until}${percent}.`;
  if (minutes === 0) return `It rains now, at least ${layer.threshold_mm_h} mm/h${percent}.`;
  const begin = bothClocks(run.reference + minutes * MINUTE, undefined, now);
  if (highest > 0 && highest < 0.5) return `Perhaps ${rain} from ${begin}, unlikely${percent}.`;
  return `${rain[0]!.toUpperCase()}${rain.slice(1)} from ${begin}${percent}.`;
}
