// Elements of the page.

export function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found as T;
}

/** A new element with text and attributes. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  text = "",
  attributes: Record<string, string> = {},
): HTMLElementTagNameMap[K] {
  const created = document.createElement(tag);
  created.textContent = text;
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
  return created;
}

/** Show a text in an element, which is hidden without one. */
export function say(target: HTMLElement, text: string): void {
  target.textContent = text;
  target.hidden = text === "";
}

const drawn = new WeakMap<HTMLElement, string>();

/** Replace what is in an element, unless it is made of the same values as before: focus stays. */
export function redraw(target: HTMLElement, values: unknown, build: () => HTMLElement[]): void {
  const key = JSON.stringify(values);
  if (drawn.get(target) === key) return;
  drawn.set(target, key);
  target.replaceChildren(...build());
}
