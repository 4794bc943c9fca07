// Short messages above the message box, which go away by themselves.

import { icon, make } from "./turn.js";
import { say } from "./words.js";

const SHOWN_MS = 7_000;
const SHOWN_MAX = 3;

export class Notices {
  #place;

  constructor(place) {
    this.#place = place;
  }

  /** Shows `text`; one that is already shown is not repeated. */
  show(text, tone = "plain") {
    const shown = [...this.#place.children];
    if (!text || shown.some((notice) => notice.firstChild.textContent === text)) return;
    if (shown.length >= SHOWN_MAX) shown[0].remove();
    const close = make("button", { type: "button", class: "tool small", "aria-label": say("dismiss") }, icon("close"));
    const notice = make("div", { class: `notice ${tone}` }, make("span", {}, text), close);
    close.addEventListener("click", () => notice.remove());
    this.#place.append(notice);
    setTimeout(() => notice.remove(), SHOWN_MS);
  }
}
