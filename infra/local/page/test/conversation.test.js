import assert from "node:assert/strict";
import { test } from "node:test";
import { applyFrame, formatCost, mergeHistory, newConversation, newTurn } from "../conversation.js";
import { backOffMs } from "../socket.js";
import { decode, encode, gatewayMessage } from "../wire.js";
import { preferredLanguage, untranslated } from "../words.js";

test("a turn goes through its frames", () => {
  const turn = newTurn("r", "q", { sentAtMs: 1000 });
  applyFrame(turn, { type: "ack", payload: {} }, 1100);
  assert.equal(turn.state, "working");
  applyFrame(turn, { type: "status", payload: { state: "thinking" } }, 1200);
  applyFrame(turn, { type: "delta", payload: { text: "wrong" } }, 1500);
  applyFrame(turn, { type: "delta", payload: { text: "right", restart: true } }, 1600);
  applyFrame(turn, { type: "unknown", payload: {} }, 1600);
  applyFrame(turn, { type: "usage", payload: { cost_microusd: 5 } }, 1700);
  applyFrame(turn, { type: "done", payload: { finish_reason: "stop" } }, 1800);
  applyFrame(turn, { type: "delta", payload: { text: "late" } }, 1900);
  assert.deepEqual([turn.state, turn.answer, turn.firstTextMs, turn.usage.cost_microusd], ["done", "right", 500, 5]);
});

test("frames before the ack count", () => {
  const turn = newTurn("r", "q");
  applyFrame(turn, { type: "delta", payload: { text: "a" } }, 1);
  assert.equal(turn.state, "working");
});

test("history joins pages, live turns and their order", () => {
  const conversation = newConversation("s");
  const live = newTurn("r9", "live", { state: "working" });
  conversation.turns.push(live);
  const entry = (role, id, timestamp, text) => ({ role, request_id: id, timestamp, text });
  mergeHistory(conversation, [entry("assistant", "r2", 22, "a2"), entry("user", "r3", 31, "q3"), entry("assistant", "r3", 32, "a3")]);
  mergeHistory(conversation, [entry("user", "r1", 11, "q1"), entry("assistant", "r1", 12, "a1"), entry("user", "r2", 21, "q2")], new Set(["r1"]));
  assert.deepEqual(conversation.turns.map(({ question, answer }) => [question, answer]), [["q2", "a2"], ["q3", "a3"], ["live", ""]]);
  mergeHistory(conversation, [entry("user", "r9", 91, "live"), entry("assistant", "r9", 92, "stored")]);
  assert.deepEqual([live.state, live.answer, conversation.turns.length], ["done", "stored", 3]);
});

test("costs are shown in micro-dollars", () => {
  assert.deepEqual([123, 0, undefined, 1_234_567].map(formatCost), ["$0.000123", "$0.000000", "$0.000000", "$1.234567"]);
});

test("the back-off doubles, is jittered and bounded", () => {
  const bounds = (attempt) => [backOffMs(attempt, () => 0), backOffMs(attempt, () => 1)];
  assert.deepEqual(bounds(0), [250, 500]);
  assert.deepEqual(bounds(3), [2000, 4000]);
  for (const attempt of [6, 30, 5000]) assert.deepEqual(bounds(attempt), [15_000, 30_000]);
});

test("only envelopes are frames", () => {
  assert.deepEqual(decode(encode("ping", "r", {})), { version: "2.0", type: "ping", request_id: "r", payload: {} });
  assert.deepEqual(decode('{"type":"pong"}').payload, {});
  const gateway = '{"message":"Internal server error","connectionId":"c"}';
  for (const text of [gateway, "CgMyLjA=", "[]", "null", "7", "", '{"type":5}', '{"type":"delta","encoding":"deflate","payload":"x"}']) {
    assert.equal(decode(text), null, text);
  }
  assert.equal(gatewayMessage(gateway), "Internal server error");
  assert.equal(gatewayMessage('{"type":"alert","message":"x"}'), null);
});

test("both languages say everything, and Chinese is the default", () => {
  assert.deepEqual(untranslated(), []);
  assert.equal(preferredLanguage(["fr", "en-GB", "zh"]), "en");
  assert.equal(preferredLanguage(["zh-TW", "en"]), "zh");
  assert.equal(preferredLanguage([]), "zh");
});
