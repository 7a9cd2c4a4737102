// Which times can be shown, and which of them the clock points at. Pure functions.

export interface Step {
  time: number;
  kind: "observed" | "forecast";
  /** the run whose frame is shown */
  run: string;
}

/**
 * Past and forecast times of a run, oldest first.
 *
 * @param earlier reference time and name of runs before it; their last scan is shown
 */
export function stepsOf(
  run: { id: string; observed: number[]; forecast: number[] },
  earlier: { time: number; run: string }[],
): Step[] {
  const first = run.observed[0] ?? run.forecast[0] ?? Infinity;
  const past = new Map<number, string>();
  for (const { time, run: id } of earlier) if (time < first) past.set(time, id);
  const before = [...past].sort(([a], [b]) => a - b);
  return [
    ...before.map(([time, id]): Step => ({ time, kind: "observed", run: id })),
    ...run.observed.map((time): Step => ({ time, kind: "observed", run: run.id })),
    ...run.forecast.map((time): Step => ({ time, kind: "forecast", run: run.id })),
  ];
}

/** Index of the step to show first: the last one that is not after now. */
export function indexAt(steps: Step[], now: number): number {
  const after = steps.findIndex((step) => step.time > now);
  return after < 0 ? steps.length - 1 : Math.max(0, after - 1);
}

/** Where a time lies between the first and the last step, 0 to 1; null outside. */
export function positionOf(steps: Step[], time: number): number | null {
  const [first, last] = [steps[0]?.time, steps.at(-1)?.time];
  if (first === undefined || last === undefined || last <= first) return null;
  const position = (time - first) / (last - first);
  return position >= 0 && position <= 1 ? position : null;
}
