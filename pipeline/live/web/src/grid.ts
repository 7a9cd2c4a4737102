// Where the pixels lie: rows and columns, map coordinates, latitude and longitude.
// Map coordinates are those of the radar's projection, with y stretched so that shapes are true.

import proj4, { type Converter } from "proj4";

import type { Grid, Line } from "./types.ts";

export type XY = [number, number];

export class Domain {
  private readonly projection: Converter | null;

  constructor(readonly grid: Grid) {
    this.projection = converter(grid);
  }

  /** left, bottom, right, top in map coordinates */
  get extent(): [number, number, number, number] {
    const [left, bottom, right, top] = this.grid.extent;
    return [left, bottom * this.grid.aspect, right, top * this.grid.aspect];
  }

  /** Width of a pixel in map coordinates. */
  get pixel(): number {
    const [left, , right] = this.grid.extent;
    return (right - left) / this.grid.columns;
  }

  toMap([x, y]: XY): XY {
    return [x, y * this.grid.aspect];
  }

  lineToMap(line: Line): XY[] {
    return line.map((point) => this.toMap(point));
  }

  /** Row and column of the pixel at a map coordinate; null outside the grid. */
  pixelAt([x, y]: XY): { row: number; column: number } | null {
    const [left, bottom, right, top] = this.extent;
    const column = Math.floor(((x - left) / (right - left)) * this.grid.columns);
    const row = Math.floor(((top - y) / (top - bottom)) * this.grid.rows);
    const isInside =
      row >= 0 && column >= 0 && row < this.grid.rows && column < this.grid.columns;
    return isInside ? { row, column } : null;
  }

  /**
   * The box around the pixels whose code is another one, the grid if there is none.
   *
   * @param factor rows and columns of the grid in a pixel
   */
  boxAround(codes: Uint8Array, unknown: number, factor = 1): [number, number, number, number] {
    const [rows, columns] = [this.grid.rows, this.grid.columns].map((n) => Math.ceil(n / factor)) as XY;
    let [top, bottom, left, right] = [rows, -1, columns, -1];
    for (let row = 0; row < rows; row++) {
      const [start, end] = [row * columns, (row + 1) * columns];
      let first = start;
      while (first < end && codes[first] === unknown) first++;
      if (first === end) continue;
      let last = end - 1;
      while (codes[last] === unknown) last--;
      if (bottom < 0) top = row;
      bottom = row;
      left = Math.min(left, first - start);
      right = Math.max(right, last - start);
    }
    if (bottom < 0) return this.extent;
    const [x0, y0, x1, y1] = this.extent;
    const width = (factor * (x1 - x0)) / this.grid.columns;
    const height = (factor * (y1 - y0)) / this.grid.rows;
    return [
      x0 + left * width,
      Math.max(y0, y1 - (bottom + 1) * height),
      Math.min(x1, x0 + (right + 1) * width),
      y1 - top * height,
    ];
  }

  /** Latitude and longitude of a map coordinate; null where the projection is not known here. */
  toLatLon([x, y]: XY): [number, number] | null {
    if (this.projection === null) return null;
    const [lon, lat] = this.projection.inverse([x, y / this.grid.aspect]);
    return [lat!, ((((lon! + 180) % 360) + 360) % 360) - 180];
  }

  fromLatLon([lat, lon]: [number, number]): XY | null {
    if (this.projection === null) return null;
    const [left, , right] = this.grid.extent;
    const [x, y] = this.projection.forward([lon, lat]);
    // a grid in degrees may count its longitudes from 0 to 360
    const turns = this.isGeographic ? Math.round(((left + right) / 2 - x!) / 360) : 0;
    return this.toMap([x! + 360 * turns, y!]);
  }

  /** Metres in a unit of map x, for the scale bar. */
  get metres(): number {
    const [, bottom, , top] = this.grid.extent;
    const middle = ((bottom + top) / 2) * (Math.PI / 180);
    return this.isGeographic ? 111_195 * Math.cos(middle) : 1;
  }

  private get isGeographic(): boolean {
    return /\+proj=longlat/.test(this.grid.proj4);
  }
}

function converter(grid: Grid): Converter | null {
  try {
    const projection = proj4(grid.proj4);
    const [left, bottom, right, top] = grid.extent;
    const [lon, lat] = projection.inverse([left, top]);
    const [x, y] = projection.forward([lon!, lat!]);
    const size = Math.max(right - left, top - bottom);
    return Math.hypot(x! - left, y! - top) < 1e-3 * size ? projection : null;
  } catch {
    return null; // proj4 does not know every projection of PROJ
  }
}
