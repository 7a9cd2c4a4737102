// The layer of the map that draws a frame: coloured codes, hatched where nothing is known.

import Layer from "ol/layer/Layer.js";
import type { FrameState } from "ol/Map.js";
import { apply } from "ol/transform.js";

import type { Codes } from "./load.ts";

const HATCH = 8; // distance of the lines [px]

export interface Picture {
  codes: Codes;
  colours: Uint32Array;
  unknown: number;
}

export class RasterLayer extends Layer {
  private readonly box = document.createElement("div"); // OpenLayers draws on a bare canvas
  private readonly canvas = document.createElement("canvas");
  private readonly rain = document.createElement("canvas");
  private readonly unknown = document.createElement("canvas");
  private readonly hatched = document.createElement("canvas");

  constructor(
    private readonly extent: [number, number, number, number],
    private readonly rows: number,
    private readonly columns: number,
  ) {
    super({});
    this.canvas.className = "raster";
    this.box.className = "raster-box";
    this.box.append(this.canvas);
    for (const canvas of [this.rain, this.unknown]) {
      canvas.width = columns;
      canvas.height = rows;
    }
    this.show(null);
  }

  /** Draw a picture; null: nothing is known anywhere. */
  show(picture: Picture | null): void {
    const rain = new ImageData(this.columns, this.rows);
    const unknown = new ImageData(this.columns, this.rows);
    const pixels = new Uint32Array(rain.data.buffer);
    const mask = new Uint32Array(unknown.data.buffer);
    const opaque = 0xffffffff;
    if (picture === null) mask.fill(opaque);
    else {
      const { codes, colours } = picture;
      for (let i = 0; i < pixels.length; i++) {
        const code = codes[i]!;
        if (code === picture.unknown) mask[i] = opaque;
        else pixels[i] = colours[code]!;
      }
    }
    this.rain.getContext("2d")!.putImageData(rain, 0, 0);
    this.unknown.getContext("2d")!.putImageData(unknown, 0, 0);
    this.changed();
  }

  override render(frame: FrameState | null): HTMLElement {
    if (frame === null) return this.box;
    const [width, height] = frame.size.map((side) => Math.round(side * frame.pixelRatio));
    for (const canvas of [this.canvas, this.hatched]) {
      canvas.width = width!;
      canvas.height = height!;
    }
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
      apply(frame.coordinateToPixelTransform, [x, y]).map((v: number) => v * frame.pixelRatio);
    const [x0, y0] = corner(left, top) as [number, number];
    const [x1, y1] = corner(right, bottom) as [number, number];
    const put = (target: HTMLCanvasElement, source: HTMLCanvasElement) => {
      const context = target.getContext("2d")!;
      context.imageSmoothingEnabled = false; // a mixed colour would be a wrong value
      context.drawImage(source, x0, y0, x1 - x0, y1 - y0);
      return context;
    };
    this.drawHatching(put(this.hatched, this.unknown), frame.pixelRatio);
    this.canvas.getContext("2d")!.drawImage(this.hatched, 0, 0);
    put(this.canvas, this.rain);
    return this.box;
  }

  /** Turn the mask of what is not known into grey with lines. */
  private drawHatching(context: CanvasRenderingContext2D, pixelRatio: number): void {
    const style = getComputedStyle(document.documentElement);
    const tile = document.createElement("canvas");
    const side = (tile.width = tile.height = Math.round(HATCH * pixelRatio));
    const lines = tile.getContext("2d")!;
    lines.fillStyle = style.getPropertyValue("--no-radar");
    lines.fillRect(0, 0, side, side);
    lines.strokeStyle = style.getPropertyValue("--no-radar-hatch");
    lines.lineWidth = pixelRatio;
    lines.beginPath();
    for (const shift of [-side, 0, side]) {
      lines.moveTo(shift, side);
      lines.lineTo(shift + side, 0);
    }
    lines.stroke();
    context.globalCompositeOperation = "source-in";
    context.fillStyle = context.createPattern(tile, "repeat")!;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    context.globalCompositeOperation = "source-over";
  }
}
