// Asks the worker to decode pictures.

/** The codes of a frame, row by row from north to south. */
export type Codes = Uint8Array;

export interface Task {
  id: number;
  bytes: Uint8Array;
  rows: number;
  columns: number;
}

export type Answer = { id: number; codes: Codes } | { id: number; problem: string };

interface Waiting {
  resolve: (codes: Codes) => void;
  reject: (error: Error) => void;
}

const waiting = new Map<number, Waiting>();
let asked = 0;
let worker: Worker | null = null;

function started(): Worker {
  const result = new Worker(new URL("decoder.js", import.meta.url), { type: "module" });
  result.onmessage = ({ data }: MessageEvent<Answer>) => {
    const { resolve, reject } = waiting.get(data.id)!;
    waiting.delete(data.id);
    if ("codes" in data) resolve(data.codes);
    else reject(new Error(data.problem));
  };
  result.onerror = () => {
    worker = null; // the next picture starts another one
    for (const { reject } of waiting.values()) reject(new Error("the decoder stopped"));
    waiting.clear();
  };
  return result;
}

/**
 * The codes of a picture, decoded beside the page.
 *
 * The browser's own decoder is not used: one that protects its user against tracking may change the
 * values that a page reads back.
 *
 * @throws Error if the bytes are no picture of codes of this size
 */
export function codesOf(bytes: Uint8Array, rows: number, columns: number): Promise<Codes> {
  worker ??= started();
  const id = ++asked;
  const result = new Promise<Codes>((resolve, reject) => waiting.set(id, { resolve, reject }));
  worker.postMessage({ id, bytes, rows, columns } satisfies Task, [bytes.buffer as ArrayBuffer]);
  return result;
}
