// Draws one turn: the question, the answer, its state, usage and actions.

import { formatCost, isFinal, isRunning, RATING_BAD } from "./conversation.js";
import { Prose, showQuestion } from "./prose.js";
import { currentLanguage, say } from "./words.js";

const ANNOUNCED_CHARS_MAX = 400;
/** The states that have words; those of later releases are shown as "generating". */
const STATUSES = new Set(["thinking", "retrieving", "generating", "tool", "async_tool", "agent"]);

/** An element with text and attributes; `null` children are left out. */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** An icon of the sprite in the page. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** The drawn form of a turn. `draw()` brings it up to the turn's present state. */
export class TurnView {
  #prose;
  #parts;
  #question = "";
  #footKey = "";
  #noteKey = "";
  #countdown = 0;

  constructor(turn) {
    this.turn = turn;
    const bubble = make("div", { class: "bubble", dir: "auto" });
    const note = make("div", { class: "note" });
    const prose = make("div", { class: "prose", dir: "auto" });
    const failure = make("div", { class: "failure", hidden: "" });
    const foot = make("div", { class: "foot" });
    const question = make("div", { class: "question" }, make("h2", { class: "unseen" }, say("you")), bubble, note);
    const answer = make("div", { class: "answer" }, make("h3", { class: "unseen" }, say("answer")), prose, failure, foot);
    this.element = make("article", { class: "turn", "data-request": turn.requestId }, question, answer);
    this.#parts = { question, bubble, note, answer, prose, failure, foot };
    this.#prose = new Prose(prose);
    this.draw();
  }

  draw() {
    const { turn } = this;
    const { question, bubble, answer, prose, foot } = this.#parts;
    if (turn.question !== this.#question) showQuestion(bubble, turn.question);
    this.#question = turn.question;
    question.hidden = !turn.question;
    // A question just sent looks like one being answered, so that nothing moves when its `ack` comes.
    const isWaiting = turn.state === "queued" && (!turn.isUnderWay || Boolean(turn.isUnanswered));
    this.element.classList.toggle("is-waiting", isWaiting);
    answer.hidden = isWaiting && !turn.answer;
    prose.setAttribute("aria-busy", String(isRunning(turn)));
    prose.lang = /[\u3400-\u9fff]/.test(turn.answer) ? "zh-CN" : "en";
    this.element.dataset.state = turn.state;
    this.#prose.show(turn.answer, lengthOf(turn));
    this.#drawNote(isWaiting);
    this.#drawFailure();
    const key = JSON.stringify([turn.state, turn.status, turn.progress, turn.cancelWanted, turn.isUnderWay, turn.usage, turn.done, turn.firstTextMs, turn.rating, currentLanguage()]);
    if (key !== this.#footKey) foot.replaceChildren(...(isFinal(turn) ? this.#outcome() : this.#progress()));
    this.#footKey = key;
  }

  /** What a screen reader is told when the turn ends. */
  announcement() {
    const { turn } = this;
    if (turn.state === "failed") return say("failed", { text: this.#failureWords() });
    return say("finished", { text: this.#parts.prose.textContent.slice(0, ANNOUNCED_CHARS_MAX) });
  }

  #drawNote(isWaiting) {
    const word = this.turn.isUnderWay ? "unanswered" : "queued";
    const key = isWaiting ? word + currentLanguage() : "";
    if (key === this.#noteKey) return;
    this.#noteKey = key;
    const takeBack = make("button", { type: "button", class: "quiet", "data-act": "take-back" }, say("discard"));
    this.#parts.note.replaceChildren(...(isWaiting ? [make("span", {}, say(word)), takeBack] : []));
  }

  #progress() {
    const { turn } = this;
    if (turn.state === "lost") {
      return [make("span", {}, say("lost")), make("button", { type: "button", class: "plain", "data-act": "check" }, say("checkAgain"))];
    }
    let words = say(STATUSES.has(turn.status) ? turn.status : turn.status ? "generating" : "waitingTurn");
    if (turn.state === "queued") words = say("sending");
    if (turn.state === "recovering") words = say("stillWorking");
    if (turn.cancelWanted) words = say("stopping");
    if (turn.progress && turn.status === "async_tool") words += ` · ${turn.progress}`;
    return [make("span", { class: "pulse", "aria-hidden": "true" }), make("span", {}, words)];
  }

  #outcome() {
    const { turn } = this;
    const items = [];
    const action = (act, name, label, more = {}) => make("button", { type: "button", class: "tool small", "data-act": act, "aria-label": say(label), title: say(label), ...more }, icon(name));
    if (turn.answer) items.push(action("copy", "copy", "copy"));
    if (turn.question && turn.state === "done") items.push(action("again", "again", "regenerate"));
    // The server knows the answers of a day.
    if (turn.answer && turn.state === "done" && !turn.stored) {
      items.push(action("good", "good", "good", { "aria-pressed": String(turn.rating > RATING_BAD) }));
      items.push(action("bad", "bad", "bad", { "aria-pressed": String(turn.rating === RATING_BAD) }));
    }
    const facts = [...outcomeWords(turn), ...usageWords(turn)];
    if (facts.length > 0) {
      items.push(make("span", { class: "facts", "aria-label": say("usageLabel") }, ...facts.map((fact) => make("span", {}, fact))));
    }
    return items;
  }

  #failureWords() {
    const { error } = this.turn;
    if (error?.code === "EXPIRED") return say("expired");
    return error?.message || say("oops");
  }

  #drawFailure() {
    const { failure } = this.#parts;
    const isFailed = this.turn.state === "failed";
    if (isFailed !== failure.hidden) return; // already as it should be
    failure.hidden = !isFailed;
    clearInterval(this.#countdown);
    if (!isFailed) return;
    failure.replaceChildren(make("span", { class: "failure-words" }, this.#failureWords()));
    if (!this.turn.error?.retryable) return;
    const retry = make("button", { type: "button", class: "plain", "data-act": "retry" }, say("retry"));
    failure.append(retry);
    this.#countDown(retry, Date.now() + Number(this.turn.error.retry_after_ms ?? 0));
  }

  #countDown(retry, readyAtMs) {
    const tick = () => {
      const seconds = Math.ceil((readyAtMs - Date.now()) / 1000);
      retry.disabled = seconds > 0;
      retry.textContent = seconds > 0 ? say("retryIn", { seconds }) : say("retry");
      if (seconds <= 0 || !retry.isConnected) clearInterval(this.#countdown);
    };
    this.#countdown = setInterval(tick, 1000);
    retry.disabled = readyAtMs > Date.now();
    requestAnimationFrame(tick);
  }
}

/** Whether more of the answer is to come, or it ends where nobody meant it to. */
function lengthOf(turn) {
  if (!isFinal(turn) && turn.state !== "lost") return "growing";
  const isCut = turn.state !== "done" || ["cancelled", "length"].includes(turn.done?.finish_reason);
  return isCut ? "cut" : "whole";
}

function outcomeWords({ done }) {
  const words = [];
  if (["cancelled", "length", "blocked"].includes(done?.finish_reason)) words.push(say(done.finish_reason));
  if (done?.cache === "exact" || done?.cache === "semantic") words.push(say("fromCache"));
  if (done?.cache === "fallback") words.push(say("fromFallback"));
  return words;
}

function usageWords({ usage, firstTextMs }) {
  const count = (n) => Number(n).toLocaleString("en-US");
  const words = [];
  if (usage) {
    const cached = usage.cached_tokens ? ` (${say("cached", { n: count(usage.cached_tokens) })})` : "";
    words.push(say("tokensIn", { n: count(usage.prompt_tokens ?? 0) }) + cached);
    words.push(say("tokensOut", { n: count(usage.completion_tokens ?? 0) }));
    if (usage.saved_tokens) words.push(say("saved", { n: count(usage.saved_tokens) }));
    words.push(formatCost(usage.cost_microusd) + (usage.estimated ? ` (${say("estimated")})` : ""));
  }
  if (firstTextMs !== null) words.push(say("firstText", { s: (firstTextMs / 1000).toFixed(firstTextMs < 10_000 ? 2 : 0) }));
  return words;
}
