// Notices what no frame tells: answers with a gap, answers gone silent, and the time to change the connection.

import { isRunning } from "./conversation.js";

const TICK_MS = 1_000;
/** A frame that is missing for so long is asked for. */
const GAP_MS = 1_000;
/** How long the server has to send it before it is asked for again. */
const GAP_REPEAT_MS = 3_000;
/** After so much asking in vain, the whole answer is awaited in the history. */
const GAP_MS_MAX = 9_000;
/** The server sends something at least every 4 s; after this much silence the answer is asked for. */
const SILENCE_MS = 15_000;
/** A copy of a known question should be answered at once by what is stored. */
const DUPLICATE_SILENCE_MS = 5_000;

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
        turn.gapSinceMs ??= nowMs;
        if (nowMs - (turn.gapAskedAtMs ?? 0) < GAP_REPEAT_MS) continue;
        turn.gapAskedAtMs = nowMs;
        const distrustResume = nowMs - turn.gapSinceMs > GAP_MS_MAX;
        this.#recovery.recover(conversation, turn, { distrustResume });
        continue;
      }
      turn.gapSinceMs = turn.gapAskedAtMs = null;
      if (turn.state === "working" && isSilent(turn, nowMs)) {
        turn.heardAtMs = nowMs;
        this.#recovery.recover(conversation, turn);
      }
    }
  }
}

function isSilent(turn, nowMs) {
  const allowedMs = turn.isDuplicate && !turn.answer ? DUPLICATE_SILENCE_MS : SILENCE_MS;
  return nowMs - (turn.heardAtMs ?? nowMs) > allowedMs;
}
