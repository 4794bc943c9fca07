// The list of conversations: grouped by day, renamed in place, deleted after a question.

import { icon, make } from "./turn.js";
import { say } from "./words.js";

const DAY_MS = 86_400_000;
/** The server's limit of a title. */
const TITLE_BYTES_MAX = 200;
const TITLE_SHOWN_CHARS = 60;

/** A title for a conversation that has none: the start of its first question. */
export function titleOf(conversation, entry) {
  const first = conversation?.turns.find((turn) => turn.question)?.question ?? "";
  return entry?.title || conversation?.title || first.replace(/\s+/g, " ").slice(0, TITLE_SHOWN_CHARS) || say("untitled");
}

/** `on.open(key)`, `on.rename(sessionId, title)`, `on.remove(sessionId, title)`, `on.more()`. */
export class Sidebar {
  #list;
  #on;
  #editing = "";

  constructor(list, on) {
    this.#list = list;
    this.#on = on;
    list.addEventListener("click", (event) => this.#clicked(event));
  }

  /** `unnamed` are conversations without a session yet; `sessions` the stored ones. */
  show({ unnamed, sessions, currentKey }) {
    if (this.#editing) return; // drawn again when the edit ends
    const focused = document.activeElement?.closest?.("#list [data-key]")?.dataset.key;
    const groups = new Map();
    const add = (group, node) => groups.set(group, [...(groups.get(group) ?? []), node]);
    for (const conversation of unnamed) add("today", this.#item(conversation.key, titleOf(conversation), currentKey, null));
    for (const entry of sessions.entries) {
      add(groupOf(entry.updated_at), this.#item(entry.session_id, titleOf(null, entry), currentKey, entry));
    }
    const nodes = [...groups].map(([group, items]) => make("section", {}, make("h2", {}, say(group)), make("ul", {}, ...items)));
    if (nodes.length === 0 && sessions.isLoaded) nodes.push(make("p", { class: "empty" }, say("noConversations")));
    if (sessions.nextBefore) nodes.push(make("button", { type: "button", class: "plain more", "data-act": "more" }, say("moreConversations")));
    this.#list.replaceChildren(...nodes);
    if (focused) this.#list.querySelector(`[data-key="${CSS.escape(focused)}"] .open`)?.focus({ preventScroll: true });
  }

  #item(key, title, currentKey, entry) {
    const isCurrent = key === currentKey;
    const open = make("button", { type: "button", class: "open", "data-act": "open", "aria-current": isCurrent ? "true" : null, title }, title);
    const tool = (act, name, label) => make("button", { type: "button", class: "tool small", "data-act": act, "aria-label": `${say(label)}: ${title}`, title: say(label) }, icon(name));
    const tools = entry ? [tool("rename", "edit", "rename"), tool("remove", "trash", "remove")] : [];
    return make("li", { "data-key": key, class: isCurrent ? "is-current" : null }, open, ...tools);
  }

  #clicked(event) {
    const button = event.target.closest("[data-act]");
    if (!button) return;
    const item = button.closest("[data-key]");
    const key = item?.dataset.key;
    const title = item?.querySelector(".open")?.textContent ?? "";
    if (button.dataset.act === "more") this.#on.more();
    else if (button.dataset.act === "open") this.#on.open(key);
    else if (button.dataset.act === "remove") this.#on.remove(key, title);
    else this.#edit(item, key, title);
  }

  #edit(item, key, title) {
    const input = make("input", { class: "rename", "aria-label": say("renameLabel"), maxlength: TITLE_BYTES_MAX });
    input.value = title;
    this.#editing = key;
    const end = (isKept) => {
      if (this.#editing !== key) return;
      this.#editing = "";
      const next = fitting(input.value.trim());
      this.#on.rename(key, isKept && next && next !== title ? next : null);
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Enter") {
        event.preventDefault(); // else it would press the button that takes the input's place
        end(true);
      }
      if (event.key === "Escape") {
        event.stopPropagation();
        end(false);
      }
    });
    input.addEventListener("blur", () => end(true));
    item.replaceChildren(input);
    input.select();
  }
}

/** As much of a title as fits the server's limit in bytes. */
export function fitting(title) {
  let letters = [...title];
  while (new TextEncoder().encode(letters.join("")).length > TITLE_BYTES_MAX) letters = letters.slice(0, -1);
  return letters.join("");
}

function groupOf(updatedAtMs, nowMs = Date.now()) {
  const today = new Date(nowMs).setHours(0, 0, 0, 0);
  if (updatedAtMs >= today) return "today";
  if (updatedAtMs >= today - DAY_MS) return "yesterday";
  return updatedAtMs >= today - 6 * DAY_MS ? "week" : "earlier";
}
