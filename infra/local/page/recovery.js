// Gets what was missed of an answer. Hides that `resume` may be refused, and that history is asked instead.

import { adoptAnswer, isFinal } from "./conversation.js";

const POLL_INTERVAL_MS = 3_000;
/** A turn is given up as "lost" after this. */
const RECOVERY_TIMEOUT_MS = 120_000;
const RETRY_PAUSE_MS = 1_000;
const HISTORY_ENTRIES = 40;

const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));

export class Recovery {
  #wire;
  #changed;
  #running = new Map();

  /** `changed(conversation, turn)` is called whenever a turn changes. */
  constructor(wire, changed) {
    this.#wire = wire;
    this.#changed = changed;
  }

  /** Stops all that runs: the connection is gone, and the next one starts anew. */
  stop() {
    for (const run of this.#running.values()) run.over = true;
    this.#running.clear();
  }

  /** True while a turn is being recovered. */
  isRunning(turn) {
    return this.#running.has(turn.requestId);
  }

  /**
   * Brings `turn` up to date. Returns at once; the turn becomes "working" again by frames, "done" by the stored
   * answer, or "lost" after two minutes. `distrustResume` goes to history directly: a resumed stream still has a gap.
   */
  async recover(conversation, turn, { distrustResume } = {}) {
    const before = this.#running.get(turn.requestId);
    if (before && !(distrustResume && before.by === "resume")) return;
    if (before) before.over = true;
    const run = { over: false, deadlineMs: Date.now() + RECOVERY_TIMEOUT_MS, by: distrustResume || !this.#wire.canResume ? "history" : "resume" };
    this.#running.set(turn.requestId, run);
    turn.state = "recovering";
    this.#changed(conversation, turn);
    if (run.by === "resume" && (await this.#resumed(conversation, turn, run))) {
      this.#end(turn, run);
      return;
    }
    run.by = "history";
    await this.#poll(conversation, turn, run);
    this.#end(turn, run);
  }

  #end(turn, run) {
    if (this.#running.get(turn.requestId) === run) this.#running.delete(turn.requestId);
  }

  /** True if the frames come by themselves from now on. */
  async #resumed(conversation, turn, run) {
    for (;;) {
      const afterSeq = this.#wire.streams.lastSeq(turn.requestId);
      try {
        const ack = await this.#wire.ask("resume", { request_id: turn.requestId, after_seq: afterSeq });
        if (run.over || isFinal(turn)) return true;
        // Finished, and nothing after what we have: only the outcome is missing, which history tells.
        if (ack.finished && (ack.last_seq ?? 0) <= this.#wire.streams.lastSeq(turn.requestId)) return false;
        turn.state = "working";
        turn.heardAtMs = Date.now();
        this.#changed(conversation, turn);
        return true;
      } catch (error) {
        if (run.over) return true; // the connection broke
        // This release has no `resume` or does not know the request; all else is asked again.
        if (!error.retryable || Date.now() > run.deadlineMs) return false;
        await pause(error.retryAfterMs || RETRY_PAUSE_MS);
        if (run.over || isFinal(turn)) return true;
      }
    }
  }

  async #poll(conversation, turn, run) {
    while (!run.over && !isFinal(turn)) {
      const text = await this.#storedAnswer(conversation, turn);
      if (run.over || isFinal(turn)) return;
      if (text !== null) {
        this.#wire.streams.close(turn.requestId);
        adoptAnswer(turn, text);
        this.#changed(conversation, turn);
        return;
      }
      if (Date.now() > run.deadlineMs) {
        turn.state = "lost";
        this.#changed(conversation, turn);
        return;
      }
      await pause(POLL_INTERVAL_MS);
    }
  }

  async #storedAnswer(conversation, turn) {
    if (!conversation.sessionId) return null;
    try {
      const question = { session_id: conversation.sessionId, limit: HISTORY_ENTRIES };
      const { entries = [] } = await this.#wire.ask("history", question);
      const entry = entries.find(({ role, request_id: id }) => role === "assistant" && id === turn.requestId);
      return entry ? (entry.text ?? "") : null;
    } catch {
      return null; // asked again until the deadline
    }
  }
}
