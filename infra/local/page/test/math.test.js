import assert from "node:assert/strict";
import { test } from "node:test";
import { blocks } from "../markup.js";
import { extractMath, restoreMath, splitMath } from "../math.js";
import { inFence, presentable } from "../partial.js";
import { hostileAnswer, longAnswer } from "./answers.mjs";

const found = (text) => extractMath(text).formulas.map(({ tex, display }) => (display ? `[${tex}]` : tex));

test("formulas of all four forms are found", () => {
  assert.deepEqual(found("a $x_1$ b"), ["x_1"]);
  assert.deepEqual(found("设$a_i*b_i$为"), ["a_i*b_i"]);
  assert.deepEqual(found("\\(a_b\\) and \\[c\\]"), ["a_b", "[c]"]);
  assert.deepEqual(found("$$\n\\int_0^1 x\\,dx\n$$"), ["[\\int_0^1 x\\,dx]"]);
  assert.deepEqual(found("$2x+1$, $5\\text{元}$, $-3$"), ["2x+1", "5\\text{元}", "-3"]);
  assert.deepEqual(found("$a\\$b$"), ["a\\$b"]);
});

test("prices are not formulas", () => {
  for (const text of ["$5 and $6", "it costs $5 for him and 6$", "US$5 or A$6", "\\$5 and \\$6", "价格是$5和$6", "$ 5 $", "$5-$6", "$$", "a $ b"]) {
    assert.deepEqual(found(text), [], text);
  }
  assert.deepEqual(found("价格是$5和$x$"), ["x"]);
  assert.deepEqual(found("between $5 and $x$"), ["x"]);
});

test("code and addresses are left alone", () => {
  for (const text of ["`$x$`", "``a`$x$``", "```\n$x$\n```", "~~~tex\n$$x$$\n~~~", "> ```\n> $x$\n> ```", "- ```\n  $x$\n  ```", "https://example.com/$a$", "```\n$x$"]) {
    assert.deepEqual(found(text), [], text);
  }
  assert.deepEqual(found("```\n$x$\n```\n$y$"), ["y"]);
  assert.deepEqual(found("` $x$"), ["x"]);
});

test("a formula does not cross a line or, in parentheses, a paragraph", () => {
  assert.deepEqual(found("$a\nb$"), []);
  assert.deepEqual(found("\\(a\n\nb\\)"), []);
  assert.deepEqual(found(`$$${"x".repeat(5000)}$$`), []);
});

test("extraction can be undone, and no text can forge a placeholder", () => {
  for (const text of [longAnswer, hostileAnswer, "$a$$b$ \\(c\\)"]) {
    const { text: safe, formulas } = extractMath(text);
    assert.equal(restoreMath(safe, formulas), text);
    assert.equal(splitMath(safe, formulas).map((part) => part.raw ?? part).join(""), text);
  }
  assert.equal(extractMath("\uE0000\uE001 $a$").text, "\uFFFD0\uFFFD \uE0000\uE001");
});

test("blocks joined are the text: the page counts on it to leave finished ones alone", () => {
  for (const text of [longAnswer, hostileAnswer, "a\n\n\n- b\n\n  c\n\n\n1. d\n\n    code\n\tx\n"]) {
    const { text: safe } = extractMath(text);
    assert.equal(blocks(safe).map(({ raw }) => raw).join(""), safe);
  }
});

test("an unfinished formula is told", () => {
  for (const [text, openAt] of [["ab $x", 3], ["ab $$\\int", 3], ["ab \\(x", 3], ["ab \\[x", 3], ["ab $", 3], ["ab $x$", -1], ["costs $5", -1], ["$x$ and $y", 8]]) {
    assert.equal(extractMath(text).openAt, openAt, text);
  }
});

test("what is shown while streaming does not flicker", () => {
  const shown = (text) => presentable(text).text;
  assert.equal(shown("abc $x"), "abc ");
  assert.equal(shown("a **b"), "a **b**");
  assert.equal(shown("a **"), "a ");
  assert.equal(shown("a **b*"), "a **b**");
  assert.equal(shown("a **b** c"), "a **b** c");
  assert.equal(shown("a `b"), "a `b`");
  assert.equal(shown("x\n\n| a | b |\n|--"), "x\n\n");
  assert.equal(shown("| a | b |\n| --- | --- |"), "| a | b |\n| --- | --- |");
  assert.equal(shown("```py\nx\n``"), "```py\nx");
  assert.equal(shown("plain"), "plain");
});

test("every prefix of an answer can be shown", () => {
  for (const text of [longAnswer, hostileAnswer]) {
    for (let end = 0; end <= text.length; end += 1) {
      const { text: shown } = presentable(text.slice(0, end));
      blocks(extractMath(shown).text);
    }
  }
});

test("no text is slow to present", { timeout: 10_000 }, () => {
  const bodies = [`| a |\n|${"-".repeat(20_000)}x`, "- item with $x_1$ and **bold**\n".repeat(600), "`".repeat(5000), "`a ".repeat(3000), "\\( ".repeat(3000), "**".repeat(5000), "$".repeat(5001), "~~~\n".repeat(3000)];
  for (const body of bodies) {
    const { text } = extractMath(presentable(body).text);
    blocks(text);
  }
});

test("fences are followed", () => {
  assert.equal(inFence("```\na"), true);
  assert.equal(inFence("```\na\n```\n"), false);
  assert.equal(inFence("````\n```\n"), true);
});
