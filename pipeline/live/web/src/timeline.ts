// Which times can be shown, and which of them the clock points at. Pure functions.

export interface Step {
  time: number;
  kind: "observed" | "forecast";
}

/**
 * Past and forecast times of a run, oldest first.
 *
 * @param earlier reference times of runs before it; their last scan is shown
 */
export function stepsOf(
  run: { observed: number[]; forecast: number[] },
  earlier: number[],
): Step[] {
  const first = run.observed[0] ?? run.forecast[0] ?? Infinity;
  const past = new Set(earlier.filter((time) => time < first));
  const before = [...past].sort((a, b) => a - b);
  return [
    ...[...before, ...run.observed].map((time): Step => ({ time, kind: "observed" })),
    ...run.forecast.map((time): Step => ({ time, kind: "forecast" })),
  ];
}

/** Index of the step to show first: the last one that is not after now. */
export function indexAt(steps: Step[], now: number): number {
  const after = steps.findIndex((step) => step.time > now);
  return after < 0 ? steps.length - 1 : Math.max(0, after - 1);
}

/**
 * Where a time lies on the bar, 0 to 1; null outside.
 *
 * All steps are equally far apart on the bar, also where scans are missing.
 */
export function positionOf(steps: Step[], time: number): number | null {
  const [first, last] = [steps[0]?.time, steps.at(-1)?.time];
  if (first === undefined || last === undefined || last <= first) return null;
  if (time < first || time > last) return null;
  const before = steps.findLastIndex((step) => step.time <= time);
  const [from, to] = [steps[before]!.time, steps[before + 1]?.time];
  const part = to === undefined ? 0 : (time - from) / (to - from);
  return (before + part) / (steps.length - 1);
}
