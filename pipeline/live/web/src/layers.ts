// Names of the layers for people, and the legend.

import { clock, MINUTE, parse } from "./times.ts";
import type { Layer, Manifest } from "./types.ts";

/** Layers that one can choose, in groups. */
export function groupsOf(manifest: Manifest): { title: string; layers: Layer[] }[] {
  const of = (test: (layer: Layer) => boolean) => manifest.layers.filter(test);
  const chances = (where: string) => of((l) => l.code === "chance" && l.where === where);
  return [
    { title: "Rain", layers: of((l) => l.name === "rain_rate" || l.name === "amount") },
    { title: "Chance at the place", layers: chances("at_pixel") },
    { title: "Chance within 10 km", layers: chances("within_10km") },
    { title: "Chance at any time", layers: of((l) => l.code === "chance_at_any_time") },
    { title: "First rain", layers: of((l) => l.code === "first_rain") },
  ].filter((group) => group.layers.length > 0);
}

/** The words beside the button of a layer; its group says the rest. */
export function labelOf(layer: Layer, manifest: Manifest): string {
  if (layer.name === "observed") return "observed rain rate";
  if (layer.name === "rain_rate") {
    return manifest.members ? `rain rate, median of ${manifest.members} members` : "rain rate";
  }
  if (layer.code === "amount") return `amount of ${horizon(manifest)} min`;
  return `≥ ${layer.threshold_mm_h} mm/h`;
}

export function titleOf(layer: Layer, manifest: Manifest): string {
  if (layer.code === "chance") {
    const where = layer.where === "within_10km" ? " within 10 km" : "";
    return `Chance of ≥ ${layer.threshold_mm_h} mm/h${where}`;
  }
  if (layer.code === "chance_at_any_time") {
    return `Chance of ≥ ${layer.threshold_mm_h} mm/h at any time`;
  }
  if (layer.code === "first_rain") return `First rain of ≥ ${layer.threshold_mm_h} mm/h`;
  const label = labelOf(layer, manifest);
  return label[0]!.toUpperCase() + label.slice(1);
}

/** Whether a layer has one frame for the whole forecast. */
export function isOfAllTimes(layer: Layer): boolean {
  return layer.code !== "rain_rate" && layer.code !== "chance";
}

function horizon(manifest: Manifest): number {
  return Math.round(manifest.step_min * manifest.lead_times);
}

/** Unit, and colour and label of each level that the legend shows. */
export function legendOf(
  layer: Layer,
  manifest: Manifest,
): { unit: string; entries: { colour: string; label: string }[] } {
  const code = manifest.codes[layer.code];
  const reference = parse(manifest.reference_time);
  const percent = "%";
  const units = { rain_rate: "mm/h", amount: "mm", chance: percent, chance_at_any_time: percent, first_rain: "from" };
  const unit = units[layer.code];
  const label = (level: number): string => {
    if (unit === percent) return level < 0.01 ? "> 0" : `${Math.round(100 * level)}`;
    if (layer.code === "first_rain") {
      return level === 0 ? "now" : clock(reference + level * MINUTE, undefined, reference);
    }
    return String(level);
  };
  const entries = code.levels
    .map((level, i) => ({ level, colour: code.colours[i]!, label: label(level) }))
    .filter(({ level }) => layer.code !== "first_rain" || level < horizon(manifest));
  return { unit, entries };
}
