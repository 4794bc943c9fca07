// A server for tests in the place of the browser's WebSocket: it keeps each answer and serves it as the protocol
// says, and the test decides what is lost on the way.

/** A browser's surroundings, as far as the page's connection needs them. */
globalThis.addEventListener ??= () => {};
globalThis.document ??= { visibilityState: "visible", addEventListener() {} };

/** A page's timers must not keep a test that is over from ending. */
const { setTimeout: wait, setInterval: repeat } = globalThis;
globalThis.setTimeout = (...what) => wait(...what).unref();
globalThis.setInterval = (...what) => repeat(...what).unref();

/** What localStorage does, in memory. */
export class Memory {
  items = new Map();
  get length() {
    return this.items.size;
  }
  key(index) {
    return [...this.items.keys()][index] ?? null;
  }
  getItem(key) {
    return this.items.get(key) ?? null;
  }
  setItem(key, value) {
    this.items.set(key, value);
  }
  removeItem(key) {
    this.items.delete(key);
  }
}

/** Waits until `holds()` gives something true, which is returned. */
export async function until(holds) {
  const deadlineMs = Date.now() + 10_000;
  for (;;) {
    const value = holds();
    if (value) return value;
    if (Date.now() > deadlineMs) throw new Error(`in vain: ${holds}`);
    await new Promise((wake) => wait(wake, 10));
  }
}

/**
 * `frames` are the stored frames of the one turn it knows: `push` adds to them. `copies(frame)` says how often a
 * frame arrives at the client, `answers(frame)` may answer a client's frame in the server's place.
 */
export class Cloud {
  sent = [];
  frames = [];
  copies = () => 1;
  answers = () => null;
  isUp = true;
  dials = 0;
  #chat = null;
  #sockets = new Set();

  /** Takes the place of the browser's WebSocket. */
  install() {
    const cloud = this;
    globalThis.WebSocket = class {
      static CONNECTING = 0;
      static OPEN = 1;
      readyState = 0;

      constructor() {
        cloud.dials += 1;
        setImmediate(() => cloud.#opened(this));
      }

      send(text) {
        setImmediate(() => this.readyState === 1 && cloud.#received(this, JSON.parse(text)));
      }

      close() {
        this.readyState = 3;
        cloud.#sockets.delete(this);
      }
    };
  }

  /** The frames of one type that clients sent. */
  of(type) {
    return this.sent.filter((frame) => frame.type === type);
  }

  /** Stores a frame of the turn and posts it to whoever listens. */
  push(type, payload = {}) {
    const seq = this.frames.length + 1;
    const names = seq === 1 || type === "done" ? { request_id: this.#chat.request_id } : {};
    const frame = { type, stream: 7, seq, payload, ...names };
    this.frames.push(frame);
    for (const socket of this.#sockets) if (socket.listens) this.post(socket, frame);
  }

  /** All sockets, for frames that the protocol would not send. */
  get sockets() {
    return [...this.#sockets];
  }

  post(socket, frame) {
    for (let copies = this.copies(frame); copies > 0; copies -= 1) {
      if (socket.readyState === 1) socket.onmessage({ data: JSON.stringify(frame) });
    }
  }

  /** Breaks all connections. */
  cut() {
    for (const socket of this.#sockets) {
      socket.readyState = 3;
      this.#sockets.delete(socket);
      socket.onclose?.({ code: 1006 });
    }
  }

  #opened(socket) {
    if (socket.readyState !== 0) return;
    socket.readyState = this.isUp ? 1 : 3;
    if (!this.isUp) {
      socket.onclose?.({ code: 1006 });
      return;
    }
    this.#sockets.add(socket);
    socket.onopen?.();
  }

  #received(socket, frame) {
    this.sent.push(frame);
    const answer = this.answers(frame) ?? this.#answer(socket, frame);
    if (answer) this.post(socket, { request_id: frame.request_id, ...answer });
  }

  #answer(socket, { type, request_id: requestId, payload }) {
    if (type === "ping") return { type: "pong", payload: {} };
    if (type === "models" || type === "sessions" || type === "history") return { type, payload: { session_id: payload.session_id } };
    if (type === "chat") {
      const duplicate = this.#chat?.request_id === requestId;
      this.#chat = { request_id: requestId, ...payload };
      this.#replay(socket, 0);
      return { type: "ack", stream: 7, payload: { session_id: "s-7", duplicate } };
    }
    if (type === "resume") {
      this.#replay(socket, payload.after_seq);
      const finished = this.frames.at(-1)?.type === "done";
      return { type: "ack", stream: 7, payload: { session_id: "s-7", last_seq: this.frames.length, finished } };
    }
    if (type === "cancel") this.push("done", { finish_reason: "cancelled" });
    return null;
  }

  #replay(socket, afterSeq) {
    for (const frame of this.frames.slice(afterSeq)) this.post(socket, frame);
    socket.listens = true;
  }
}
