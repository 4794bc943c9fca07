// Sends what the outbox holds and repeats what is not acknowledged.

const ACK_TIMEOUT_MS = 10_000;
const ACK_TIMEOUT_MS_MAX = 60_000;

export class Delivery {
  #outbox;
  #wire;
  #find;
  #changed;
  #timers = new Map();

  /** `find(requestId)` gives `{ conversation, turn }`; `changed(conversation, turn)` is called as its state changes. */
  constructor(outbox, wire, find, changed) {
    this.#outbox = outbox;
    this.#wire = wire;
    this.#find = find;
    this.#changed = changed;
  }

  /** Sends what may be sent, in order, each conversation waiting for its last `ack`. */
  flush() {
    if (!this.#wire.isOnline) return;
    for (const entry of this.#outbox.sendable()) {
      const { conversation, turn } = this.#find(entry.request_id) ?? {};
      const { message, model, language, cache } = entry;
      const payload = { session_id: entry.session_id || conversation?.sessionId || "", message, model, language, cache };
      if (!this.#wire.post("chat", payload, entry.request_id)) return;
      this.#outbox.sent(entry.request_id);
      if (!turn) continue;
      turn.sentAtMs ||= Date.now();
      turn.isUnderWay = true;
      this.#repeatLater(conversation, turn);
      this.#changed(conversation, turn);
    }
  }

  /** The question was acknowledged, refused or taken back. */
  settled(requestId) {
    clearTimeout(this.#timers.get(requestId));
    this.#timers.delete(requestId);
  }

  /** The connection is gone: all that is not acknowledged may be sent again. */
  stop() {
    for (const [requestId, timer] of this.#timers) {
      clearTimeout(timer);
      const { conversation, turn } = this.#find(requestId) ?? {};
      if (turn) {
        turn.isUnderWay = false;
        this.#changed(conversation, turn);
      }
    }
    this.#timers.clear();
    this.#outbox.release();
  }

  #repeatLater(conversation, turn) {
    turn.attempts = (turn.attempts ?? 0) + 1;
    const waitMs = Math.min(ACK_TIMEOUT_MS * 2 ** (turn.attempts - 1), ACK_TIMEOUT_MS_MAX);
    const again = () => {
      this.#timers.delete(turn.requestId);
      turn.isUnanswered = true;
      this.#outbox.release(turn.requestId);
      this.#changed(conversation, turn);
      this.flush();
    };
    this.settled(turn.requestId);
    this.#timers.set(turn.requestId, setTimeout(again, waitMs));
  }
}
