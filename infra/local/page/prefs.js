// What the page remembers for the learner on this device: choices, the draft, which answers were replaced.

const HIDDEN_MAX = 300;

/** The kept value, or null; also where storage is blocked. */
export function recall(name) {
  try {
    return localStorage.getItem(`sparkle.${name}`);
  } catch {
    return null;
  }
}

/** Keeps a value; an empty one is forgotten. */
export function remember(name, value) {
  try {
    if (value) localStorage.setItem(`sparkle.${name}`, value);
    else localStorage.removeItem(`sparkle.${name}`);
  } catch {
    // Storage is blocked or full: the choice lasts as long as the page.
  }
}

/** Request ids of answers that the learner had answered again; history still has them. */
export class Hidden {
  #ids;

  constructor() {
    this.#ids = new Set((recall("hidden") ?? "").split(" ").filter(Boolean));
  }

  has(requestId) {
    return this.#ids.has(requestId);
  }

  add(requestId) {
    this.#ids.add(requestId);
    remember("hidden", [...this.#ids].slice(-HIDDEN_MAX).join(" "));
  }
}
