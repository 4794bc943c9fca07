// Finds formulas in Markdown before Markdown sees them, so that `_` and `\` survive. Pure text in, text out.

const OPEN = "\uE000";
const CLOSE = "\uE001";
const PLACE = /\uE000(\d+)\uE001/g;
/** Longer formulas stay text: nobody reads them, and laying them out is slow. */
const FORMULA_CHARS_MAX = 4_000;
const FENCE = /^[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)*(`{3,}|~{3,})/;
const URL_TEXT = /https?:\/\/[^\s<>"'`)）】」。，；]*/y;
const CJK = /[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]/;

/**
 * `{ text, formulas, openAt }`: the text with a placeholder for each formula, the formulas as
 * `{ tex, display, raw }`, and where a formula begins that has no end yet (-1: none), for text still streaming.
 */
export function extractMath(source) {
  const markdown = source.replace(/[\uE000\uE001]/g, "\uFFFD");
  const scan = { markdown, at: 0, copied: 0, text: "", formulas: [], openAt: -1 };
  while (scan.at < markdown.length) {
    if (scan.at === 0 || markdown[scan.at - 1] === "\n") {
      if (skipFence(scan)) continue;
    }
    step(scan);
  }
  scan.text += markdown.slice(scan.copied);
  return { text: scan.text, formulas: scan.formulas, openAt: scan.openAt };
}

/** Puts the source of the formulas back in place of their placeholders. */
export function restoreMath(text, formulas) {
  return text.includes(OPEN) ? text.replace(PLACE, (place, index) => formulas[index]?.raw ?? place) : text;
}

/** Cuts text into strings and formulas, in order. */
export function splitMath(text, formulas) {
  const parts = [];
  let copied = 0;
  for (const match of text.matchAll(PLACE)) {
    const formula = formulas[match[1]];
    if (!formula) continue;
    if (match.index > copied) parts.push(text.slice(copied, match.index));
    parts.push(formula);
    copied = match.index + match[0].length;
  }
  if (copied < text.length) parts.push(text.slice(copied));
  return parts;
}

function step(scan) {
  const { markdown, at } = scan;
  const letter = markdown[at];
  if (letter === "`") skipCode(scan);
  else if (letter === "h" && skipUrl(scan)) return;
  else if (letter === "\\") backslash(scan);
  else if (letter === "$") dollar(scan);
  else scan.at = nextOf(markdown, at + 1);
}

const SPECIAL = /[`\\$\nh]/g;

function nextOf(markdown, from) {
  SPECIAL.lastIndex = from;
  const match = SPECIAL.exec(markdown);
  if (!match) return markdown.length;
  return match[0] === "\n" ? match.index + 1 : match.index;
}

function skipFence(scan) {
  const { markdown, at } = scan;
  const lineEnd = endOfLine(markdown, at);
  const fence = FENCE.exec(markdown.slice(at, lineEnd))?.[1];
  if (!fence || (fence[0] === "`" && markdown.slice(at, lineEnd).split(fence)[1]?.includes("`"))) return false;
  let line = lineEnd + 1;
  while (line < markdown.length) {
    const end = endOfLine(markdown, line);
    const closing = markdown.slice(line, end).replace(/^[ \t>]*/, "").trimEnd();
    if (closing.length >= fence.length && closing === fence[0].repeat(closing.length)) {
      scan.at = end; // the line break is left, so that the next line is seen as one
      if (scan.at < markdown.length) scan.at += 1;
      return true;
    }
    line = end + 1;
  }
  scan.at = markdown.length;
  return true;
}

function skipCode(scan) {
  const { markdown, at } = scan;
  let ticks = 1;
  while (markdown[at + ticks] === "`") ticks += 1;
  const run = new RegExp(`(?<!\`)\`{${ticks}}(?!\`)`, "g");
  run.lastIndex = at + ticks;
  const close = run.exec(markdown);
  const blank = blankLineAfter(markdown, at);
  scan.at = close && close.index < blank ? close.index + ticks : at + ticks;
}

function skipUrl(scan) {
  URL_TEXT.lastIndex = scan.at;
  const match = URL_TEXT.exec(scan.markdown);
  if (match) scan.at += match[0].length;
  else scan.at = nextOf(scan.markdown, scan.at + 1);
  return true;
}

function backslash(scan) {
  const { markdown, at } = scan;
  const opener = markdown[at + 1];
  if (opener !== "(" && opener !== "[") {
    scan.at = markdown[at + 1] === "\n" ? at + 1 : at + 2; // an escape such as `\$`
    return;
  }
  const display = opener === "[";
  const close = markdown.indexOf(display ? "\\]" : "\\)", at + 2);
  const limit = display ? at + FORMULA_CHARS_MAX : blankLineAfter(markdown, at);
  if (close < 0 && limit >= markdown.length) scan.openAt = open(scan, at);
  if (close < 0 || close > limit) scan.at = at + 2;
  else take(scan, at, close + 2, markdown.slice(at + 2, close), display);
}

function dollar(scan) {
  const { markdown, at } = scan;
  if (markdown[at + 1] === "$") {
    const close = markdown.indexOf("$$", at + 2);
    if (close < 0 && at + FORMULA_CHARS_MAX >= markdown.length) scan.openAt = open(scan, at);
    if (close < 0 || close - at > FORMULA_CHARS_MAX || !markdown.slice(at + 2, close).trim()) scan.at = at + 2;
    else take(scan, at, close + 2, markdown.slice(at + 2, close), true);
    return;
  }
  scan.at = at + 1;
  if (/[A-Za-z0-9]/.test(markdown[at - 1] ?? "") || /[\s$]/.test(markdown[at + 1] ?? " ")) {
    if (at + 1 === markdown.length) scan.openAt = open(scan, at);
    return;
  }
  const lineEnd = endOfLine(markdown, at);
  const close = closingDollar(markdown, at + 1, lineEnd);
  if (close === null) return; // a second price, such as `$5 and $6`
  if (close < 0) {
    if (lineEnd === markdown.length && !/\d/.test(markdown[at + 1])) scan.openAt = open(scan, at);
    return;
  }
  const tex = markdown.slice(at + 1, close);
  if (!isPrice(tex)) take(scan, at, close + 1, tex, false);
}

/** The place of the `$` that ends a formula; -1 if the line has none; null if the next `$` cannot be an end. */
function closingDollar(markdown, from, lineEnd) {
  for (let at = from; at < lineEnd; at += 1) {
    if (markdown[at] === "\\") at += 1;
    else if (markdown[at] === "$") return /\s/.test(markdown[at - 1]) || /\d/.test(markdown[at + 1] ?? "") ? null : at;
  }
  return -1;
}

/** Whether what lies between two dollars is a price and words, as in `$5 for him and 6$`. */
function isPrice(tex) {
  if (!/^\d/.test(tex)) return false;
  const bare = tex.replace(/\\(?:text|mathrm|mbox|textbf)\s*\{[^}]*\}/g, "");
  return CJK.test(bare) || /^[\d.,]+\s*[A-Za-z]{2,}(?![^ ]*[\\^_{])/.test(bare);
}

function open(scan, at) {
  return scan.openAt < 0 ? at : scan.openAt;
}

function take(scan, start, end, tex, display) {
  if (!tex.trim()) {
    scan.at = end;
    return;
  }
  scan.openAt = -1; // what seemed open before was text
  scan.text += scan.markdown.slice(scan.copied, start) + OPEN + scan.formulas.length + CLOSE;
  scan.formulas.push({ tex: tex.trim(), display, raw: scan.markdown.slice(start, end) });
  scan.at = scan.copied = end;
}

function endOfLine(markdown, from) {
  const end = markdown.indexOf("\n", from);
  return end < 0 ? markdown.length : end;
}

function blankLineAfter(markdown, from) {
  const blank = /\n[ \t]*\n/g;
  blank.lastIndex = from;
  return blank.exec(markdown)?.index ?? markdown.length;
}
