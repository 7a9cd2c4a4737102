// One map: land and borders, the raster, the chosen point.

import OlMap from "ol/Map.js";
import View from "ol/View.js";
import Feature from "ol/Feature.js";
import { defaults as controls } from "ol/control/defaults.js";
import ScaleLine from "ol/control/ScaleLine.js";
import MultiLineString from "ol/geom/MultiLineString.js";
import Point from "ol/geom/Point.js";
import Polygon from "ol/geom/Polygon.js";
import { fromExtent } from "ol/geom/Polygon.js";
import VectorLayer from "ol/layer/Vector.js";
import Projection from "ol/proj/Projection.js";
import VectorSource from "ol/source/Vector.js";
import CircleStyle from "ol/style/Circle.js";
import Fill from "ol/style/Fill.js";
import Stroke from "ol/style/Stroke.js";
import Style from "ol/style/Style.js";
import Text from "ol/style/Text.js";

import type { Domain, XY } from "./grid.ts";
import { RasterLayer } from "./raster.ts";
import type { BaseMap, Line } from "./types.ts";

const MOST_LABELS = 200;

export function viewOf(domain: Domain): View {
  const projection = new Projection({
    code: "radar",
    units: "m",
    extent: domain.extent,
    metersPerUnit: domain.metres,
  });
  const [left, bottom, right, top] = domain.extent;
  const margin = 0.5 * Math.max(right - left, top - bottom);
  return new View({
    projection,
    extent: [left - margin, bottom - margin, right + margin, top + margin],
    showFullExtent: true,
    enableRotation: false,
    maxResolution: (right - left) / 150,
    minResolution: (right - left) / domain.grid.columns / 16,
  });
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export class PanelMap {
  readonly raster: RasterLayer;
  readonly map: OlMap;
  private readonly ground = new VectorSource();
  private readonly lines = new VectorSource();
  private readonly labels = new VectorSource();
  private readonly point = new VectorSource();

  constructor(
    target: HTMLElement,
    private readonly domain: Domain,
    view: View,
  ) {
    this.raster = new RasterLayer(domain.extent, domain.grid.rows, domain.grid.columns);
    const extent = domain.extent;
    this.ground.addFeature(new Feature({ geometry: fromExtent(extent), kind: "water" }));
    this.lines.addFeature(new Feature({ geometry: fromExtent(extent), kind: "frame" }));
    this.map = new OlMap({
      target,
      view,
      controls: controls({ rotate: false, attribution: false }).extend([new ScaleLine()]),
      layers: [
        new VectorLayer({ source: this.ground, style: groundStyle, extent }),
        this.raster,
        new VectorLayer({ source: this.lines, style: lineStyle, extent }),
        new VectorLayer({ source: this.labels, style: labelStyle, declutter: true }),
        new VectorLayer({ source: this.point, style: pointStyle }),
      ],
    });
  }

  addBaseMap(base: BaseMap): void {
    for (const [kind, rings] of [
      ["land", base.land],
      ["water", base.lakes],
      ["land", base.islands],
    ] as const) {
      if (rings.length) this.ground.addFeature(this.surface(kind, rings));
    }
    for (const kind of ["borders", "coastlines"] as const) {
      const parts = base[kind].map((line) => this.domain.lineToMap(line));
      this.lines.addFeature(new Feature({ geometry: new MultiLineString(parts), kind }));
    }
    base.towns.slice(0, MOST_LABELS).forEach(({ name, x, y }, order) => {
      const geometry = new Point(this.domain.toMap([x, y]));
      this.labels.addFeature(new Feature({ geometry, name, order }));
    });
  }

  /** Mark the chosen point; null: none. */
  mark(at: XY | null): void {
    this.point.clear();
    if (at) this.point.addFeature(new Feature(new Point(at)));
  }

  /** Draw again in the colours of the page, which have changed. */
  recolour(): void {
    for (const source of [this.ground, this.lines, this.labels, this.point]) source.changed();
    this.raster.changed();
  }

  /** Rings of one surface: land goes round one way, holes the other. */
  private surface(kind: string, rings: Line[]): Feature {
    const parts = rings.map((ring) => this.domain.lineToMap(ring));
    return new Feature({ geometry: new Polygon(parts), kind });
  }
}

function groundStyle(feature: { get(key: string): unknown }): Style {
  const name = feature.get("kind") === "land" ? "--land" : "--water";
  return new Style({ fill: new Fill({ color: colour(name) }) });
}

function lineStyle(feature: { get(key: string): unknown }): Style {
  const kind = feature.get("kind");
  const name = kind === "coastlines" ? "--coastline" : kind === "borders" ? "--border" : "--frame";
  const lineDash = kind === "borders" ? [5, 3] : undefined;
  return new Style({ stroke: new Stroke({ color: colour(name), width: 1, lineDash }) });
}

function labelStyle(feature: { get(key: string): unknown }): Style {
  return new Style({
    zIndex: -Number(feature.get("order")), // large towns first
    image: new CircleStyle({ radius: 2, fill: new Fill({ color: colour("--label") }) }),
    text: new Text({
      text: String(feature.get("name")),
      font: "12px system-ui, sans-serif",
      offsetY: -9,
      fill: new Fill({ color: colour("--label") }),
      stroke: new Stroke({ color: colour("--halo"), width: 3 }),
    }),
  });
}

function pointStyle(): Style[] {
  return [
    new Style({
      image: new CircleStyle({
        radius: 8,
        stroke: new Stroke({ color: colour("--halo"), width: 5 }),
      }),
    }),
    new Style({
      image: new CircleStyle({
        radius: 8,
        stroke: new Stroke({ color: colour("--point"), width: 2.5 }),
      }),
    }),
  ];
}

