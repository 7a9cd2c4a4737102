import assert from "node:assert/strict";
import { test } from "node:test";

import { Domain } from "../src/grid.ts";
import { formatView, parseView, START } from "../src/link.ts";
import { referenceOf } from "../src/load.ts";
import { alertText, outlookOf, percentText, unansweredOf } from "../src/outlook.ts";
import { latLonOf, plain } from "../src/search.ts";
import { indexAt, positionOf, stepsOf } from "../src/timeline.ts";
import { bothClocks, clock, span } from "../src/times.ts";
import type { Alert, Grid, Place } from "../src/types.ts";

const MIN = 60_000;

test("an address says again what was shown", () => {
  const view = {
    ...START,
    run: "20260105T1200Z-0a1b2c3d",
    layer: "chance_at_pixel_2",
    time: "2026-01-05T12:30:00.000Z",
    at: [52.1, -5.2] as [number, number],
    map: [350000, -4032500, 2.5] as [number, number, number],
    opacity: 0.4,
    isBeside: true,
  };
  assert.deepEqual(parseView(`#${formatView(view)}`), view);
  assert.equal(formatView(START), "");
});

test("an address that is damaged shows what it still says", () => {
  const view = parseView("#run=../../secret&at=52.1&map=a,b,c&opacity=7&time=never&layer=amount");
  assert.deepEqual(view, { ...START, layer: "amount" });
});

test("past and forecast times, with the scans of earlier runs", () => {
  const run = { observed: [20, 25], forecast: [30, 35] };
  const steps = stepsOf(run, [10, 15, 15, 20]);
  assert.deepEqual(
    steps.map((s) => [s.time, s.kind]),
    [
      [10, "observed"],
      [15, "observed"],
      [20, "observed"],
      [25, "observed"],
      [30, "forecast"],
      [35, "forecast"],
    ],
  );
  assert.equal(indexAt(steps, 31), 4);
  assert.equal(indexAt(steps, 5), 0);
  assert.equal(indexAt(steps, 99), 5);
  assert.equal(positionOf(steps, 10), 0);
  assert.equal(positionOf(steps, 35), 1);
  assert.equal(positionOf(steps, 99), null);
  // steps are equally far apart on the bar, also over a gap
  assert.equal(positionOf(stepsOf({ observed: [0, 100], forecast: [105] }, []), 50), 0.25);
  assert.equal(positionOf([], 99), null);
});

test("the time in the name of a run", () => {
  assert.equal(referenceOf("20260105T1205Z-0a1b2c3d"), Date.parse("2026-01-05T12:05:00Z"));
  assert.equal(referenceOf("20260105T120530Z-0a1b2c3d"), Date.parse("2026-01-05T12:05:30Z"));
});

test("times name the zone, and the day where it is another one", () => {
  const noon = Date.parse("2026-07-05T12:05:00Z");
  assert.equal(bothClocks(noon, "Europe/Amsterdam"), "14:05 (12:05 UTC)");
  assert.equal(bothClocks(noon, "UTC"), "12:05 UTC");
  assert.equal(clock(noon, "UTC", noon - 24 * 60 * MIN), "2026-07-05 12:05");
  assert.equal(span(59 * MIN), "59 min");
  assert.equal(span(130 * MIN), "2 h 10 min");
  assert.equal(span(72 * 60 * MIN), "3 days");
});

const REFERENCE = Date.parse("2026-07-05T12:00:00Z");
const PLACE: Place = { latitude: 52, longitude: 5, sentence: "from the service" };

test("when it rains at a place, in the reader's time", () => {
  const of = (changes: Partial<Place>) =>
    outlookOf({ ...PLACE, ...changes }, REFERENCE, "Europe/Amsterdam");
  const [begins, ends] = ["2026-07-05T12:25:00Z", "2026-07-05T12:55:00Z"];
  assert.equal(
    of({ rain: "later", begins, ends, chance_at_any_time: 0.7 }),
    "rain from 14:25 (12:25 UTC), 70 %, until about 14:55 (12:55 UTC)",
  );
  assert.equal(
    of({ rain: "now", ends_not_before: ends }),
    "it rains, at least until 14:55 (12:55 UTC)",
  );
  const again = { rain: "now", ends, begins_again: "2026-07-05T13:20:00Z", chance_again: 0.45 } as const;
  const twice = "it rains, until about 14:55 (12:55 UTC), again from about 15:20 (13:20 UTC)";
  assert.equal(of(again), twice);
  assert.equal(of({ ...again, chance_at_any_time: 1 }), `${twice}, 45 %`);
  assert.equal(of({ rain: "none", known_until: ends }), "no rain until 14:55 (12:55 UTC)");
  assert.match(of({ rain: "later", begins_not_after: begins }), /from 14:25 .* or earlier/);
  assert.match(of({ rain: "unlikely", highest_chance: 0.2 }), /unlikely.*20 %/);
  const outside = { rain: "unknown", sentence: "not known: outside the radar's grid" } as const;
  assert.equal(of(outside), "not known: outside the radar's grid");
  assert.equal(of({}), "from the service");
  // on another day the date is told
  const later = outlookOf({ ...PLACE, rain: "none", known_until: ends }, REFERENCE + 24 * 60 * MIN, "UTC");
  assert.equal(later, "no rain until 2026-07-05 12:55 UTC");
});

test("what an alert says, and that it is not confirmed", () => {
  const alert: Alert = {
    id: "a",
    status: "active",
    subject: { rule: "heavy", headline: "10 mm/h at De Bilt", latitude: 52.1, longitude: 5.2 },
    onset: "2026-07-05T12:25:00Z",
    expires: "2026-07-05T12:12:00Z",
    chance: 0.7,
    not_confirmed_since: null,
  };
  const text = "10 mm/h at De Bilt: from 14:25 (12:25 UTC), 70 %";
  assert.equal(alertText(alert, REFERENCE, "Europe/Amsterdam"), text);
  assert.match(alertText({ ...alert, onset: "2026-07-05T11:50:00Z" }, REFERENCE, "UTC"), /: since 11:50/);
  const doubtful = { ...alert, chance: null, not_confirmed_since: "2026-07-05T12:00:00Z" };
  assert.match(alertText(doubtful, REFERENCE, "UTC"), /12:25 UTC, not confirmed since 12:00 UTC$/);
  assert.match(alertText(alert, REFERENCE + 13 * MIN, "UTC"), /expired at 12:12 UTC/);
  // a rule that cannot be answered is told, unless an alert says it already
  const unknown = { state: "unknown", reason: "the place lies outside the radar's grid" } as const;
  const rules = { outcomes: { heavy: unknown, far: unknown, dry: { state: "not_met", reason: "" } as const } };
  const far = "“far” is not known: the place lies outside the radar's grid";
  assert.deepEqual(unansweredOf(rules, [alert]), [far]);
  assert.equal(unansweredOf(rules, []).length, 2);
  assert.deepEqual(unansweredOf(null, []), []);
});

test("a chance is said alike wherever it comes from", () => {
  assert.equal(percentText(1 / 3), percentText(Math.round(200 / 3) / 200)); // a frame has half percents
  assert.deepEqual([0, 0.004, 0.55, 0.996, 1].map(percentText), ["0 %", "below 1 %", "55 %", "above 99 %", "100 %"]);
});

test("a place is found without accents, and by coordinates in either notation", () => {
  assert.equal(plain("  Besançon "), "besancon");
  assert.deepEqual(["Ærøskøbing", "Łódź", "Gießen"].map(plain), ["aeroskobing", "lodz", "giessen"]);
  const here = ["52.1, 5.2", "52.1,5.2", "52.1 5.2", "52,1 5,2", "52,1; 5,2", "52,1;5,2", "52,1, 5,2", "+52.1 ,5.2"];
  for (const text of here) assert.deepEqual(latLonOf(text), [52.1, 5.2], text);
  assert.deepEqual(latLonOf("52,5"), [52, 5]);
  assert.deepEqual(latLonOf("-30, -150.25"), [-30, -150.25]);
  for (const text of ["", "52", "52,1,5,2", "a, b", "95, 5", "Paris 15"]) assert.equal(latLonOf(text), null, text);
});

const STEREO: Grid = {
  rows: 765,
  columns: 700,
  extent: [0, -4415000, 700000, -3650000],
  aspect: 1,
  proj4: "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378140 +b=6356750 +x_0=0 +y_0=0 +units=m",
  corners_lonlat: [],
};
const DEGREES: Grid = {
  rows: 10,
  columns: 20,
  extent: [350, 50, 370, 60],
  aspect: 1.75,
  proj4: "+proj=longlat +datum=WGS84",
  corners_lonlat: [],
};

test("pixels and coordinates of a projected grid", () => {
  const domain = new Domain(STEREO);
  const at = domain.fromLatLon([52.1, 5.2])!;
  const [lat, lon] = domain.toLatLon(at)!;
  assert.ok(Math.abs(lat - 52.1) < 1e-6 && Math.abs(lon - 5.2) < 1e-6);
  assert.deepEqual(domain.pixelAt([500, -3650500]), { row: 0, column: 0 });
  assert.deepEqual(domain.pixelAt([699500, -4414500]), { row: 764, column: 699 });
  assert.equal(domain.pixelAt([-1, -4000000]), null);
});

test("a grid in degrees is stretched, and may count longitudes from 0 to 360", () => {
  const domain = new Domain(DEGREES);
  const at = domain.fromLatLon([55, 5])!;
  assert.deepEqual(at, [365, 55 * 1.75]);
  assert.deepEqual(domain.pixelAt(at), { row: 5, column: 15 });
  const [lat, lon] = domain.toLatLon(at)!;
  assert.ok(Math.abs(lat - 55) < 1e-9 && Math.abs(lon - 5) < 1e-9);
  assert.ok(Math.abs(domain.metres - 111_195 * Math.cos((55 * Math.PI) / 180)) < 1);
});

test("a projection that proj4 does not know leaves the map usable", () => {
  const domain = new Domain({ ...STEREO, proj4: "+proj=unheard" });
  assert.equal(domain.toLatLon([0, -4000000]), null);
  assert.deepEqual(domain.pixelAt([500, -3650500]), { row: 0, column: 0 });
});

test("the box around known pixels", () => {
  const domain = new Domain({ ...STEREO, rows: 4, columns: 4, extent: [0, 0, 4, 4] });
  const nothing = new Uint8Array(16).fill(255);
  const known = (...pixels: number[]) => nothing.map((code, pixel) => (pixels.includes(pixel) ? 0 : code));
  assert.deepEqual(domain.boxAround(known(5, 6), 255), [1, 2, 3, 3]);
  assert.deepEqual(domain.boxAround(known(2, 9, 15), 255), [1, 0, 4, 4]);
  assert.deepEqual(domain.boxAround(nothing, 255), [0, 0, 4, 4]);
  // an overview of blocks of three pixels; the last ones lie partly outside the grid
  assert.deepEqual(domain.boxAround(Uint8Array.of(255, 255, 255, 7), 255, 3), [3, 0, 4, 1]);
});
