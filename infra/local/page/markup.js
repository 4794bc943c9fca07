// Markdown to HTML text, without a DOM. Hides the parser and what the page refuses to take from a model:
// raw HTML, images, and links other than http(s). What comes out is still sanitized before it is shown.

import { Marked } from "./vendor/marked/marked.esm.js";
import { say } from "./words.js";

const HEADING_LEVEL_SHIFT = 2; // the page's own headings come first
const URL_LEAD = /^https?:\/\/[^\s<>"'`\u3000-\u303f\u3400-\u9fff\uff00-\uffef]+/i;

/** Text as HTML. */
export function escapeHtml(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** The address if it is an absolute http(s) one, else null. */
export function safeHref(href) {
  try {
    const url = new URL(href);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

function link(href, inner) {
  const safe = safeHref(href);
  return safe ? `<a href="${escapeHtml(safe)}" target="_blank" rel="noopener noreferrer">${inner}</a>` : inner;
}

const renderer = {
  image: ({ href, text }) => link(href, escapeHtml(say("imageNote", { alt: text || href }))),
  link({ href, tokens }) {
    return link(href, this.parser.parseInline(tokens));
  },
  heading({ tokens, depth }) {
    const level = Math.min(depth + HEADING_LEVEL_SHIFT, 6);
    return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
  },
  code({ text, lang }) {
    const name = /^[\w+#.-]{1,24}/.exec(lang ?? "")?.[0] ?? "";
    return `<pre><code${name ? ` class="language-${name}"` : ""}>${escapeHtml(text)}</code></pre>\n`;
  },
  checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
};

const tokenizer = {
  // HTML is text like any other; only a line break, which models write into table cells, is taken.
  html: () => undefined,
  tag(source) {
    const raw = /^<br\s*\/?>/i.exec(source)?.[0];
    return raw ? { type: "br", raw } : undefined;
  },
  // One tilde is a range in Chinese ("3~5 个"), not a deletion.
  del(source) {
    return /^~~(?=\S)/.test(source) ? false : undefined;
  },
  // An address ends where Chinese text begins.
  url(source) {
    const raw = URL_LEAD.exec(source)?.[0].replace(/[.,:;!?)\]*_~]+$/, "");
    return raw ? { type: "link", raw, text: raw, href: raw, tokens: [{ type: "text", raw, text: raw }] } : undefined;
  },
};

// CommonMark does not see `**注意：**后面` as bold, since its rules for what ends emphasis rely on spaces.
const strong = {
  name: "strong",
  level: "inline",
  start: (source) => source.indexOf("**"),
  tokenizer(source) {
    const match = /^\*\*(?![\s*])([^*\n]*[^*\s])\*\*(?!\*)/.exec(source);
    if (!match) return undefined;
    return { type: "strong", raw: match[0], text: match[1], tokens: this.lexer.inlineTokens(match[1]) };
  },
  childTokens: ["tokens"],
};

const marked = new Marked({ gfm: true, breaks: true, renderer, tokenizer, extensions: [strong] });

/** The top-level blocks of a text; their `raw` texts joined are the text. */
export function blocks(text) {
  return marked.lexer(text);
}

/** Calls `visit` for each token of a block. */
export function walk(block, visit) {
  marked.walkTokens([block], visit);
}

/** The HTML of one block. */
export function blockHtml(block) {
  return marked.parser([block]);
}
