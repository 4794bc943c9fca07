// Drives the page in a real browser: node browser.mjs URL FOLDER
//
// URL is the page of a running local stack that was started with SPARKLE_LLM_SCRIPTED=1; screenshots go to FOLDER.
// Needs playwright-core, found from here or through NODE_PATH, and Chromium at /usr/bin/chromium or $CHROMIUM; asks
// nothing of any other host. What the server cannot be asked for (hostile answers, lost frames, a broken connection)
// is done by a proxy between the page and its WebSocket. The last line counts; the exit code is 0 or 1.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { hostileAnswer, longAnswer } from "./answers.mjs";

const [url, folder] = process.argv.slice(2);
if (!url || !folder) {
  console.log("usage: node browser.mjs URL FOLDER");
  process.exit(process.env.NODE_TEST_CONTEXT ? 0 : 1); // `node --test` finds this file too, and skips it
}
const { chromium } = createRequire(import.meta.url)("playwright-core");
mkdirSync(folder, { recursive: true });
const flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags.split(" ") });
const ANSWER_MS = 20_000;
const RUN_MS_MAX = 120_000;
/** Checks that run at once: mostly they wait. */
const LANES = 3;

/**
 * A page whose socket goes through a proxy, in a context that is put into `contexts`. `proxy.sent` and
 * `proxy.received` are its frames; `proxy.answer(frame, reply)` may take one over; `proxy.copies(frame)` says how often
 * one of the server's arrives; `proxy.cut()` breaks the connection. `hash` is put into the address; `route` maps paths to what is answered.
 */
async function openPage(contexts, { hash = "", route = {}, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: "zh-CN", ...options });
  contexts.push(context);
  const page = await context.newPage();
  const proxy = { sent: [], received: [], answer: () => false, copies: () => 1, isUp: true, dials: 0, cut: async () => {} };
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
  for (const [path, answer] of Object.entries(route)) await page.route((target) => target.pathname === path, answer);
  await page.routeWebSocket(/.*/, (socket) => {
    proxy.dials += 1;
    if (!proxy.isUp) {
      socket.close({ code: 1011 });
      return;
    }
    const server = socket.connectToServer();
    proxy.cut = () => Promise.all([socket.close({ code: 1001 }), server.close({ code: 1001 })]);
    const reply = (frame) => socket.send(JSON.stringify(frame));
    server.onMessage((text) => {
      const frame = JSON.parse(text);
      proxy.received.push(frame);
      for (let copies = proxy.copies(frame); copies > 0; copies -= 1) socket.send(text);
    });
    socket.onMessage((text) => {
      const frame = JSON.parse(text);
      proxy.sent.push(frame);
      if (!proxy.answer(frame, reply)) server.send(text);
    });
  });
  await page.goto(url + hash);
  await page.waitForSelector(".link[data-state=online]", { timeout: ANSWER_MS });
  return { page, proxy, troubles };
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

async function until(holds) {
  const deadlineMs = Date.now() + ANSWER_MS;
  while (!holds()) {
    assert.ok(Date.now() < deadlineMs, `in vain: ${holds}`);
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

async function assertNoSideways(page) {
  const over = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.querySelector("#scroll");
    // A phone makes `innerWidth` as wide as what sticks out; the viewport keeps its width.
    return Math.max(document.documentElement.scrollWidth - visualViewport.width, scrollWidth - clientWidth);
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

async function chatsInBothLanguages(open) {
  const { page, troubles } = await open();
  assert.equal(await page.getAttribute("html", "lang"), "zh-CN");
  await ask(page, "什么是导数？");
  let turn = await lastTurn(page, "done");
  assert.notEqual((await turn.locator(".prose").innerText()).trim(), "");
  assert.match(await turn.locator(".facts").innerText(), /\$\d+\.\d{6}/);
  await page.click("#language");
  assert.equal(await page.getAttribute("html", "lang"), "en");
  await page.click("#new");
  await ask(page, "What is a derivative?");
  turn = await lastTurn(page, "done");
  assert.notEqual((await turn.locator(".prose").innerText()).trim(), "");
  await page.waitForFunction(() => document.querySelectorAll("#list [data-key]").length >= 2);
  assert.match(page.url(), /#s=/);
  await page.reload();
  await page.waitForSelector(".turn[data-state=done] .prose >> nth=0", { timeout: ANSWER_MS });
  assert.deepEqual(troubles, []);
}

async function keepsARejectedAnswerFromComingBack(open) {
  const { page, proxy, troubles } = await open();
  const cached = async () => (await (await lastTurn(page, "done")).locator(".facts").innerText()).includes("来自缓存");
  const again = async (turns) => {
    await ask(page, "为什么月亮有圆缺？");
    await page.waitForFunction((count) => document.querySelectorAll(".turn[data-state=done]").length === count, turns, { timeout: ANSWER_MS });
  };
  await again(1);
  await again(2);
  assert.equal(await cached(), true);
  const turn = await lastTurn(page, "done");
  await turn.locator("[data-act=good]").click();
  await turn.locator("[data-act=good][aria-pressed=true]").waitFor({ timeout: ANSWER_MS });
  await turn.locator("[data-act=bad]").click();
  await turn.locator("[data-act=bad][aria-pressed=true]").waitFor({ timeout: ANSWER_MS });
  assert.equal(await turn.locator("[data-act=good]").getAttribute("aria-pressed"), "false");
  const ratings = proxy.sent.filter((frame) => frame.type === "feedback").map((frame) => frame.payload.rating);
  assert.deepEqual(ratings, [5, 1]);
  await again(3);
  assert.equal(await cached(), false);
  assert.deepEqual(troubles, []);
}

async function survivesHostileAnswers(open) {
  const { page, proxy, troubles } = await open();
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

async function growsLikeTheWhole(open) {
  const { page, troubles } = await open();
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

async function ordersFrames(open) {
  const { page, proxy, troubles } = await open();
  scripted(proxy, "disorder", (chat) => [
    delta(21, 2, "two "), delta(21, 1, "one ", { request_id: chat.request_id }), { message: "Internal server error", connectionId: "c" },
    delta(21, 2, "two "), { type: "from-the-future", payload: {} }, ack(chat, 21), done(chat, 21, 4), delta(21, 3, "three"),
  ]);
  await ask(page, "disorder");
  assert.equal(await (await lastTurn(page, "done")).locator(".prose").innerText(), "one two three");
  assert.deepEqual(troubles, []);
}

async function fillsGapsFromHistory(open) {
  const { page, proxy } = await open();
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

async function stops(open) {
  const { page, proxy } = await open();
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

async function keepsTheOutbox(open) {
  const { page, proxy } = await open();
  await ask(page, "先开始一个对话");
  await lastTurn(page, "done");
  proxy.isUp = false;
  await proxy.cut();
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

async function respectsInputMethodsAndLimits(open) {
  const { page, proxy } = await open();
  await page.fill("#message", "ni hao");
  await page.dispatchEvent("#message", "keydown", { key: "Enter", isComposing: true });
  await page.press("#message", "Shift+Enter");
  assert.equal(await page.inputValue("#message"), "ni hao\n");
  await page.fill("#message", "字".repeat(10_923)); // 32,769 bytes
  await page.press("#message", "Enter");
  assert.equal(await page.isDisabled("#go"), true);
  assert.equal(proxy.sent.some(({ type }) => type === "chat"), false);
}

async function drawsLongAnswersEverywhere(open) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [390, 1440]) {
      const { page, proxy, troubles } = await open({ colorScheme, viewport: { width, height: width < 500 ? 844 : 900 } });
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
      await page.close();
    }
  }
}

/** What the offline model says where it knows nothing. */
const CLUELESS = /不想乱猜|rather not guess/;

async function suggestsWhatIsAnswered(open) {
  const { page, troubles } = await open();
  for (const language of ["zh-CN", "en"]) {
    if ((await page.getAttribute("html", "lang")) !== language) await page.click("#language");
    for (let index = 0; index < 4; index += 1) {
      await page.click("#new");
      await page.click(`.ideas button >> nth=${index}`);
      await page.press("#message", "Enter");
      const turn = await lastTurn(page, "done");
      assert.doesNotMatch(await turn.locator(".prose").innerText(), CLUELESS, await turn.locator(".bubble").innerText());
    }
  }
  assert.deepEqual(troubles, []);
}

/** A question that makes the server's offline model answer like this. */
const script = (answer) => `#script ${JSON.stringify(answer)}`;
const slowly = { pieces: Array.from({ length: 40 }, (_, index) => `${index} `), pause_ms: 100 };

async function stopsAndAnswersAgain(open) {
  const { page, proxy, troubles } = await open();
  await ask(page, script(slowly));
  await page.waitForSelector(".turn[data-state=working] .prose > *");
  await page.screenshot({ path: join(folder, "streaming-light-1440.png") });
  await page.click("#go[data-name=stop]");
  let turn = await lastTurn(page, "done");
  assert.match(await turn.locator(".facts").innerText(), /已停止/);
  assert.ok((await turn.locator(".prose").innerText()).length < slowly.pieces.join("").length);
  const stopped = await turn.getAttribute("data-request");
  await turn.locator("[data-act=again]").click();
  await page.waitForSelector(`.turn[data-state=working]:not([data-request="${stopped}"])`);
  turn = await lastTurn(page, "done");
  assert.equal(await turn.locator(".prose").innerText(), slowly.pieces.join("").trim());
  assert.deepEqual(proxy.sent.filter(({ type }) => type === "chat").map(({ payload }) => payload.cache), ["", "bypass"]);
  await page.reload(); // history has both answers, the page shows the newer
  await page.waitForSelector(".turn .prose > *", { timeout: ANSWER_MS });
  assert.equal(await page.locator(".turn").count(), 1);
  assert.deepEqual(troubles, []);
}

async function offersToRetry(open) {
  const { page, troubles } = await open();
  await ask(page, script({ fail: "unavailable" }));
  const turn = await lastTurn(page, "failed");
  assert.notEqual((await turn.locator(".failure-words").innerText()).trim(), "");
  assert.equal(await turn.locator("[data-act=retry]").isEnabled(), true);
  await page.screenshot({ path: join(folder, "failed-light-1440.png") });
  const failed = await turn.getAttribute("data-request");
  await turn.locator("[data-act=retry]").click();
  await page.waitForFunction((id) => document.querySelectorAll(`.turn:not([data-request="${id}"])[data-state=failed]`).length === 1, failed, { timeout: ANSWER_MS });
  assert.equal(await page.locator(".turn").count(), 1);
  assert.deepEqual(troubles, []);
}

async function survivesACutConnection(open) {
  const { page, proxy, troubles } = await open();
  await ask(page, script(slowly));
  await page.waitForSelector(".turn[data-state=working] .prose > *");
  await proxy.cut();
  await page.waitForSelector(".turn[data-state=recovering]");
  const cutAt = proxy.sent.length;
  const turn = await lastTurn(page, "done");
  assert.equal(await turn.locator(".prose").innerText(), slowly.pieces.join("").trim());
  assert.match(await turn.locator(".facts").innerText(), /\$\d+\.\d{6}/);
  assert.equal(proxy.sent.filter(({ type }) => type === "chat").length, 1);
  const asked = proxy.sent.slice(cutAt);
  assert.ok(asked.find(({ type }) => type === "resume").payload.after_seq > 0);
  assert.equal(asked.filter(({ type }) => type === "history").length, 0);
  assert.deepEqual(troubles, []);
}

async function goesOnAfterAReload(open) {
  const { page, proxy, troubles } = await open();
  await ask(page, script(slowly));
  await page.waitForSelector(".turn[data-state=working] .prose > *");
  await page.reload();
  await page.waitForSelector(".turn[data-state=working] .prose > *", { timeout: ANSWER_MS });
  assert.equal((await page.locator(".bubble").last().innerText()).startsWith("#script"), true);
  const turn = await lastTurn(page, "done");
  assert.equal(await turn.locator(".prose").innerText(), slowly.pieces.join("").trim());
  assert.equal(proxy.sent.filter(({ type }) => type === "chat").length, 1);
  assert.equal(await page.locator(".turn").count(), 1);
  const kept = await page.evaluate(() => Object.keys(localStorage).filter((key) => /^sparkle\.(outbox|awaited)\./.test(key)).length);
  assert.equal(kept, 0);
  assert.deepEqual(troubles, []);
}

async function stopsAfterAReload(open) {
  const { page, troubles } = await open();
  await ask(page, script({ ...slowly, pieces: slowly.pieces.concat(slowly.pieces, slowly.pieces) }));
  await page.waitForSelector(".turn[data-state=working] .prose > *");
  await page.reload();
  await page.waitForSelector(".turn[data-state=working] .prose > *", { timeout: ANSWER_MS });
  await page.click("#go[data-name=stop]");
  const turn = await lastTurn(page, "done");
  assert.match(await turn.locator(".facts").innerText(), /已停止/);
  assert.deepEqual(troubles, []);
}

async function asksForMissingFramesAndShowsDoubledOnesOnce(open) {
  const { page, proxy, troubles } = await open();
  const lost = new Set([3]);
  proxy.copies = ({ seq }) => (lost.delete(seq) ? 0 : 2);
  await ask(page, script(slowly));
  const turn = await lastTurn(page, "done");
  assert.equal(await turn.locator(".prose").innerText(), slowly.pieces.join("").trim());
  assert.equal(lost.size, 0);
  const asked = proxy.sent.filter(({ type }) => type === "resume"); // more than once where this machine is slow
  assert.ok(asked.length > 0 && asked.every(({ payload }) => payload.after_seq === 2), JSON.stringify(asked));
  assert.deepEqual(troubles, []);
}

async function startsOverWhereTheAnswerDoes(open) {
  const { page, proxy, troubles } = await open();
  let asked = null;
  scripted(proxy, "over", (chat) => {
    asked = chat;
    return [ack(chat, 71), delta(71, 1, "wrong", { request_id: chat.request_id })];
  });
  const before = proxy.answer;
  proxy.answer = (frame, reply) => {
    if (frame.type !== "resume") return before(frame, reply);
    assert.deepEqual(frame.payload, { request_id: asked.request_id, after_seq: 1 });
    reply({ type: "ack", request_id: frame.request_id, stream: 71, payload: { last_seq: 4, finished: true } });
    const restart = delta(71, 2, "ri");
    restart.payload.restart = true;
    for (const each of [restart, delta(71, 3, "ght"), done(asked, 71, 4)]) reply(each);
    return true;
  };
  await ask(page, "over");
  await page.locator(".turn .prose", { hasText: "wrong" }).waitFor();
  await proxy.cut();
  const turn = await lastTurn(page, "done");
  assert.equal(await turn.locator(".prose").innerText(), "right");
  assert.deepEqual(troubles, []);
}

async function renewsItsToken(open) {
  let isFirst = true;
  const shortLived = async (request) => {
    const answer = await request.fetch();
    const body = await answer.json();
    await request.fulfill({ response: answer, json: isFirst ? { ...body, expires_at: Date.now() + 7_000 } : body });
    isFirst = false;
  };
  const { page, proxy, troubles } = await open({ route: { "/token": shortLived } });
  const isRenewed = () => {
    const auth = proxy.sent.find(({ type }) => type === "auth");
    return auth && proxy.received.some(({ type, request_id }) => type === "ack" && request_id === auth.request_id);
  };
  await until(isRenewed);
  await ask(page, "什么是导数？");
  await lastTurn(page, "done");
  assert.equal(proxy.dials, 1);
  assert.deepEqual(troubles, []);
}

async function getsAnotherTokenWhereOneIsRefused(open) {
  let tokens = 0;
  const counted = (request) => {
    tokens += 1;
    return request.continue();
  };
  const { page, proxy, troubles } = await open({ route: { "/token": counted } });
  let refusals = 0;
  let refusalsLeft = 1;
  proxy.answer = ({ type, request_id }, reply) => {
    if (refusalsLeft === 0 || (type !== "chat" && refusals === 0)) return false;
    refusalsLeft -= 1;
    refusals += 1;
    reply({ type: "error", request_id, stream: 61, payload: { code: "UNAUTHENTICATED", message: "expired" } });
    void proxy.cut();
    return true;
  };
  await ask(page, "什么是导数？");
  await lastTurn(page, "done");
  assert.deepEqual([proxy.dials, tokens], [2, 2]);
  const [first, second] = proxy.sent.filter(({ type }) => type === "chat").map((frame) => frame.request_id);
  assert.equal(first, second);
  // A server that refuses every token is asked less and less often, and the learner is told.
  refusalsLeft = Infinity;
  await ask(page, "什么是惯性？");
  await page.waitForSelector(".link[data-state=waiting]", { timeout: ANSWER_MS });
  await page.waitForSelector(".notice");
  await page.waitForSelector(".turn.is-waiting");
  refusalsLeft = 0;
  await lastTurn(page, "done");
  assert.equal(tokens, proxy.dials);
  assert.deepEqual(troubles, []);
}

async function keepsToTheLearnerOfItsToken(open) {
  const user = `browser-${Date.now()}`;
  const { token } = await (await fetch(new URL(`/token?user=${user}`, url))).json();
  const asked = [];
  const noted = (request) => {
    asked.push(new URL(request.request().url()).search);
    return request.continue();
  };
  const { page, proxy, troubles } = await open({ hash: `#token=${token}`, route: { "/token": noted } });
  assert.doesNotMatch(page.url(), /token/);
  await page.waitForSelector("#list .empty"); // nothing of the other learner's
  assert.deepEqual(asked, []);
  proxy.isUp = false; // the next handshakes fail, as those with a refused token do
  await proxy.cut();
  await page.waitForSelector(".link[data-state=waiting]");
  await page.waitForRequest((request) => new URL(request.url()).pathname === "/token", { timeout: ANSWER_MS });
  proxy.isUp = true;
  await page.waitForSelector(".link[data-state=online]", { timeout: ANSWER_MS });
  assert.ok(asked.length > 0 && asked.every((search) => search === `?user=${user}`), String(asked));
  assert.deepEqual(troubles, []);
}

async function listsRenamesAndDeletes(open) {
  const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
  const user = `lists-${Date.now()}`;
  const { token } = await (await fetch(new URL(`/token?user=${user}`, url))).json();
  const { page, troubles } = await open({ ...phone, hash: `#token=${token}` });
  await ask(page, "什么是导数？");
  await lastTurn(page, "done");
  await page.click("#menu");
  await page.click("#new");
  await ask(page, `很长的标题${"很长".repeat(60)}？`); // its start is the title
  await lastTurn(page, "done");
  await assertNoSideways(page);
  await page.click("#menu");
  const older = page.locator("#list li", { hasText: "什么是导数" });
  await page.locator("#list li.is-current", { hasText: "很长的标题" }).waitFor();
  await older.locator("[data-act=rename]").click();
  await page.fill("#list .rename", "切线的斜率");
  await page.press("#list .rename", "Enter");
  const renamed = page.locator("#list li", { hasText: "切线的斜率" });
  await renamed.waitFor();
  assert.equal(await page.locator("#list li.is-current", { hasText: "很长的标题" }).count(), 1); // renaming opens nothing
  assert.equal(await page.locator("body.menu-open").count(), 1);
  await page.screenshot({ path: join(folder, "list-light-390.png") });
  await page.reload();
  await page.click("#menu");
  await renamed.locator("[data-act=remove]").click();
  await page.click("#confirm button[value=yes]");
  await renamed.waitFor({ state: "detached" });
  await page.reload();
  await page.click("#menu");
  await page.locator("#list li").first().waitFor();
  assert.equal(await page.locator("#list li").count(), 1);
  assert.deepEqual(troubles, []);
}

const checks = [
  chatsInBothLanguages, keepsARejectedAnswerFromComingBack, suggestsWhatIsAnswered, survivesHostileAnswers, growsLikeTheWhole, ordersFrames, fillsGapsFromHistory,
  stops, stopsAndAnswersAgain, offersToRetry, survivesACutConnection, goesOnAfterAReload,
  stopsAfterAReload, asksForMissingFramesAndShowsDoubledOnesOnce, startsOverWhereTheAnswerDoes, renewsItsToken, getsAnotherTokenWhereOneIsRefused,
  keepsToTheLearnerOfItsToken, keepsTheOutbox, listsRenamesAndDeletes, respectsInputMethodsAndLimits, drawsLongAnswersEverywhere,
];
let [passed, failed] = [0, 0];
const end = async () => {
  await browser.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed > 0 ? 1 : 0);
};
const tooLong = setTimeout(() => {
  failed += checks.length - passed - failed;
  console.log(`FAIL not done after ${RUN_MS_MAX / 1000} s`);
  void end();
}, RUN_MS_MAX);
async function run(check) {
  const contexts = [];
  const startMs = Date.now();
  try {
    await check((options) => openPage(contexts, options));
    passed += 1;
    console.log(`ok   ${check.name} ${Date.now() - startMs} ms`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${check.name}\n${error.stack}`);
  }
  await Promise.all(contexts.map((context) => context.close()));
}
const queue = checks.values(); // shared by the lanes, so that each check runs once
const lane = async () => {
  for (const check of queue) await run(check);
};
await Promise.all(Array.from({ length: LANES }, lane));
clearTimeout(tooLong);
await end();
