// Rain against time at the chosen point, with the band of the members and the chance.

import uPlot from "uplot";

import type { Series } from "./point.ts";

const HEIGHT = 170;

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export class Chart {
  private plot: uPlot | null = null;

  constructor(private readonly target: HTMLElement) {
    new ResizeObserver(() => this.resize()).observe(target);
  }

  show(series: Series, threshold: number | null, shownTime: number): void {
    this.plot?.destroy();
    const seconds = series.times.map((time) => time / 1000);
    const isObserved = (index: number) => index < series.observed;
    const rain = (wanted: boolean) => series.rain.map((v, i) => (isObserved(i) === wanted ? v : null));
    // the forecast's line begins at the last scan
    const forecast = rain(false);
    if (series.observed) forecast[series.observed - 1] = series.rain[series.observed - 1] ?? null;
    const percent = series.chance.map((value) => (value === null ? null : 100 * value));
    const hasBand = series.high.some((value) => value !== null);
    const hasChance = percent.some((value) => value !== null);
    const most = Math.max(2, ...series.rain.map((v) => v ?? 0), ...series.high.map((v) => v ?? 0));
    const line = (label: string, name: string, more: Partial<uPlot.Series> = {}): uPlot.Series => ({
      label,
      stroke: colour(name),
      width: 2,
      points: { show: false },
      value: (_, value: number | null) => (value === null ? "–" : value.toFixed(1)),
      ...more,
    });
    const edge = { width: 0.5, dash: [2, 2] };
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--rule"), width: 1 } };
    this.plot = new uPlot(
      {
        width: Math.max(200, this.target.clientWidth),
        height: HEIGHT,
        cursor: { y: false },
        legend: { live: true },
        scales: { x: { time: true }, y: { range: [0, most * 1.1] }, "%": { range: [0, 100] } },
        axes: [
          { ...axis, values: clockLabels },
          { ...axis, size: 40, label: "mm/h", labelSize: 16 },
          {
            ...axis,
            scale: "%",
            side: 1,
            size: 55,
            show: hasChance,
            grid: { show: false },
            values: (_, percents) => percents.map((value) => `${value} %`),
          },
        ],
        series: [
          { value: (_, value: number | null) => (value === null ? "–" : minuteOf(value)) },
          line("observed", "--observed"),
          line(hasBand ? "median" : "forecast", "--forecast"),
          line("10 %", "--forecast", { ...edge, show: hasBand }),
          line("90 %", "--forecast", { ...edge, show: hasBand }),
          line(`chance ≥ ${threshold ?? ""} mm/h`, "--chance", {
            show: hasChance,
            scale: "%",
            dash: [6, 3],
            value: (_, value: number | null) => (value === null ? "–" : `${Math.round(value)} %`),
          }),
        ],
        bands: hasBand ? [{ series: [4, 3], fill: colour("--band") }] : [],
        hooks: { draw: [(plot) => markTime(plot, shownTime / 1000)] },
      },
      [seconds, rain(true), forecast, series.low, series.high, percent],
      this.target,
    );
  }

  clear(): void {
    this.plot?.destroy();
    this.plot = null;
  }

  private resize(): void {
    const width = this.target.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) {
      this.plot.setSize({ width, height: HEIGHT });
    }
  }
}

function minuteOf(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
  });
}

function clockLabels(_: uPlot, seconds: number[]): string[] {
  return seconds.map(minuteOf);
}

/** A line at the time that the map shows. */
function markTime(plot: uPlot, seconds: number): void {
  const x = plot.valToPos(seconds, "x", true);
  const { left, top, width, height } = plot.bbox;
  if (x < left || x > left + width) return;
  plot.ctx.save();
  plot.ctx.strokeStyle = colour("--quiet");
  plot.ctx.setLineDash([4, 4]);
  plot.ctx.beginPath();
  plot.ctx.moveTo(x, top);
  plot.ctx.lineTo(x, top + height);
  plot.ctx.stroke();
  plot.ctx.restore();
}
