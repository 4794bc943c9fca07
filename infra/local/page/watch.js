// Notices what no frame tells: answers with a gap, answers gone silent, and the time to change the connection.

import { isRunning } from "./conversation.js";

const TICK_MS = 1_000;
const GAP_MS = 3_000;
/** The server sends something at least every 5 s; after this much silence the answer is asked for. */
const SILENCE_MS = 30_000;

export class Watch {
  #wire;
  #recovery;
  #turns;
  #reconnectByMs = null;

  /** `turns()` gives all `{ conversation, turn }`. */
  constructor(wire, recovery, turns) {
    this.#wire = wire;
    this.#recovery = recovery;
    this.#turns = turns;
  }

  start() {
    setInterval(() => this.#wire.isOnline && this.#tick(Date.now()), TICK_MS);
  }

  /** The server hangs up at `atMs`: the connection is changed before, if possible between two answers. */
  reconnectBy(atMs) {
    this.#reconnectByMs = atMs;
  }

  #tick(nowMs) {
    const running = this.#turns().filter(({ turn }) => isRunning(turn));
    if (this.#reconnectByMs !== null && (running.length === 0 || nowMs > this.#reconnectByMs - TICK_MS)) {
      this.#reconnectByMs = null;
      this.#wire.reconnect();
      return;
    }
    const stalled = new Set(this.#wire.streams.stalled(GAP_MS, nowMs));
    for (const { conversation, turn } of running) {
      if (stalled.has(turn.requestId)) {
        // A gap that `resume` left open, or history has to fill.
        const distrustResume = nowMs - (turn.gapTriedAtMs ?? nowMs) > GAP_MS;
        turn.gapTriedAtMs ??= nowMs;
        this.#recovery.recover(conversation, turn, { distrustResume });
      } else if (turn.state === "working" && isSilent(turn, nowMs)) {
        turn.heardAtMs = nowMs;
        this.#recovery.recover(conversation, turn);
      }
    }
  }
}

/** A copy of a known question should be answered at once by what is stored; others may take their time. */
function isSilent(turn, nowMs) {
  const allowedMs = turn.isDuplicate && !turn.answer ? GAP_MS : SILENCE_MS;
  return nowMs - (turn.heardAtMs ?? nowMs) > allowedMs;
}
