// The address of what is shown: the part after # of the page's address.

export interface View {
  /** empty: the latest run */
  run: string;
  layer: string;
  /** valid time, ISO; empty: follows the clock */
  time: string;
  /** latitude, longitude of the chosen point */
  at: [number, number] | null;
  /** x, y, zoom of the map */
  map: [number, number, number] | null;
  opacity: number;
  isBeside: boolean;
}

export const START: View = {
  run: "",
  layer: "rain_rate",
  time: "",
  at: null,
  map: null,
  opacity: 0.85,
  isBeside: false,
};

export function formatView(view: View): string {
  const parts = new URLSearchParams();
  if (view.run) parts.set("run", view.run);
  if (view.layer !== START.layer) parts.set("layer", view.layer);
  if (view.time) parts.set("time", view.time);
  if (view.at) parts.set("at", view.at.map((value) => value.toFixed(4)).join(","));
  if (view.map) parts.set("map", view.map.map((value) => Number(value.toFixed(2))).join(","));
  if (view.opacity !== START.opacity) parts.set("opacity", view.opacity.toFixed(2));
  if (view.isBeside) parts.set("beside", "1");
  return parts.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
}

/** What cannot be read is left out: an address may be cut or of an older version. */
export function parseView(hash: string): View {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const at = numbers(parts.get("at"), 2);
  const map = numbers(parts.get("map"), 3);
  const opacity = Number(parts.get("opacity") ?? NaN);
  const run = parts.get("run") ?? "";
  const time = parts.get("time") ?? "";
  return {
    run: /^[0-9TZ]+-[0-9a-f]+$/.test(run) ? run : "",
    layer: parts.get("layer") ?? START.layer,
    time: Number.isNaN(Date.parse(time)) ? "" : time,
    at: at as [number, number] | null,
    map: map as [number, number, number] | null,
    opacity: opacity >= 0 && opacity <= 1 ? opacity : START.opacity,
    isBeside: parts.get("beside") === "1",
  };
}

function numbers(text: string | null, count: number): number[] | null {
  const values = (text ?? "").split(",").map(Number);
  return text && values.length === count && values.every(Number.isFinite) ? values : null;
}
