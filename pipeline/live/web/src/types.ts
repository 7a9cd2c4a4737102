// What the service publishes (docs/live.md). Times are ISO texts, UTC.

export interface Frame {
  time: string;
  file: string;
  /** a smaller picture, on a large grid: see `Manifest.overview_factor` */
  overview?: string;
}

export interface Layer {
  name: string;
  code: CodeName;
  title?: string;
  threshold_mm_h?: number;
  where?: "at_pixel" | "within_10km";
  percent?: number;
  frames: Frame[];
}

export type CodeName = "rain_rate" | "amount" | "chance" | "chance_at_any_time" | "first_rain";

/** What the numbers of a frame mean, and the colours of their values. */
export interface Code {
  units: string;
  unknown: number;
  dry?: number;
  lowest?: number;
  highest?: number;
  step_min?: number;
  levels: number[];
  colours: string[];
}

export interface Grid {
  rows: number;
  columns: number;
  /** left, bottom, right, top in units of the projection */
  extent: [number, number, number, number];
  /** length of a y unit divided by that of an x unit */
  aspect: number;
  proj4: string;
  corners_lonlat: [number, number][];
}

export interface Manifest {
  format: number;
  id: string;
  title: string;
  reference_time: string;
  step_min: number;
  lead_times: number;
  model: string;
  members: number | null;
  fallback: string | null;
  missing_context: string[];
  attribution: string | null;
  grid: Grid;
  /** rows and columns of the grid in a pixel of an overview; it has the strongest of their codes */
  overview_factor?: number;
  codes: Record<CodeName, Code>;
  layers: Layer[];
  /** name of the file with the places */
  points: string;
}

export interface Latest {
  id: string;
  manifest: string;
  reference_time: string;
}

export type StateName = "fresh" | "gap" | "late" | "fallback" | "stale" | "down";

export interface LeadScores {
  lead_min: number;
  forecast: Scores;
  extrapolation: Scores;
}

export interface Scores {
  mean_absolute_error_mm_h: number;
  csi: (number | null)[];
  frequency_bias: (number | null)[];
}

export interface Status {
  state: StateName;
  since: string;
  reason: string;
  is_stopped: boolean;
  next_expected: string | null;
  heartbeat: string;
  machine_time: string;
  speed: number;
  poll_s: number;
  heartbeat_due_s: number;
  stale_after_s: number;
  problems: string[];
  self_check: {
    scans: number;
    thresholds_mm_h: number[];
    by_lead_time: LeadScores[];
  } | null;
}

/** An alert of `alerts.json` (docs/alerts.md). */
export interface Alert {
  id: string;
  status: "active" | "ended";
  subject: { rule: string; headline: string; latitude: number | null; longitude: number | null };
  onset: string;
  expires: string;
  chance: number | null;
  not_confirmed_since: string | null;
}

/** What a run says of the rules of alerts: `rules.json`. */
export interface Rules {
  outcomes: Record<string, { state: "met" | "not_met" | "unknown"; reason: string }>;
}

export type Line = [number, number][];

export interface Town {
  name: string;
  x: number;
  y: number;
}

export interface BaseMap {
  land: Line[];
  lakes: Line[];
  islands: Line[];
  coastlines: Line[];
  borders: Line[];
  towns: Town[];
  credit: string;
}

/** The forecast of a place with a name. */
export interface Place {
  latitude: number;
  longitude: number;
  sentence: string;
  rain?: "now" | "later" | "unlikely" | "none" | "unknown";
  known_until?: string | null;
  begins?: string | null;
  begins_not_after?: string | null;
  ends?: string | null;
  ends_not_before?: string | null;
  begins_again?: string | null;
  chance_again?: number | null;
  chance_at_any_time?: number | null;
  highest_chance?: number | null;
}
