// Shows a model's text, finished or still growing. Hides sanitizing, formulas, and that a growing text is not
// rendered anew: finished blocks stay as they are, only the last ones are made again.

import "./vendor/dompurify/purify.min.js";
import { blockHtml, blocks, walk } from "./markup.js";
import { extractMath, restoreMath, splitMath } from "./math.js";
import { presentable } from "./partial.js";
import { say } from "./words.js";

/** Blocks at the end that later text may still change. */
const OPEN_BLOCKS = 2;
const FORMULAS_CACHED_MAX = 600;
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;
const TAGS = "p br strong em del code pre ul ol li blockquote hr a h3 h4 h5 h6 table thead tbody tr th td".split(" ");
const CLEAN = {
  ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "target", "rel", "start", "align", "class"], ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false,
  // Without the second line every attribute would have to look like an address.
  ALLOWED_URI_REGEXP: /^https?:\/\//i, ADD_URI_SAFE_ATTR: ["target", "rel", "start", "align"], RETURN_DOM_FRAGMENT: true,
};
const KATEX = { throwOnError: false, trust: false, strict: "ignore", maxSize: 20, maxExpand: 300, errorColor: "currentColor" };

const purify = globalThis.DOMPurify;
const formulaCache = new Map();
let katex = null;
let katexLoading = null;

/** Loads the formula renderer, which is larger than the rest of the page and needed only for formulas. */
export function loadMath() {
  katexLoading ??= (async () => {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: "vendor/katex/katex.min.css" });
    document.head.append(style);
    try {
      await import("./vendor/katex/katex.min.js");
      await import("./vendor/katex/mhchem.min.js");
      katex = globalThis.katex;
    } catch {
      katexLoading = null; // the network broke: tried again with the next formula
      style.remove();
    }
  })();
  return katexLoading;
}

/** A text shown in `element`. */
export class Prose {
  #element;
  #text = "";
  #source = "";
  #length = "whole";
  /** Length of the source whose blocks are finished. */
  #settled = 0;
  /** The blocks after that: `{ raw, nodes }`. */
  #open = [];
  #awaitsMath = false;

  constructor(element) {
    this.#element = element;
  }

  /**
   * Shows `text`, which is "growing", "whole", or "cut": stopped in the middle, so that what it opened is closed.
   * Cheap if it continues what is shown.
   */
  show(text, length) {
    if (text === this.#text && length === this.#length) return;
    this.#text = text;
    this.#length = length;
    const isGrowing = length === "growing";
    const source = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    const continues = source.startsWith(this.#source.slice(0, this.#settled));
    const needsAll = !isGrowing && DEFINITION.test(source); // a link's address may be defined at the end
    if (!continues || needsAll) this.#reset();
    this.#source = source;
    const tail = source.slice(this.#settled);
    const shown = length === "whole" ? { text: tail, isHeld: false } : presentable(tail);
    const { text: safe, formulas } = extractMath(shown.text);
    this.#reconcile(blocks(safe), formulas, isGrowing);
    this.#element.classList.toggle("is-writing-math", isGrowing && shown.isHeld);
  }

  #reset() {
    this.#element.replaceChildren();
    this.#settled = 0;
    this.#open = [];
  }

  #reconcile(tokens, formulas, isGrowing) {
    const raws = tokens.map((token) => restoreMath(token.raw, formulas));
    let same = 0;
    while (same < this.#open.length && same < raws.length && this.#open[same].raw === raws[same]) same += 1;
    if (same < this.#open.length && same < tokens.length && this.#extend(this.#open[same], tokens[same], formulas)) {
      this.#open[same].raw = raws[same];
      same += 1;
    }
    for (const block of this.#open.splice(same)) block.nodes.forEach((node) => node.remove());
    for (let index = same; index < tokens.length; index += 1) {
      const fragment = this.#build(tokens[index], formulas);
      const nodes = [...fragment.childNodes];
      this.#element.append(fragment);
      this.#open.push({ raw: raws[index], nodes, parts: partsOf(tokens[index], formulas) });
    }
    if (isGrowing) this.#settle();
  }

  /** A long list or table that goes on keeps its first items or rows. False if the block is no such thing. */
  #extend(block, token, formulas) {
    const parts = partsOf(token, formulas);
    if (!parts || parts.kind !== block.parts?.kind) return false;
    const place = partsPlace(block.nodes[0]);
    if (!place) return false;
    let kept = 0;
    while (kept < parts.texts.length && parts.texts[kept] === block.parts.texts[kept]) kept += 1;
    while (place.children.length > kept) place.lastElementChild.remove();
    if (kept < parts.texts.length) {
      const rest = token.type === "list" ? { ...token, items: token.items.slice(kept) } : { ...token, rows: token.rows.slice(kept) };
      place.append(...partsPlace(this.#build(rest, formulas).firstElementChild).children);
    }
    block.parts = parts;
    return true;
  }

  #settle() {
    const filled = this.#open.filter((block) => block.nodes.length > 0);
    const keepFrom = this.#open.indexOf(filled.at(-OPEN_BLOCKS));
    for (const block of this.#open.splice(0, Math.max(keepFrom, 0))) this.#settled += block.raw.length;
  }

  #build(token, formulas) {
    walk(token, (each) => {
      if (each.type === "link" || each.type === "image") each.href = restoreMath(each.href, formulas);
      if (each.type === "code" || each.type === "codespan") each.text = restoreMath(each.text, formulas);
    });
    const html = blockHtml(token);
    const fragment = purify.sanitize(html, CLEAN);
    if (formulas.length > 0) this.#placeFormulas(fragment, formulas);
    for (const pre of fragment.querySelectorAll("pre")) frameCode(pre);
    for (const table of fragment.querySelectorAll("table")) frameTable(table);
    return fragment;
  }

  #placeFormulas(fragment, formulas) {
    const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) if (walker.currentNode.data.includes("\uE000")) texts.push(walker.currentNode);
    for (const text of texts) {
      const parts = splitMath(text.data, formulas);
      text.replaceWith(...parts.map((part) => (typeof part === "string" ? part : this.#formula(part))));
    }
  }

  #formula(formula) {
    if (!katex) this.#showMathLater();
    return formulaNode(formula);
  }

  async #showMathLater() {
    if (this.#awaitsMath) return;
    this.#awaitsMath = true;
    await loadMath();
    this.#awaitsMath = false;
    if (!katex) return;
    const text = this.#text;
    this.#reset();
    this.#text = "";
    this.show(text, this.#length);
    this.#element.dispatchEvent(new CustomEvent("sparkle:grown", { bubbles: true }));
  }
}

/** What a list or table is made of: `texts` of its items or rows, and `kind`, which they share; else null. */
function partsOf(token, formulas) {
  if (token.type === "list") {
    const { ordered, start, loose, items } = token;
    return { kind: `list ${ordered} ${start} ${loose}`, texts: items.map(({ raw }) => restoreMath(raw, formulas)) };
  }
  if (token.type !== "table") return null;
  const textOf = (cells) => restoreMath(cells.map(({ text }) => text).join("|"), formulas);
  return { kind: `table ${token.align.join()} ${textOf(token.header)}`, texts: token.rows.map(textOf) };
}

function partsPlace(node) {
  return node?.matches?.("ul, ol") ? node : (node?.querySelector?.("tbody") ?? null);
}

/** Shows a learner's text as it was written, but for its formulas. */
export async function showQuestion(element, text) {
  const { text: safe, formulas } = extractMath(text);
  const draw = () => element.replaceChildren(...splitMath(safe, formulas).map((part) => part.raw ? formulaNode(part) : part));
  draw();
  if (formulas.length === 0 || katex) return;
  await loadMath();
  draw();
}

function formulaNode({ tex, display, raw }) {
  const key = `${display ? "D" : "I"}${tex}`;
  const cached = formulaCache.get(key);
  if (cached) return cached.cloneNode(true);
  const span = document.createElement("span");
  span.className = display ? "formula formula-display" : "formula";
  if (!katex) {
    span.textContent = raw;
    return span;
  }
  if (display) span.tabIndex = 0; // long ones scroll, also by keyboard
  try {
    katex.render(tex, span, { ...KATEX, displayMode: display });
  } catch {
    span.textContent = raw; // nested too deeply
  }
  if (formulaCache.size >= FORMULAS_CACHED_MAX) formulaCache.delete(formulaCache.keys().next().value);
  formulaCache.set(key, span.cloneNode(true));
  return span;
}

function frameCode(pre) {
  const code = pre.querySelector("code");
  const name = /language-(\S+)/.exec(code?.className ?? "")?.[1] ?? "";
  const frame = document.createElement("div");
  frame.className = "code";
  const bar = document.createElement("div");
  bar.className = "code-bar";
  const label = Object.assign(document.createElement("span"), { textContent: name || say("codeBlock") });
  const copy = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: say("copy") });
  copy.dataset.act = "copy-code";
  copy.setAttribute("aria-label", say("copyCode"));
  bar.append(label, copy);
  pre.tabIndex = 0;
  pre.replaceWith(frame);
  frame.append(bar, pre);
}

function frameTable(table) {
  const frame = document.createElement("div");
  frame.className = "table";
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", say("table"));
  table.replaceWith(frame);
  frame.append(table);
}
