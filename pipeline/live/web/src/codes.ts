// Codes of a frame become values and colours.

import type { Code, CodeName } from "./types.ts";

/** The value of each of the 256 codes; NaN = not known. */
export function valuesOf(name: CodeName, code: Code): Float64Array {
  const values = new Float64Array(256);
  for (let c = 0; c < 256; c++) {
    if (c === code.unknown) values[c] = NaN;
    else if (name === "chance" || name === "chance_at_any_time") values[c] = c / 200;
    else if (name === "first_rain") {
      values[c] = c === code.dry ? Infinity : (c - 1) * code.step_min!;
    } else {
      const ratio = code.highest! / code.lowest!;
      values[c] = c === code.dry ? 0 : code.lowest! * ratio ** ((c - 1) / 253);
    }
  }
  return values;
}

/** Colour of each code as one number for an ImageData; 0 = clear. */
export function coloursOf(name: CodeName, code: Code): Uint32Array {
  const values = valuesOf(name, code);
  const colours = new Uint32Array(256);
  for (let c = 0; c < 256; c++) {
    const level = levelOf(values[c]!, code.levels);
    if (level >= 0) colours[c] = pixelOf(code.colours[level]!);
  }
  return colours;
}

/** Index of the last level that a value reaches; -1 below the first, and where it is not known. */
export function levelOf(value: number, levels: number[]): number {
  if (!Number.isFinite(value)) return -1;
  let index = -1;
  while (index + 1 < levels.length && value >= levels[index + 1]! - 1e-9) index++;
  return index;
}

/** "#rrggbb" or "#rrggbbaa" as a pixel in the byte order of this machine. */
export function pixelOf(hex: string): number {
  const [, digits = "", alpha = "ff"] = /^\s*#([0-9a-f]{6})([0-9a-f]{2})?\s*$/i.exec(hex) ?? [];
  const bytes = Uint8Array.from((digits + alpha).match(/../g)!, (pair) => parseInt(pair, 16));
  if (bytes.length !== 4) throw new Error(`${hex} is no colour like #rrggbb`);
  return new Uint32Array(bytes.buffer)[0]!;
}
