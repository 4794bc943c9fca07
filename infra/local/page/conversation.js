// What was said: conversations, their turns, and how each frame changes a turn. No I/O and no DOM.

/**
 * A turn is a question and its answer. `state`:
 * "queued" (not acknowledged), "working" (acknowledged, answer coming), "recovering" (asking what was missed),
 * "lost" (not found in time), "done", "failed".
 */
export function newTurn(requestId, question, values = {}) {
  return {
    requestId, question, answer: "", state: "queued", status: "", usage: null, done: null, error: null,
    sentAtMs: 0, firstTextMs: null, cancelWanted: false, replaced: null, rating: 0, ...values,
  };
}

/** `key` is the page's own name of a conversation: the session's id, or a fresh one until the server names it. */
export function newConversation(sessionId = "") {
  return {
    key: sessionId || `new-${crypto.randomUUID()}`, sessionId, title: "", turns: [],
    nextBefore: 0, loaded: !sessionId, loading: false,
  };
}

/** Stars of an answer that helped, and of one that was wrong, which is not given again. */
export const [RATING_GOOD, RATING_BAD] = [5, 1];

/** Whether the turn's outcome is known. */
export function isFinal(turn) {
  return turn.state === "done" || turn.state === "failed";
}

/** Whether an answer is on its way. */
export function isRunning(turn) {
  return turn.state === "working" || turn.state === "recovering";
}

/** Applies a frame of the turn's stream, which must come in order. */
export function applyFrame(turn, { type, payload }, nowMs) {
  if (isFinal(turn) && type !== "usage") return;
  const apply = FRAMES[type];
  if (!apply) return; // types of later releases
  apply(turn, payload, nowMs);
}

const FRAMES = {
  ack(turn, payload) {
    if (turn.state === "queued") turn.state = "working";
    if (payload.duplicate) turn.status = turn.status || "generating";
  },
  status(turn, payload) {
    turn.state = "working";
    turn.status = payload.state ?? "";
  },
  tool_progress(turn, payload) {
    turn.state = "working";
    turn.status = "async_tool";
    turn.progress = payload.message || (payload.progress ? `${payload.progress} %` : "");
  },
  delta(turn, payload, nowMs) {
    turn.state = "working";
    turn.status = "generating";
    if (payload.restart) turn.answer = "";
    turn.answer += payload.text ?? "";
    if (turn.firstTextMs === null && turn.sentAtMs && payload.text) turn.firstTextMs = nowMs - turn.sentAtMs;
  },
  usage(turn, payload) {
    turn.usage = payload;
  },
  done(turn, payload) {
    turn.state = "done";
    turn.done = payload;
    turn.error = null;
  },
  error(turn, payload) {
    turn.state = "failed";
    turn.error = payload;
  },
};

/** Takes the stored text of an answer in place of a broken stream. */
export function adoptAnswer(turn, text) {
  turn.answer = text;
  turn.state = "done";
  turn.error = null;
  turn.done ??= {};
}

/**
 * Puts a page of history (oldest first) into a conversation.
 * Entries are matched by `request_id`; a question and its answer may come from two pages.
 */
export function mergeHistory(conversation, entries, hidden = new Set()) {
  const known = new Map(conversation.turns.map((turn) => [turn.requestId, turn]));
  const older = [];
  for (const [index, entry] of entries.entries()) {
    const requestId = entry.request_id || `entry-${entry.timestamp ?? 0}-${index}`;
    if (hidden.has(requestId)) continue;
    let turn = known.get(requestId);
    if (!turn) {
      turn = newTurn(requestId, "", { state: "done", stored: true });
      known.set(requestId, turn);
      older.push(turn);
    }
    if (entry.role === "user") turn.question ||= entry.text ?? "";
    if (entry.role === "assistant" && (turn.stored || !isFinal(turn))) {
      if (turn.stored) turn.answer = entry.text ?? "";
      else adoptAnswer(turn, entry.text ?? "");
    }
    turn.timestampMs ||= entry.timestamp ?? 0;
  }
  // Turns without a server's time were made here and are the newest.
  const placeMs = (turn) => turn.timestampMs || Infinity;
  conversation.turns = [...older, ...conversation.turns].sort((a, b) => (placeMs(a) === placeMs(b) ? 0 : placeMs(a) - placeMs(b)));
}

/** "$0.000123" of a cost in micro-dollars: always six digits, since that is the unit. */
export function formatCost(microusd) {
  return `$${(Number(microusd ?? 0) / 1e6).toFixed(6)}`;
}
