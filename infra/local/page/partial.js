// What of an unfinished text can be shown without flickering when the rest comes. Pure.

import { extractMath } from "./math.js";

/**
 * `{ text, isHeld }`: the text up to a formula that has no end yet, a table's head whose rule has not come, and
 * with emphasis closed that was only opened. `isHeld` is true where a formula is being written.
 */
export function presentable(source) {
  const { openAt } = extractMath(source);
  const isHeld = openAt >= 0;
  let text = isHeld ? source.slice(0, openAt) : source;
  if (inFence(text)) return { text: dropPartialFence(text), isHeld };
  text = holdTableHead(text);
  return { text: closeMarks(text), isHeld };
}

/** Whether the text ends within fenced code. */
export function inFence(text) {
  let fence = "";
  for (const line of text.split("\n")) {
    const mark = /^[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)*(`{3,}|~{3,})(.*)$/.exec(line);
    if (!mark) continue;
    if (!fence) fence = mark[1];
    else if (mark[1][0] === fence[0] && mark[1].length >= fence.length && !mark[2].trim()) fence = "";
  }
  return fence !== "";
}

/** One or two back-ticks at the end of code are the start of its closing fence. */
function dropPartialFence(text) {
  return text.replace(/\n[ \t]*(`{1,2}|~{1,2})$/, "");
}

function holdTableHead(text) {
  const rows = [];
  for (let end = text.length; rows.length < 3 && end >= 0; ) {
    const start = text.lastIndexOf("\n", end - 1) + 1;
    const line = text.slice(start, end);
    if (!line.trimStart().startsWith("|")) break;
    rows.unshift(line);
    end = start - 1;
  }
  if (rows.length === 0 || rows.length > 2 || (rows.length === 2 && isRule(rows[1], rows[0]))) return text;
  return text.slice(0, text.length - rows.join("\n").length);
}

function isRule(line, head) {
  const cells = (row) => row.trim().replace(/^\||\|$/g, "").split("|");
  return cells(line).every((cell) => /^:?-+:?$/.test(cell.trim())) && cells(line).length === cells(head).length;
}

function closeMarks(text) {
  const lastLine = text.slice(text.lastIndexOf("\n") + 1);
  const bare = lastLine.replace(/`[^`]*`/g, "");
  if (bare.includes("`")) return text.endsWith("`") ? text.replace(/`+$/, "") : `${text}\``;
  if (/(^|[^*])\*{1,2}$/.test(lastLine) && !/^\s*\*{1,2}$/.test(lastLine)) {
    const opened = (bare.replace(/\*+$/, "").match(/\*\*/g) ?? []).length % 2 === 1;
    const cut = text.replace(/\*{1,2}$/, "");
    return opened ? `${cut.trimEnd()}**` : cut;
  }
  const isOpen = (bare.match(/\*\*/g) ?? []).length % 2 === 1;
  return isOpen ? `${text.trimEnd()}**` : text;
}
