import assert from "node:assert/strict";
import { test } from "node:test";
import { Streams } from "../streams.js";

const frame = (seq, more = {}) => ({ type: "delta", stream: 7, seq, payload: { text: String(seq) }, ...more });
const seqs = (ready) => ready.map(({ frame: { seq } }) => seq);

test("frames in any order come out in order, each once", () => {
  for (const order of [[1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 2, 4, 4, 3, 1]]) {
    const streams = new Streams();
    const out = order.flatMap((seq) => streams.accept(frame(seq, seq === 1 ? { request_id: "r" } : {})));
    assert.deepEqual(seqs(out), [1, 2, 3, 4]);
    assert.ok(out.every(({ requestId }) => requestId === "r"));
  }
});

test("frames before the ack wait until their request is known", () => {
  const streams = new Streams();
  assert.deepEqual(streams.accept(frame(1)), []);
  assert.deepEqual(streams.accept(frame(2)), []);
  const out = streams.accept({ type: "ack", stream: 7, request_id: "r", payload: {} });
  assert.deepEqual(out.map(({ frame: { type } }) => type), ["ack", "delta", "delta"]);
});

test("an ack without stream and the first frame meet by request_id", () => {
  const streams = new Streams();
  assert.equal(streams.accept({ type: "ack", request_id: "r", payload: {} }).length, 1);
  assert.deepEqual(seqs(streams.accept(frame(2))), []);
  assert.deepEqual(seqs(streams.accept(frame(1, { request_id: "r" }))), [1, 2]);
});

test("streams do not mix", () => {
  const streams = new Streams();
  streams.accept(frame(1, { request_id: "a" }));
  assert.deepEqual(seqs(streams.accept({ ...frame(2), stream: 8 })), []);
  assert.deepEqual(streams.accept(frame(2)).map(({ requestId }) => requestId), ["a"]);
});

test("a gap is told after its time, and no longer once it is closed", () => {
  const streams = new Streams();
  streams.accept(frame(1, { request_id: "r" }), 1000);
  streams.accept(frame(3), 2000);
  assert.deepEqual(streams.stalled(3000, 4999), []);
  assert.deepEqual(streams.stalled(3000, 5000), ["r"]);
  assert.equal(streams.lastSeq("r"), 1);
  assert.deepEqual(seqs(streams.accept(frame(2), 6000)), [2, 3]);
  assert.deepEqual(streams.stalled(3000, 60_000), []);
});

test("nothing follows the end of a stream", () => {
  const streams = new Streams();
  streams.accept(frame(1, { request_id: "r" }));
  assert.equal(streams.accept({ type: "done", stream: 7, seq: 2, request_id: "r", payload: {} }).length, 1);
  assert.deepEqual(streams.accept(frame(3)), []);
});

test("a closed stream stays closed whatever comes", () => {
  const streams = new Streams();
  streams.accept(frame(1, { request_id: "r" }));
  streams.accept(frame(3));
  streams.close("r");
  assert.deepEqual(streams.accept(frame(2)), []);
  assert.deepEqual(streams.stalled(0), []);
});

test("a refusal has no place in a stream and passes", () => {
  const streams = new Streams();
  const refusal = { type: "error", request_id: "r", payload: { code: "RATE_LIMITED" } };
  assert.deepEqual(streams.accept(refusal), [{ requestId: "r", frame: refusal }]);
});

test("what is held for a missing frame is bounded", () => {
  const streams = new Streams();
  for (let seq = 2; seq < 5000; seq += 1) streams.accept(frame(seq));
  const out = streams.accept(frame(1, { request_id: "r" }));
  assert.equal(out.length, 2049);
});

test("a stream that is named from elsewhere gives what it holds", () => {
  const streams = new Streams();
  assert.deepEqual(streams.accept(frame(2)), []);
  assert.deepEqual(streams.name(7, "r"), []);
  assert.deepEqual(seqs(streams.accept(frame(1))), [1, 2]);
});

test("a stream keeps its name", () => {
  const streams = new Streams();
  streams.accept(frame(1, { request_id: "r" }));
  assert.deepEqual(streams.accept({ type: "ack", stream: 7, request_id: "another", payload: {} }), []);
  assert.deepEqual(streams.name(7, "another"), []);
  assert.deepEqual(streams.accept(frame(2)).map(({ requestId }) => requestId), ["r"]);
});
