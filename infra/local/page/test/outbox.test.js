import assert from "node:assert/strict";
import { test } from "node:test";
import { byteLength, Outbox, sizeOf } from "../outbox.js";
import { Memory } from "./cloud.mjs";

const HOUR_MS = 3_600_000;
const ids = (entries) => entries.map((entry) => entry.request_id);
const message = (id, conversation, more = {}) => ({
  request_id: id, conversation, message: `text of ${id}`, user: "u", created_at_ms: Number(id.slice(1)), ...more,
});

test("a conversation's next message waits for the ack; conversations do not wait for each other", () => {
  const outbox = new Outbox(new Memory(), "tab");
  for (const [id, conversation] of [["m1", "a"], ["m2", "a"], ["m3", "b"]]) outbox.add(message(id, conversation));
  assert.deepEqual(ids(outbox.sendable()), ["m1", "m3"]);
  outbox.sent("m1");
  outbox.sent("m3");
  assert.deepEqual(ids(outbox.sendable()), []);
  outbox.acknowledged("m1", "session-a");
  assert.deepEqual(ids(outbox.sendable()), ["m2"]);
  assert.equal(outbox.get("m2").session_id, "session-a");
});

test("after a broken connection the same ids are sent again, in order", () => {
  const outbox = new Outbox(new Memory(), "tab");
  outbox.add(message("m1", "a"));
  outbox.add(message("m2", "a"));
  outbox.sent("m1");
  outbox.release();
  assert.deepEqual(ids(outbox.sendable()), ["m1"]);
});

test("messages survive the page, and go to the next tab only when theirs is gone", () => {
  const storage = new Memory();
  new Outbox(storage, "first").add(message("m1", "a"));
  const second = new Outbox(storage, "second");
  second.adopt("u", (tab) => tab === "first");
  assert.deepEqual(ids(second.waiting()), []);
  second.adopt("u", () => false);
  assert.deepEqual(ids(second.waiting()), ["m1"]);
});

test("another user's messages stay where they are", () => {
  const storage = new Memory();
  new Outbox(storage, "first").add(message("m1", "a"));
  const outbox = new Outbox(storage, "second");
  outbox.adopt("somebody else", () => false);
  assert.deepEqual(outbox.waiting(), []);
  assert.equal(storage.length, 1);
});

test("an acknowledged message is remembered until its answer is here", () => {
  const storage = new Memory();
  const first = new Outbox(storage, "first");
  first.add(message("m1", "a"));
  first.sent("m1");
  first.acknowledged("m1", "session-a");
  const second = new Outbox(storage, "second");
  second.adopt("u", () => false);
  assert.deepEqual(second.waiting(), []);
  assert.deepEqual(second.awaited().map((entry) => entry.session_id), ["session-a"]);
  second.remove("m1");
  assert.equal(storage.length, 0);
});

test("what was tried a day ago is not sent by itself: the server no longer knows its id", () => {
  const outbox = new Outbox(new Memory(), "tab");
  outbox.add(message("m1", "a"));
  outbox.sent("m1", 1);
  outbox.release();
  assert.deepEqual(ids(outbox.sendable(22 * HOUR_MS)), ["m1"]);
  assert.deepEqual(ids(outbox.sendable(24 * HOUR_MS)), []);
  assert.deepEqual(ids(outbox.tooOld(24 * HOUR_MS)), ["m1"]);
});

test("broken or blocked storage loses nothing that is in memory", () => {
  const storage = new Memory();
  storage.setItem("sparkle.outbox.x", "{broken");
  storage.setItem("sparkle.outbox.y", '{"request_id":5}');
  storage.setItem("other", "1");
  storage.setItem = () => {
    throw new Error("QuotaExceededError");
  };
  for (const each of [storage, null]) {
    const outbox = new Outbox(each, "tab");
    outbox.adopt("u", () => false);
    outbox.add(message("m1", "a"));
    assert.deepEqual(ids(outbox.sendable()), ["m1"]);
    outbox.remove("m1");
    assert.deepEqual(outbox.waiting(), []);
  }
});

test("the limit counts UTF-8 bytes", () => {
  assert.equal(byteLength("a字😀"), 8);
  const fits = (text) => sizeOf(text).usedBytes <= sizeOf(text).limitBytes;
  assert.equal(fits("字".repeat(10_923)), false);
  assert.equal(fits("字".repeat(10_000)), true);
  assert.equal(fits("\n".repeat(20_000)), false, "escaped, it would not fit a frame");
  assert.equal(fits("a".repeat(32_000)), true);
});
