import assert from "node:assert/strict";
import { test } from "node:test";
import { blockHtml, blocks, safeHref } from "../markup.js";
import { hostileAnswer } from "./answers.mjs";

const html = (text) => blocks(text).map(blockHtml).join("").trim();

test("HTML is text", () => {
  assert.equal(html("<script>alert(1)</script>"), "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>");
  assert.equal(html('<div onclick="x">\n\n**b**'), "<p>&lt;div onclick=&quot;x&quot;&gt;</p>\n<p><strong>b</strong></p>");
  assert.match(html("| a<br>b |\n|--|\n"), /a<br>b/);
});

test("only our own tags come out of a hostile answer", () => {
  const known = "p br strong em del code pre ul ol li blockquote hr a h3 h4 h5 h6 table thead tbody tr th td".split(" ");
  const tags = [...html(hostileAnswer).matchAll(/<\/?([a-z0-9]+)([^>]*)>/gi)];
  assert.ok(tags.length > 20);
  for (const [, name, attributes] of tags) {
    assert.ok(known.includes(name), name);
    assert.doesNotMatch(attributes.replace(/"[^"]*"/g, '""'), /\bon\w+=/i);
    assert.doesNotMatch(attributes, /href="(?!https?:)/);
  }
});

test("links are absolute http(s), open elsewhere, and tell nothing", () => {
  assert.equal(html("[a](https://example.com)"), '<p><a href="https://example.com/" target="_blank" rel="noopener noreferrer">a</a></p>');
  for (const href of ["javascript:x", "java\nscript:x", "data:text/html,x", "//example.com", "/a", "", "vbscript:x", "file:///x"]) {
    assert.equal(safeHref(href), null, href);
  }
});

test("images are links", () => {
  assert.match(html("![a](https://example.com/x.png)"), /^<p><a href="https:\/\/example.com\/x.png"[^>]*>[^<]*a<\/a><\/p>$/);
  assert.doesNotMatch(html("![a](data:image/png;base64,x)"), /<img|href/);
});

test("Chinese text is not misread", () => {
  assert.equal(html("**注意：**后面"), "<p><strong>注意：</strong>后面</p>");
  assert.equal(html("3~5 个和 6~8 个"), "<p>3~5 个和 6~8 个</p>");
  assert.match(html("见https://example.com/a。好"), /href="https:\/\/example.com\/a"[^>]*>https:\/\/example.com\/a<\/a>。好/);
  assert.equal(html("~~删去~~"), "<p><del>删去</del></p>");
});

test("a code block's language cannot carry an attribute", () => {
  assert.equal(html('```a" onload="x\n<b>\n```'), '<pre><code class="language-a">&lt;b&gt;</code></pre>');
});
