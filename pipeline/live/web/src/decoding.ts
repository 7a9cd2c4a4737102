// Asks the worker to decode pictures.

/** The codes of a frame, row by row from north to south. */
export type Codes = Uint8Array;

export interface Task {
  id: number;
  bytes: Uint8Array;
  rows: number;
  columns: number;
  /** number of the only pixel that is wanted; undefined: all */
  pixel: number | undefined;
}

export type Answer = { id: number; codes: Codes } | { id: number; problem: string };

interface Waiting {
  resolve: (codes: Codes) => void;
  reject: (error: Error) => void;
}

/** A worker and what it was asked for. */
class Decoder {
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;
  private worker: Worker | null = null;

  decode(bytes: Uint8Array, rows: number, columns: number, pixel?: number): Promise<Codes> {
    this.worker ??= this.started();
    const id = ++this.asked;
    const result = new Promise<Codes>((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    const task: Task = { id, bytes, rows, columns, pixel };
    this.worker.postMessage(task, [bytes.buffer as ArrayBuffer]);
    return result;
  }

  private started(): Worker {
    const result = new Worker(new URL("decoder.js", import.meta.url), { type: "module" });
    result.onmessage = ({ data }: MessageEvent<Answer>) => {
      const { resolve, reject } = this.waiting.get(data.id)!;
      this.waiting.delete(data.id);
      if ("codes" in data) resolve(data.codes);
      else reject(new Error(data.problem));
    };
    result.onerror = () => {
      this.worker = null; // the next picture starts another one
      for (const { reject } of this.waiting.values()) reject(new Error("the decoder stopped"));
      this.waiting.clear();
    };
    return result;
  }
}

const pictures = new Decoder();
const pixels = new Decoder(); // all times of a place, which the map does not wait for

/**
 * The codes of a picture, decoded beside the page.
 *
 * The browser's own decoder is not used: one that protects its user against tracking may change the
 * values that a page reads back.
 *
 * @throws Error if the bytes are no picture of codes of this size
 */
export function codesOf(bytes: Uint8Array, rows: number, columns: number): Promise<Codes> {
  return pictures.decode(bytes, rows, columns);
}

/**
 * The code of one pixel of a picture; the other pixels do not stay in memory.
 *
 * @throws Error as `codesOf`
 */
export async function codeOf(
  bytes: Uint8Array,
  rows: number,
  columns: number,
  pixel: number,
): Promise<number> {
  return (await pixels.decode(bytes, rows, columns, pixel))[0]!;
}
