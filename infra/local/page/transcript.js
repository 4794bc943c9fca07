// The column of turns: draws at most once per frame, and keeps the reader's place.

import { isFinal } from "./conversation.js";
import { make, TurnView } from "./turn.js";
import { say } from "./words.js";

/** Nearer to the end than this, the reader follows it. */
const NEAR_END_PX = 64;
/** Nearer to the start than this, older turns are loaded. */
const NEAR_TOP_PX = 300;
/** Drawing may take at most one part in this of the time. */
const DRAW_SHARE = 4;

/** `actions` maps `data-act` names to functions of a turn; `announce(text)` speaks; `reachedTop()` wants older turns. */
export class Transcript {
  #column;
  #scroll;
  #toLatest;
  #actions;
  #announce;
  #views = new Map();
  #dirty = new Set();
  #frame = 0;
  #notBeforeMs = 0;
  #follows = true;
  #conversation = null;
  #older;
  #reachedTop;

  constructor({ column, scroll, toLatest, actions, announce, reachedTop }) {
    this.#column = column;
    this.#scroll = scroll;
    this.#toLatest = toLatest;
    this.#actions = actions;
    this.#announce = announce;
    this.#older = make("button", { type: "button", class: "plain older", hidden: "" });
    this.#older.addEventListener("click", reachedTop);
    this.#reachedTop = reachedTop;
    scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    toLatest.addEventListener("click", () => this.toEnd({ smoothly: true }));
    column.addEventListener("click", (event) => this.#clicked(event));
    column.addEventListener("sparkle:grown", () => this.#follows && this.#stick());
    new ResizeObserver(() => this.#follows && this.#stick()).observe(scroll);
  }

  /** Shows a conversation, or what changed in its list of turns. */
  show(conversation) {
    const isAnother = this.#conversation !== conversation;
    this.#conversation = conversation;
    const anchor = isAnother ? null : this.#anchor();
    this.#older.hidden = !conversation.nextBefore && !(conversation.loading && conversation.turns.length === 0);
    this.#older.disabled = conversation.loading;
    this.#older.textContent = conversation.loading ? say("loading") : say("loadEarlier");
    const wanted = conversation.turns.map((turn) => this.#view(turn));
    for (const view of wanted) view.draw();
    const kept = new Set(wanted);
    for (const [turn, view] of this.#views) if (!kept.has(view)) this.#views.delete(turn);
    this.#arrange([this.#older, ...wanted.map((view) => view.element)]);
    if (isAnother || this.#follows) this.toEnd({});
    else if (anchor) this.#scroll.scrollTop += anchor.element.getBoundingClientRect().top - anchor.top;
  }

  /** Draws a turn with the next frame. */
  changed(turn) {
    if (!this.#views.has(turn)) return;
    this.#dirty.add(turn);
    this.#frame ||= requestAnimationFrame((nowMs) => this.#draw(nowMs));
  }

  /** Draws all anew, in the present language. */
  redraw() {
    this.#views.clear();
    const conversation = this.#conversation;
    if (conversation) this.show(conversation);
  }

  /** Goes to the newest turn and follows it from now on. */
  toEnd({ smoothly = false }) {
    this.#follows = true;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#scroll.scrollTo({ top: this.#scroll.scrollHeight, behavior: smoothly && !calm ? "smooth" : "instant" });
    this.#toLatest.hidden = true;
  }

  #view(turn) {
    let view = this.#views.get(turn);
    if (!view) this.#views.set(turn, (view = new TurnView(turn)));
    return view;
  }

  #arrange(elements) {
    const wanted = new Set(elements);
    for (const child of [...this.#column.children]) if (!wanted.has(child)) child.remove();
    let place = this.#column.firstChild;
    for (const element of elements) {
      if (element === place) place = place.nextSibling;
      else this.#column.insertBefore(element, place);
    }
  }

  #draw(nowMs) {
    this.#frame = 0;
    if (nowMs < this.#notBeforeMs) {
      this.#frame = requestAnimationFrame((laterMs) => this.#draw(laterMs));
      return;
    }
    const startMs = performance.now();
    for (const turn of this.#dirty) {
      const view = this.#views.get(turn);
      if (!view) continue;
      const before = view.element.dataset.state;
      view.draw();
      if (isFinal(turn) && before !== "done" && before !== "failed") this.#announce(view.announcement());
      else if (turn.state === "working" && before === "queued") this.#announce(say("started"));
    }
    this.#dirty.clear();
    if (this.#follows) this.#stick();
    this.#notBeforeMs = nowMs + (performance.now() - startMs) * DRAW_SHARE;
  }

  #stick() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    this.#toLatest.hidden = this.#follows;
    if (scrollTop < NEAR_TOP_PX && !this.#follows && !this.#older.hidden && !this.#older.disabled) this.#reachedTop();
  }

  /** The first turn in view and where it is, so that turns put above it do not move it. */
  #anchor() {
    const edge = this.#scroll.getBoundingClientRect().top;
    for (const { element } of this.#views.values()) {
      const { top, bottom } = element.getBoundingClientRect();
      if (element.isConnected && bottom > edge) return { element, top };
    }
    return null;
  }

  #clicked(event) {
    const button = event.target.closest("[data-act]");
    if (!button) return;
    const id = button.closest(".turn")?.dataset.request;
    const turn = this.#conversation?.turns.find((each) => each.requestId === id);
    if (turn) this.#actions[button.dataset.act]?.(turn, button);
  }
}
