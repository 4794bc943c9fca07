// Drives the page in a real browser: node browser.mjs URL FOLDER
//
// URL is the page of a running local stack; screenshots go to FOLDER. Needs playwright-core, found from here or
// through NODE_PATH, and Chromium at /usr/bin/chromium or $CHROMIUM. What the server cannot be asked for (hostile
// answers, lost frames, a broken connection) is done by a proxy between the page and its WebSocket.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { hostileAnswer, longAnswer } from "./answers.mjs";

const [url, folder] = process.argv.slice(2);
if (!url || !folder) {
  console.log("usage: node browser.mjs URL FOLDER");
  process.exit(process.env.NODE_TEST_CONTEXT ? 0 : 2); // `node --test` finds this file too, and skips it
}
const { chromium } = createRequire(import.meta.url)("playwright-core");
mkdirSync(folder, { recursive: true });
const flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags.split(" ") });
const ANSWER_MS = 60_000;

/** A page whose socket goes through a proxy. `proxy.sent` are its frames; `proxy.answer(frame, reply)` may take one over. */
async function openPage(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: "zh-CN", ...options });
  const page = await context.newPage();
  const proxy = { sent: [], answer: () => false, isUp: true, socket: null };
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(`error: ${error.message}`));
  page.on("console", (message) => {
    const isNetwork = /WebSocket|Failed to load resource|ERR_/.test(message.text());
    if (message.type() === "error" && !isNetwork) troubles.push(`console: ${message.text()}`);
  });
  page.on("dialog", (dialog) => {
    troubles.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    const target = new URL(request.url());
    if (target.protocol.startsWith("http") && target.host !== new URL(url).host) troubles.push(`request: ${target}`);
  });
  await page.routeWebSocket(/.*/, (socket) => {
    if (!proxy.isUp) {
      socket.close({ code: 1011 });
      return;
    }
    proxy.socket = socket;
    const server = socket.connectToServer();
    const reply = (frame) => socket.send(JSON.stringify(frame));
    socket.onMessage((text) => {
      const frame = JSON.parse(text);
      proxy.sent.push(frame);
      if (!proxy.answer(frame, reply)) server.send(text);
    });
  });
  await page.goto(url);
  await page.waitForSelector(".link[data-state=online]", { timeout: ANSWER_MS });
  return { page, proxy, context, troubles };
}

async function ask(page, text) {
  await page.fill("#message", text);
  await page.press("#message", "Enter");
}

async function lastTurn(page, state) {
  const isThere = (wanted) => [...document.querySelectorAll(".turn")].at(-1)?.dataset.state === wanted;
  await page.waitForFunction(isThere, state, { timeout: ANSWER_MS });
  return page.locator(".turn").last();
}

async function assertNoSideways(page) {
  const over = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.querySelector("#scroll");
    return Math.max(document.documentElement.scrollWidth - innerWidth, scrollWidth - clientWidth);
  });
  assert.ok(over <= 0, `the page scrolls sideways by ${over} px`);
}

/** Answers chats that carry `mark` with the frames that `frames(chat)` gives; all else goes to the server. */
function scripted(proxy, mark, frames) {
  const before = proxy.answer;
  proxy.answer = (frame, reply) => {
    if (frame.type !== "chat" || !frame.payload.message.includes(mark)) return before(frame, reply);
    for (const answer of frames(frame)) reply(answer);
    return true;
  };
}

const ack = (chat, stream) => ({ type: "ack", request_id: chat.request_id, stream, payload: { session_id: chat.payload.session_id || `s-${stream}` } });
const delta = (stream, seq, text, more = {}) => ({ type: "delta", stream, seq, payload: { text }, ...more });
const done = (chat, stream, seq, reason = "stop") => ({ type: "done", stream, seq, request_id: chat.request_id, payload: { finish_reason: reason } });

async function chatsInBothLanguages() {
  const { page, troubles } = await openPage();
  assert.equal(await page.getAttribute("html", "lang"), "zh-CN");
  await ask(page, "什么是导数？请举一个例子。");
  let turn = await lastTurn(page, "done");
  assert.notEqual((await turn.locator(".prose").innerText()).trim(), "");
  assert.match(await turn.locator(".facts").innerText(), /\$\d+\.\d{6}/);
  await page.click("#language");
  assert.equal(await page.getAttribute("html", "lang"), "en");
  await page.click("#new");
  await ask(page, "Why is the sky blue?");
  turn = await lastTurn(page, "done");
  assert.notEqual((await turn.locator(".prose").innerText()).trim(), "");
  await page.waitForFunction(() => document.querySelectorAll("#list [data-key]").length >= 2);
  assert.match(page.url(), /#s=/);
  await page.reload();
  await page.waitForSelector(".turn[data-state=done] .prose >> nth=0", { timeout: ANSWER_MS });
  assert.deepEqual(troubles, []);
}

async function survivesHostileAnswers() {
  const { page, proxy, troubles } = await openPage();
  scripted(proxy, "hostile", (chat) => [ack(chat, 11), delta(11, 1, hostileAnswer, { request_id: chat.request_id }), done(chat, 11, 2)]);
  await ask(page, "hostile");
  const turn = await lastTurn(page, "done");
  await page.waitForSelector(".katex");
  const found = await turn.locator(".prose").evaluate((prose) => ({
    pwned: globalThis.pwned ?? null,
    tags: [...prose.querySelectorAll("script,img,iframe,object,embed,form,input,style,link,meta,base,video,audio")].map((node) => node.tagName),
    handlers: [...prose.querySelectorAll("*")].flatMap((node) => [...node.attributes]).filter(({ name }) => name.startsWith("on")).length,
    links: [...prose.querySelectorAll("[href]")].map((node) => ({ href: node.getAttribute("href"), rel: node.rel, target: node.target })),
  }));
  assert.equal(found.pwned, null);
  assert.deepEqual(found.tags, []);
  assert.equal(found.handlers, 0);
  assert.ok(found.links.length > 0);
  for (const link of found.links) {
    assert.match(link.href, /^https?:\/\//);
    assert.deepEqual([link.rel, link.target], ["noopener noreferrer", "_blank"]);
  }
  assert.deepEqual(troubles, []);
}

async function growsLikeTheWhole() {
  const { page, troubles } = await openPage();
  const list = Array.from({ length: 60 }, (_, index) => `${index + 1}. item $x_{${index}}$ **b**\n`).join("");
  const differing = await page.evaluate(async (texts) => {
    const { loadMath, Prose } = await import("./prose.js");
    await loadMath();
    const bare = (element) => element.innerHTML.replace(/>\s+</g, "><").trim();
    const differ = [];
    for (const text of texts) {
      const [growing, whole] = [document.createElement("div"), document.createElement("div")];
      const prose = new Prose(growing);
      for (let end = 7; end < text.length; end += 7) prose.show(text.slice(0, end), "growing");
      prose.show(text, "whole");
      new Prose(whole).show(text, "whole");
      if (bare(growing) !== bare(whole)) differ.push(text.slice(0, 30));
    }
    return differ;
  }, [longAnswer, hostileAnswer, list, `${longAnswer}\n\n${list}\n\n${longAnswer}`]);
  assert.deepEqual(differing, []);
  assert.deepEqual(troubles, []);
}

async function ordersFrames() {
  const { page, proxy, troubles } = await openPage();
  scripted(proxy, "disorder", (chat) => [
    delta(21, 2, "two "), delta(21, 1, "one ", { request_id: chat.request_id }), { message: "Internal server error", connectionId: "c" },
    delta(21, 2, "two "), { type: "from-the-future", payload: {} }, ack(chat, 21), done(chat, 21, 4), delta(21, 3, "three"),
  ]);
  await ask(page, "disorder");
  assert.equal(await (await lastTurn(page, "done")).locator(".prose").innerText(), "one two three");
  assert.deepEqual(troubles, []);
}

async function fillsGapsFromHistory() {
  const { page, proxy } = await openPage();
  let asked = null;
  scripted(proxy, "gap", (chat) => {
    asked = chat;
    return [ack(chat, 31), delta(31, 1, "begin", { request_id: chat.request_id }), delta(31, 3, "end"), done(chat, 31, 4)];
  });
  const before = proxy.answer;
  const types = [];
  proxy.answer = (frame, reply) => {
    const { type, request_id, payload } = frame;
    if (type !== "resume" && (type !== "history" || payload.session_id !== "s-31")) return before(frame, reply);
    types.push(type);
    const entries = [{ role: "user", text: "gap", request_id: asked.request_id }, { role: "assistant", text: "begin middle end", request_id: asked.request_id }];
    if (type === "resume") reply({ type: "error", request_id, payload: { code: "UNKNOWN_TYPE", message: "?" } });
    else reply({ type: "history", request_id, payload: { session_id: "s-31", entries } });
    return true;
  };
  await ask(page, "gap");
  assert.equal(await (await lastTurn(page, "done")).locator(".prose").innerText(), "begin middle end");
  assert.deepEqual(types.slice(0, 2), ["resume", "history"]);
}

async function stops() {
  const { page, proxy } = await openPage();
  let asked = null;
  scripted(proxy, "endless", (chat) => {
    asked = chat;
    return [ack(chat, 41), delta(41, 1, "a **bold beginn", { request_id: chat.request_id })];
  });
  const before = proxy.answer;
  proxy.answer = (frame, reply) => {
    if (frame.type !== "cancel") return before(frame, reply);
    assert.equal(frame.payload.request_id, asked.request_id);
    reply(done(asked, 41, 2, "cancelled"));
    return true;
  };
  await ask(page, "endless");
  await page.waitForSelector("#go[data-name=stop]");
  await page.click("#go");
  const turn = await lastTurn(page, "done");
  assert.match(await turn.locator(".facts").innerText(), /已停止/);
  assert.equal(await turn.locator(".prose strong").innerText(), "bold beginn");
}

async function keepsTheOutbox() {
  const { page, proxy } = await openPage();
  await ask(page, "先开始一个对话");
  await lastTurn(page, "done");
  proxy.isUp = false;
  await proxy.socket.close({ code: 1001 });
  await page.waitForSelector(".link:not([data-state=online])");
  await ask(page, "离线时写的第一句");
  await ask(page, "离线时写的第二句");
  assert.equal(await page.locator(".turn.is-waiting").count(), 2);
  await page.screenshot({ path: join(folder, "offline-light-1440.png") });
  const kept = () => page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("sparkle.outbox.")).length);
  assert.equal(await kept(), 2);
  await page.reload(); // the page's memory is gone
  await page.waitForFunction(() => document.querySelectorAll(".turn.is-waiting").length === 2);
  const idOf = (text) => page.locator(".turn", { hasText: text }).getAttribute("data-request");
  const ids = [await idOf("第一句"), await idOf("第二句")];
  proxy.sent.length = 0;
  proxy.isUp = true;
  await page.waitForFunction(() => document.querySelectorAll(".turn.is-waiting").length === 0, null, { timeout: ANSWER_MS });
  await page.waitForFunction(() => [...document.querySelectorAll(".turn")].every((turn) => turn.dataset.state === "done"), null, { timeout: ANSWER_MS });
  assert.deepEqual(proxy.sent.filter(({ type }) => type === "chat").map((frame) => frame.request_id), ids);
  assert.equal(await kept(), 0);
}

async function respectsInputMethodsAndLimits() {
  const { page, proxy } = await openPage();
  await page.fill("#message", "ni hao");
  await page.dispatchEvent("#message", "keydown", { key: "Enter", isComposing: true });
  await page.press("#message", "Shift+Enter");
  assert.equal(await page.inputValue("#message"), "ni hao\n");
  await page.fill("#message", "字".repeat(10_923)); // 32,769 bytes
  await page.press("#message", "Enter");
  assert.equal(await page.isDisabled("#go"), true);
  assert.equal(proxy.sent.some(({ type }) => type === "chat"), false);
}

async function drawsLongAnswersEverywhere() {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [390, 1440]) {
      const { page, proxy, troubles } = await openPage({ colorScheme, viewport: { width, height: width < 500 ? 844 : 900 } });
      await page.screenshot({ path: join(folder, `empty-${colorScheme}-${width}.png`) });
      const pieces = longAnswer.match(/[\s\S]{1,40}/g);
      scripted(proxy, "导数", (chat) => [
        ack(chat, 51), ...pieces.map((text, index) => delta(51, index + 1, text, index === 0 ? { request_id: chat.request_id } : {})),
        { type: "usage", stream: 51, seq: pieces.length + 1, payload: { prompt_tokens: 812, completion_tokens: 640, cached_tokens: 512, cost_microusd: 431 } },
        done(chat, 51, pieces.length + 2),
      ]);
      await ask(page, "什么是导数？");
      await lastTurn(page, "done");
      await page.waitForFunction(() => document.querySelectorAll(".katex").length > 5);
      await page.screenshot({ path: join(folder, `answer-end-${colorScheme}-${width}.png`) });
      await page.evaluate(() => (document.querySelector("#scroll").scrollTop = 0));
      await page.waitForSelector("#to-latest:not([hidden])");
      await page.screenshot({ path: join(folder, `answer-${colorScheme}-${width}.png`) });
      for (const other of [320, 1600, width]) {
        await page.setViewportSize({ width: other, height: 800 });
        await assertNoSideways(page);
      }
      assert.deepEqual(troubles, []);
      await page.context().close();
    }
  }
}

const checks = [
  chatsInBothLanguages, survivesHostileAnswers, growsLikeTheWhole, ordersFrames, fillsGapsFromHistory, stops, keepsTheOutbox,
  respectsInputMethodsAndLimits, drawsLongAnswersEverywhere,
];
let failed = 0;
for (const check of checks) {
  try {
    await check();
    console.log(`ok   ${check.name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${check.name}\n${error.stack}`);
  }
  for (const context of browser.contexts()) await context.close();
}
await browser.close();
process.exit(failed > 0 ? 1 : 0);
