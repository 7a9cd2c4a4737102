// The bar of times: slider, play, valid time, where now is.

import { element, make } from "./dom.ts";
import { positionOf, type Step } from "./timeline.ts";
import { bothClocks, clock, date, MINUTE } from "./times.ts";

const PLAY_MS = 450;
const PAUSE_STEPS = 3; // at the end, before it begins again

export class TimeBar {
  private readonly slider = element<HTMLInputElement>("slider");
  private readonly button = element<HTMLButtonElement>("play");
  private timer: number | undefined;
  private waited = 0;

  /** @param choose is called with the index of the step that the user wants */
  constructor(private readonly choose: (index: number) => void) {
    this.slider.addEventListener("input", () => {
      this.pause();
      choose(Number(this.slider.value));
    });
    this.button.addEventListener("click", () => this.toggle());
    element("back").addEventListener("click", () => this.move(-1));
    element("forward").addEventListener("click", () => this.move(1));
  }

  get isPlaying(): boolean {
    return this.timer !== undefined;
  }

  /** Show which times there are. */
  setSteps(steps: Step[], reference: number): void {
    this.slider.max = String(Math.max(0, steps.length - 1));
    const parts = steps.map((step) => {
      const part = make("span", "", { class: step.kind });
      if ((step.time / MINUTE) % 30 === 0) part.append(make("i", clock(step.time, undefined)));
      if (step.time === reference) part.classList.add("reference");
      return part;
    });
    element("track-parts").replaceChildren(...parts);
  }

  /** Show which time is chosen. */
  setIndex(step: Step, index: number, reference: number): void {
    this.slider.value = String(index);
    const minutes = Math.round((step.time - reference) / MINUTE);
    const kind = step.kind === "observed" ? "observed" : `forecast +${minutes} min`;
    const [valid, about] = element("time").children;
    valid!.textContent = bothClocks(step.time, undefined);
    about!.textContent = `${date(step.time, undefined)} · ${kind}`;
    this.slider.setAttribute("aria-valuetext", `${bothClocks(step.time, undefined)}, ${kind}`);
  }

  markNow(steps: Step[], now: number): void {
    const position = positionOf(steps, now);
    const mark = element("now-mark");
    mark.hidden = position === null;
    mark.style.setProperty("--position", String(position ?? 0));
  }

  setDisabled(isDisabled: boolean): void {
    element("timeline").classList.toggle("disabled", isDisabled);
    for (const name of ["slider", "play", "back", "forward"]) {
      element<HTMLInputElement>(name).disabled = isDisabled;
    }
    if (isDisabled) this.pause();
  }

  move(by: number): void {
    if (this.slider.disabled) return;
    this.pause();
    const index = Number(this.slider.value) + by;
    if (index >= 0 && index <= Number(this.slider.max)) this.choose(index);
  }

  toggle(): void {
    if (this.slider.disabled) return;
    if (this.isPlaying) this.pause();
    else {
      this.timer = window.setInterval(() => this.tick(), PLAY_MS);
      this.label("Pause", "❚❚");
    }
  }

  pause(): void {
    window.clearInterval(this.timer);
    this.timer = undefined;
    this.label("Play", "▶");
  }

  private tick(): void {
    const [index, last] = [Number(this.slider.value), Number(this.slider.max)];
    if (index < last) this.choose(index + 1);
    else if (++this.waited > PAUSE_STEPS) {
      this.waited = 0;
      this.choose(0);
    }
  }

  private label(words: string, sign: string): void {
    this.button.setAttribute("aria-label", words);
    this.button.textContent = sign;
  }
}
