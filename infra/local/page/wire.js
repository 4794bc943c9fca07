// Frames over the socket: questions with their answers, and streams of answers in order.
// Hides the envelope, the matching of answers, the gateway's own messages, refused tokens, and whether `resume` exists.

import { Socket } from "./socket.js";
import { Streams } from "./streams.js";

const ANSWER_TIMEOUT_MS = 15_000;
const VERSION = "2.0";
/** Answered questions remembered, so that a second answer is known for what it is. */
const SETTLED_MAX = 200;

/** A refusal by the server, or code "DISCONNECTED" or "NO_ANSWER" where none came. */
export class WireError extends Error {
  constructor({ code = "INTERNAL", message = "", retryable = false, retry_after_ms: retryAfterMs = 0 }) {
    super(message);
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The text of a frame. */
export function encode(type, requestId, payload) {
  return JSON.stringify({ version: VERSION, type, request_id: requestId, payload });
}

/** The envelope in a text frame; null for what is not one: the gateway's own messages, other codecs, broken text. */
export function decode(text) {
  try {
    const frame = JSON.parse(text);
    if (typeof frame?.type !== "string" || frame.encoding) return null;
    return { ...frame, payload: frame.payload ?? {} };
  } catch {
    return null;
  }
}

/** What the gateway itself says when an integration failed or was late; null for everything else. */
export function gatewayMessage(text) {
  try {
    const { type, message } = JSON.parse(text);
    return type === undefined && typeof message === "string" ? message : null;
  } catch {
    return null;
  }
}

/**
 * `on.state(state)`; `on.turn(requestId, frame)` for frames of answers, in order; `on.notice(type, payload)` for
 * `reconnect`, `alert` and "gateway"; `on.tokenFailure()`.
 */
export class Wire {
  streams = new Streams();
  /** False once this connection's server said that it knows no `resume`. */
  canResume = true;
  isOnline = false;
  #socket;
  #on;
  #questions = new Map();
  #settled = new Set();

  constructor(url, tokens, on) {
    this.#on = on;
    this.#socket = new Socket(url, tokens, {
      onState: (state) => this.#changed(state),
      onText: (text) => this.#received(text),
      onTokenFailure: () => on.tokenFailure(),
      ping: () => encode("ping", crypto.randomUUID(), {}),
      renew: (token) => this.ask("auth", { token }).catch(() => {}),
    });
  }

  start() {
    this.#socket.start();
  }

  /** Opens a new connection at once. */
  reconnect() {
    this.#socket.reconnect();
  }

  /** Sends a frame whose answers come through `on.turn`; false if there is no connection. */
  post(type, payload, requestId = crypto.randomUUID()) {
    return this.#socket.send(encode(type, requestId, payload));
  }

  /** Sends a question; the payload of its one answer, or a `WireError`. */
  ask(type, payload) {
    const requestId = crypto.randomUUID();
    return new Promise((resolve, reject) => {
      if (!this.post(type, payload, requestId)) {
        reject(new WireError({ code: "DISCONNECTED", retryable: true }));
        return;
      }
      const late = () => this.#settle(requestId)?.reject(new WireError({ code: "NO_ANSWER", retryable: true }));
      this.#questions.set(requestId, { type, payload, resolve, reject, timer: setTimeout(late, ANSWER_TIMEOUT_MS) });
    });
  }

  #settle(requestId) {
    const question = this.#questions.get(requestId);
    if (!question) return undefined;
    clearTimeout(question.timer);
    this.#questions.delete(requestId);
    if (this.#settled.size >= SETTLED_MAX) this.#settled.delete(this.#settled.values().next().value);
    this.#settled.add(requestId);
    return question;
  }

  #changed(state) {
    this.isOnline = state.name === "online";
    if (!this.isOnline) {
      const lost = new WireError({ code: "DISCONNECTED", retryable: true });
      for (const requestId of [...this.#questions.keys()]) this.#settle(requestId).reject(lost);
    } else {
      this.canResume = true;
    }
    this.#on.state(state);
  }

  #received(text) {
    const frame = decode(text);
    if (!frame) {
      const message = gatewayMessage(text);
      if (message !== null) this.#on.notice("gateway", { message });
      return;
    }
    if (frame.type === "error" && frame.payload.code === "UNAUTHENTICATED") {
      this.#socket.refused(); // whatever the frame answers: it is asked again over the next connection
      return;
    }
    const question = this.#settle(frame.request_id);
    if (question) {
      this.#answered(question, frame);
      return;
    }
    if (this.#settled.has(frame.request_id)) return; // doubled or too late: it would give its stream the question's name
    if (frame.type === "reconnect" || frame.type === "alert") {
      this.#on.notice(frame.type, frame.payload);
      return;
    }
    for (const ready of this.streams.accept(frame)) this.#on.turn(ready.requestId, ready.frame);
  }

  #answered(question, frame) {
    if (frame.type !== "error") {
      question.resolve(frame.payload);
      if (question.type !== "resume" || !frame.stream) return;
      // Its frames may come without the first one, which would name their request.
      for (const ready of this.streams.name(frame.stream, question.payload.request_id)) this.#on.turn(ready.requestId, ready.frame);
      return;
    }
    const error = new WireError(frame.payload);
    if (question.type === "resume" && error.code === "UNKNOWN_TYPE") this.canResume = false;
    question.reject(error);
  }
}
