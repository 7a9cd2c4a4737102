import assert from "node:assert/strict";
import { test } from "node:test";

import { coloursOf, levelOf, pixelOf, valuesOf } from "../src/codes.ts";
import type { Code } from "../src/types.ts";

const RATE: Code = {
  units: "mm h-1",
  dry: 0,
  unknown: 255,
  lowest: 0.08,
  highest: 205,
  levels: [0.1, 1, 10],
  colours: ["#0000ff", "#00ff00", "#ff0000"],
};
const CHANCE: Code = { units: "1", unknown: 255, levels: [1e-8, 0.5], colours: ["#111111", "#222222"] };
const FIRST: Code = { units: "min", dry: 0, unknown: 255, step_min: 5, levels: [0, 10], colours: ["#111111", "#222222"] };

test("codes of rain are logarithmic between the lowest and the highest rate", () => {
  const values = valuesOf("rain_rate", RATE);
  assert.equal(values[0], 0);
  assert.ok(Math.abs(values[1]! - 0.08) < 1e-12);
  assert.ok(Math.abs(values[254]! - 205) < 1e-9);
  assert.ok(Number.isNaN(values[255]));
});

test("chances are half percents", () => {
  const values = valuesOf("chance", CHANCE);
  assert.equal(values[200], 1);
  assert.equal(values[1], 0.005);
  assert.ok(Number.isNaN(values[255]));
});

test("a colour of the style may be translucent", () => {
  const bytes = (hex: string) => [...new Uint8Array(Uint32Array.of(pixelOf(hex)).buffer)];
  assert.deepEqual(bytes(" #c9c9c6b0"), [0xc9, 0xc9, 0xc6, 0xb0]);
  assert.deepEqual(bytes("#010203"), [1, 2, 3, 255]);
  assert.throws(() => pixelOf("red"), /no colour/);
});

test("no rain is not the same as an unknown time", () => {
  const values = valuesOf("first_rain", FIRST);
  assert.equal(values[0], Infinity);
  assert.equal(values[1], 0);
  assert.equal(values[4], 15);
  assert.ok(Number.isNaN(values[255]));
});

test("the colour is that of the last level that is reached; dry and unknown are clear", () => {
  assert.equal(levelOf(0.05, RATE.levels), -1);
  assert.equal(levelOf(1, RATE.levels), 1);
  assert.equal(levelOf(1000, RATE.levels), 2);
  assert.equal(levelOf(NaN, RATE.levels), -1);
  const colours = coloursOf("rain_rate", RATE);
  assert.equal(colours[0], 0);
  assert.equal(colours[255], 0);
  assert.deepEqual([...new Uint8Array(colours.slice(254).buffer)].slice(0, 4), [255, 0, 0, 255]);
  assert.equal(coloursOf("chance", CHANCE)[0], 0);
  assert.notEqual(coloursOf("first_rain", FIRST)[1], 0);
});
