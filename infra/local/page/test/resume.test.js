import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Chat } from "../chat.js";
import { Cloud, Memory, until } from "./cloud.mjs";

/** The timers of pages outlive their test; a page that is gone must not speak in the next one. */
afterEach(() => {
  globalThis.WebSocket = class {
    close() {}
  };
});

/** A page with one question asked, and the server that it asks. */
function openPage(cloud, storage, tab) {
  const states = [];
  const chat = new Chat({
    url: "ws://cloud/", storage, tab,
    tokens: { current: async () => ({ token: "a.b.c", user: "ann", expiresAtMs: Date.now() + 3_600_000 }) },
    livingTabs: async () => new Set(),
    on: {
      connection: ({ name }) => states.push(name),
      conversation() {}, turn() {}, sessions() {}, models() {}, notice() {}, returned() {},
    },
  });
  cloud.install();
  chat.startNew();
  chat.start("ann");
  return { chat, states, turn: () => chat.current.turns[0] };
}

async function asked() {
  const [cloud, storage] = [new Cloud(), new Memory()];
  const page = openPage(cloud, storage, "tab");
  await until(() => page.states.includes("online"));
  page.chat.send("hi");
  await until(() => page.turn().state === "working");
  return { cloud, storage, ...page };
}

function finish(cloud, text) {
  cloud.push("delta", { text });
  cloud.push("usage", { prompt_tokens: 5, completion_tokens: 3, cost_microusd: 9 });
  cloud.push("done", { finish_reason: "stop" });
}

const resumes = (cloud) => cloud.of("resume").map(({ payload }) => payload.after_seq);

test("an answer that is cut goes on where it stopped, and the learner sees that it was", async () => {
  const { cloud, states, turn } = await asked();
  cloud.push("delta", { text: "one " });
  cloud.push("delta", { text: "two " });
  await until(() => turn().answer === "one two ");
  cloud.cut();
  assert.equal(turn().state, "recovering");
  assert.equal(states.at(-1), "waiting");
  cloud.push("delta", { text: "three " }); // while nobody listens
  await until(() => turn().answer === "one two three " && turn().state === "working");
  finish(cloud, "four");
  await until(() => turn().state === "done");
  assert.equal(turn().answer, "one two three four");
  assert.equal(turn().usage.cost_microusd, 9);
  assert.deepEqual(resumes(cloud), [2]);
  assert.deepEqual([cloud.of("chat").length, cloud.of("history").length, cloud.dials], [1, 0, 2]);
});

test("a stack that is away for some attempts is found again", async () => {
  const { cloud, states, turn } = await asked();
  cloud.isUp = false;
  cloud.cut();
  await until(() => cloud.dials >= 3);
  finish(cloud, "all of it");
  cloud.isUp = true;
  await until(() => turn().state === "done");
  assert.equal(turn().answer, "all of it");
  assert.ok(states.filter((name) => name === "waiting").length >= 2);
});

test("a question without an ack is asked again under its id, and its answer is shown once", async () => {
  const [cloud, storage] = [new Cloud(), new Memory()];
  const { chat, states, turn } = openPage(cloud, storage, "tab");
  await until(() => states.includes("online"));
  cloud.copies = ({ type }) => (type === "ack" ? 0 : 1);
  chat.send("hi");
  await until(() => cloud.of("chat").length === 1);
  cloud.push("delta", { text: "one " });
  await until(() => turn().answer === "one ");
  cloud.copies = () => 1;
  cloud.cut();
  await until(() => cloud.of("chat").length === 2);
  finish(cloud, "two");
  await until(() => turn().state === "done");
  assert.equal(turn().answer, "one two");
  const [first, second] = cloud.of("chat");
  assert.deepEqual(first, second);
});

test("a page that is loaded again in mid-answer shows all of it, and forgets it at its end", async () => {
  const { cloud, storage } = await asked();
  cloud.push("delta", { text: "one " });
  const again = openPage(cloud, storage, "tab after reload");
  await until(() => again.turn()?.answer === "one ");
  assert.equal(again.turn().question, "hi");
  finish(cloud, "two");
  await until(() => again.turn().state === "done");
  assert.equal(again.turn().answer, "one two");
  assert.deepEqual([resumes(cloud), cloud.of("chat").length], [[0], 1]);
  assert.equal(storage.length, 0);
});

test("a page that is loaded again can still stop the answer", async () => {
  const { cloud, storage } = await asked();
  cloud.push("delta", { text: "begun" });
  const again = openPage(cloud, storage, "tab after reload");
  await until(() => again.turn()?.state === "working" && again.turn().answer);
  again.chat.stop(again.chat.current, again.turn());
  await until(() => again.turn().state === "done");
  assert.deepEqual([again.turn().answer, again.turn().done.finish_reason], ["begun", "cancelled"]);
});

test("a cancel that may be lost with its connection is sent again", async () => {
  const { cloud, chat, turn } = await asked();
  cloud.push("delta", { text: "begun" });
  cloud.answers = ({ type }) => (type === "cancel" ? { type: "nothing" } : null);
  chat.stop(chat.current, turn());
  await until(() => cloud.of("cancel").length === 1);
  cloud.answers = () => null;
  cloud.cut();
  await until(() => turn().state === "done");
  assert.equal(cloud.of("cancel").length, 2);
  assert.equal(turn().done.finish_reason, "cancelled");
});

test("a missing frame is asked for, each time, and a doubled one is shown once", async () => {
  const { cloud, turn } = await asked();
  let lost = new Set([2, 4]);
  cloud.copies = ({ seq }) => (lost.delete(seq) ? 0 : 2); // of acks too
  for (const text of ["one ", "two ", "three "]) cloud.push("delta", { text });
  await until(() => turn().answer === "one two three ");
  for (const text of ["four ", "five "]) cloud.push("delta", { text });
  for (const socket of cloud.sockets) for (const frame of cloud.frames) cloud.post(socket, frame);
  await until(() => turn().answer === "one two three four five ");
  lost = new Set([6]);
  finish(cloud, "six");
  await until(() => turn().state === "done");
  assert.equal(turn().answer, "one two three four five six");
  assert.deepEqual([resumes(cloud), cloud.of("history").length], [[1, 5], 0]);
});

test("a restart discards what was shown", async () => {
  const { cloud, turn } = await asked();
  cloud.push("delta", { text: "wrong" });
  await until(() => turn().answer === "wrong");
  cloud.cut();
  cloud.push("delta", { text: "ri", restart: true });
  finish(cloud, "ght");
  await until(() => turn().state === "done");
  assert.equal(turn().answer, "right");
});

test("a resume that the server cannot answer now is asked again, one that it refuses is left to the history", async () => {
  const { cloud, turn } = await asked();
  cloud.push("delta", { text: "one " });
  let refusals = 0;
  cloud.answers = ({ type }) => {
    if (type !== "resume" || refusals === 2) return null;
    refusals += 1;
    return { type: "error", payload: { code: "RATE_LIMITED", retryable: true, retry_after_ms: 20 } };
  };
  cloud.cut();
  await until(() => turn().state === "working" && refusals === 2);
  assert.deepEqual([resumes(cloud), cloud.of("history").length], [[1, 1, 1], 0]);
  const id = turn().requestId;
  cloud.answers = ({ type }) => {
    if (type === "resume") return { type: "error", payload: { code: "NOT_FOUND" } };
    return type === "history" ? { type, payload: { entries: [{ role: "assistant", text: "all of it", request_id: id }] } } : null;
  };
  cloud.cut();
  await until(() => turn().state === "done");
  assert.equal(turn().answer, "all of it");
});

test("a refusal after the ack is no end of the answer", async () => {
  const { cloud, turn } = await asked();
  const refusal = { type: "error", request_id: turn().requestId, stream: 7, payload: { code: "RATE_LIMITED", retryable: true, retry_after_ms: 20 } };
  for (const socket of cloud.sockets) cloud.post(socket, refusal);
  await until(() => cloud.of("resume").length === 1);
  finish(cloud, "all of it");
  await until(() => turn().state === "done");
  assert.equal(turn().answer, "all of it");
});
