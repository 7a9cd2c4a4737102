// A worker: decodes the pictures, so that a large one does not stop the page.

import { decode } from "fast-png";

import type { Answer, Task } from "./decoding.ts";

function codesOf({ bytes, rows, columns, pixel }: Task): Uint8Array {
  const { width, height, channels, depth, data } = decode(bytes, { checkCrc: true });
  if (width !== columns || height !== rows || channels !== 1 || depth !== 8) {
    throw new Error(`is not a picture of ${columns} × ${rows} codes`);
  }
  return pixel === undefined ? (data as Uint8Array) : (data as Uint8Array).slice(pixel, pixel + 1);
}

self.onmessage = ({ data }: MessageEvent<Task>) => {
  let answer: Answer;
  try {
    answer = { id: data.id, codes: codesOf(data) };
  } catch (error) {
    answer = { id: data.id, problem: (error as Error).message };
  }
  const sent = "codes" in answer ? [answer.codes.buffer] : [];
  self.postMessage(answer, { transfer: sent });
};
