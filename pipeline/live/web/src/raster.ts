// The layer of the map that draws a frame: coloured codes, hatched where nothing is known.
// Each pixel of the screen shows the code that lies under it, so a large grid takes no longer.

import Layer from "ol/layer/Layer.js";
import type { FrameState } from "ol/Map.js";
import { apply } from "ol/transform.js";

import { pixelOf } from "./codes.ts";
import type { Codes } from "./decoding.ts";

const HATCH = 8; // distance of the lines [px]

export interface Picture {
  codes: Codes;
  /** rows and columns of the grid in a pixel of the codes */
  factor: number;
  colours: Uint32Array;
  unknown: number;
}

interface Place {
  /** of the canvas [px] */
  width: number;
  height: number;
  /** x and y of the upper left and of the lower right corner of the grid [px] */
  corners: [number, number, number, number];
  /** pixels of the screen to one of the page */
  ratio: number;
}

export class RasterLayer extends Layer {
  private readonly box = document.createElement("div"); // OpenLayers draws on a bare canvas
  private readonly canvas = document.createElement("canvas");
  private readonly context = this.canvas.getContext("2d")!;
  private picture: Picture | null = null;
  private image: ImageData | null = null;
  /** what is on the canvas */
  private drawn: unknown[] = [];
  /** where the grid lies on the canvas; null before OpenLayers has drawn the map */
  private place: Place | null = null;

  constructor(
    private readonly extent: [number, number, number, number],
    private readonly rows: number,
    private readonly columns: number,
  ) {
    super({});
    this.canvas.className = "raster";
    this.box.className = "raster-box";
    this.box.append(this.canvas);
  }

  /** Draw a picture; null: nothing is known anywhere. The other layers are not drawn again. */
  show(picture: Picture | null): void {
    this.picture = picture;
    if (this.place) this.paint(this.place);
    else this.changed();
  }

  override render(frame: FrameState | null): HTMLElement {
    if (frame === null) return this.box;
    const ratio = frame.pixelRatio;
    const [width, height] = frame.size.map((side) => Math.round(side * ratio)) as [number, number];
    // the canvas has as many pixels as the screen, which may be more than those of the page
    const [pageWidth, pageHeight] = frame.size;
    Object.assign(this.canvas.style, {
      display: "block",
      width: `${pageWidth}px`,
      height: `${pageHeight}px`,
      opacity: String(this.getOpacity()),
    });
    const [left, bottom, right, top] = this.extent;
    const corner = (x: number, y: number) =>
      apply(frame.coordinateToPixelTransform, [x, y]).map((v: number) => v * ratio);
    const corners = [...corner(left, top), ...corner(right, bottom)] as Place["corners"];
    this.place = { width, height, corners, ratio };
    this.paint(this.place);
    return this.box;
  }

  /** Fill the canvas, if it shows something else. */
  private paint(place: Place): void {
    const style = getComputedStyle(document.documentElement);
    const hatch = ["--no-radar", "--no-radar-hatch"].map((name) => style.getPropertyValue(name));
    const wanted = [this.picture, place.width, place.height, ...place.corners, ...hatch];
    if (wanted.every((value, i) => value === this.drawn[i])) return;
    this.draw(place, hatching(hatch, place.ratio));
    this.drawn = wanted;
  }

  /** @param hatch colours of a line across the lines of the hatching */
  private draw({ width, height, corners: [x0, y0, x1, y1] }: Place, hatch: Uint32Array): void {
    if (this.image === null || this.image.width !== width || this.image.height !== height) {
      [this.canvas.width, this.canvas.height] = [width, height];
      this.image = new ImageData(width, height);
    }
    const pixels = new Uint32Array(this.image.data.buffer);
    const { codes, factor, colours, unknown } = this.picture ?? NOTHING;
    const columns = indices(width, x0, x1, this.columns, factor);
    const rows = indices(height, y0, y1, this.rows, factor);
    const length = Math.ceil(this.columns / factor);
    pixels.fill(0);
    for (let j = 0; j < height; j++) {
      if (rows[j]! < 0) continue;
      const first = rows[j]! * length;
      for (let i = 0; i < width; i++) {
        if (columns[i]! < 0) continue;
        const code = codes ? codes[first + columns[i]!]! : unknown;
        pixels[j * width + i] = code === unknown ? hatch[(i + j) % hatch.length]! : colours[code]!;
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}

const NOTHING = { codes: null, factor: 1, colours: new Uint32Array(256), unknown: 255 };

/** The row or column of the codes that each pixel of the screen shows; -1 outside the grid. */
function indices(
  length: number,
  from: number,
  to: number,
  count: number,
  factor: number,
): Int32Array {
  return Int32Array.from({ length }, (_, i) => {
    const index = Math.floor(((i + 0.5 - from) / (to - from)) * count);
    return index >= 0 && index < count ? Math.floor(index / factor) : -1;
  });
}

function hatching([ground, line]: string[], ratio: number): Uint32Array {
  const length = Math.round(HATCH * ratio);
  const colours = [pixelOf(ground!), pixelOf(line!)];
  return Uint32Array.from({ length }, (_, i) => colours[i < ratio ? 1 : 0]!);
}
