// The message box: its height, keys, size limit and draft, and the button that sends or stops.

import { sizeOf } from "./outbox.js";
import { recall, remember } from "./prefs.js";
import { icon } from "./turn.js";
import { say } from "./words.js";

/** From this share of the limit on, the size is shown. */
const SIZE_SHOWN_SHARE = 0.75;
const DRAFT_DELAY_MS = 400;

/** `send(text)` and `stop()` are called by button and keys. */
export class Composer {
  #box;
  #button;
  #hint;
  #on;
  #isRunning = false;
  #draftTimer = 0;

  constructor({ form, box, button, hint }, on) {
    this.#box = box;
    this.#button = button;
    this.#hint = hint;
    this.#on = on;
    box.value = recall("draft") ?? "";
    box.addEventListener("input", () => this.#changed());
    box.addEventListener("keydown", (event) => this.#pressed(event));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#go();
    });
    form.addEventListener("click", (event) => event.target === form && box.focus());
    this.#changed();
  }

  /** Whether an answer is on its way: the button stops it unless something is written. */
  set isRunning(isRunning) {
    this.#isRunning = isRunning;
    this.#drawButton();
  }

  /** Puts text in place of, or after, what is written, and the cursor behind it. */
  write(text) {
    const kept = this.#box.value.trim();
    this.#box.value = kept && kept !== text ? `${kept}\n${text}` : text;
    this.#changed();
    this.focus();
  }

  focus() {
    this.#box.focus({ preventScroll: true });
  }

  /** Draws the words anew, in the present language. */
  redraw() {
    this.#changed();
  }

  #pressed(event) {
    // While an input method composes, Enter chooses a word; some browsers tell it by the key code only.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      if (this.#text()) this.#go();
    } else if (event.key === "Escape" && this.#isRunning) {
      this.#on.stop();
    }
  }

  #text() {
    return this.#box.value.trim();
  }

  #go() {
    const text = this.#text();
    if (!text) {
      if (this.#isRunning) this.#on.stop();
      return;
    }
    if (isTooLong(text)) return;
    this.#box.value = "";
    this.#changed();
    this.#on.send(text);
  }

  #changed() {
    this.#box.style.height = "auto";
    this.#box.style.height = `${this.#box.scrollHeight}px`;
    this.#drawSize();
    this.#drawButton();
    clearTimeout(this.#draftTimer);
    this.#draftTimer = setTimeout(() => remember("draft", this.#box.value), DRAFT_DELAY_MS);
  }

  #drawSize() {
    const { usedBytes, limitBytes } = sizeOf(this.#text());
    const isOver = usedBytes > limitBytes;
    const isNear = usedBytes > limitBytes * SIZE_SHOWN_SHARE;
    const values = { used: usedBytes.toLocaleString("en-US"), limit: limitBytes.toLocaleString("en-US") };
    this.#hint.textContent = isOver ? say("tooLong", values) : isNear ? say("bytes", values) : say("hint");
    this.#hint.classList.toggle("is-wrong", isOver);
    this.#hint.classList.toggle("is-shown", isNear);
    this.#box.setAttribute("aria-invalid", String(isOver));
  }

  #drawButton() {
    const text = this.#text();
    const stops = this.#isRunning && !text;
    const name = stops ? "stop" : "send";
    if (this.#button.dataset.name !== name) this.#button.replaceChildren(icon(name));
    this.#button.dataset.name = name;
    this.#button.dataset.sayAriaLabel = name;
    this.#button.setAttribute("aria-label", say(name));
    this.#button.title = say(name);
    this.#button.disabled = !stops && (!text || isTooLong(text));
  }
}

function isTooLong(text) {
  const { usedBytes, limitBytes } = sizeOf(text);
  return usedBytes > limitBytes;
}
