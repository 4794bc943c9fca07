// Messages on their way to the server. Hides how they survive a reload, which tab owns which,
// and that a session's next message waits for the `ack` of the one before.

/** The largest message the server takes, in UTF-8 bytes. */
export const MESSAGE_BYTES_MAX = 32_768;
/** The gateway hangs up on larger WebSocket frames, and a browser puts a message into one frame. */
const FRAME_BYTES_MAX = 32_768;
/** Room for all of a `chat` frame but the message. */
const ENVELOPE_BYTES = 512;
/** The server forgets a `request_id` after 24 h; later a copy would be answered and paid twice. */
const RESEND_AGE_MS_MAX = 23 * 3_600_000;
/** An accepted message's answer is looked for this long after a reload. */
const AWAITED_AGE_MS_MAX = 3_600_000;
const WAITING = "sparkle.outbox.";
const AWAITED = "sparkle.awaited.";

/** Bytes of `text` in UTF-8. */
export function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

/** `{ usedBytes, limitBytes }` of a message, whichever of the two limits is nearer: its own or its frame's. */
export function sizeOf(message) {
  const usedBytes = byteLength(message);
  const framedBytes = byteLength(JSON.stringify(message)); // line breaks and quotation marks grow
  const limitBytes = Math.min(MESSAGE_BYTES_MAX, FRAME_BYTES_MAX - ENVELOPE_BYTES - (framedBytes - usedBytes));
  return { usedBytes, limitBytes };
}

/**
 * An entry is `{ request_id, conversation, session_id, message, model, language, cache, replaces, user, tab,
 * created_at_ms, attempted_at_ms }`; `conversation` is the page's own key, known before the server names the session.
 * One storage key per entry, so that tabs never overwrite each other's. Where storage is full or blocked, the
 * entries live in memory.
 */
export class Outbox {
  #storage;
  #tab;
  #waiting = new Map();
  #awaited = new Map();
  #inFlight = new Set();

  constructor(storage, tab) {
    this.#storage = storage;
    this.#tab = tab;
  }

  /** Takes over what tabs that are gone left for `user`. `isAlive` tells whether a tab still runs. */
  adopt(user, isAlive, nowMs = Date.now()) {
    for (const [prefix, entries] of [[WAITING, this.#waiting], [AWAITED, this.#awaited]]) {
      for (const entry of this.#read(prefix)) {
        const gone = entry.tab !== this.#tab && !isAlive(entry.tab);
        if (entry.user !== user || !gone || entries.has(entry.request_id)) continue;
        if (prefix === AWAITED && nowMs - entry.attempted_at_ms > AWAITED_AGE_MS_MAX) {
          this.#erase(prefix, entry);
          continue;
        }
        entry.tab = this.#tab;
        entries.set(entry.request_id, entry);
        this.#write(prefix, entry);
      }
    }
  }

  /** Puts a message at the end of its conversation's line. */
  add(entry) {
    const kept = { session_id: "", attempted_at_ms: 0, ...entry, tab: this.#tab };
    this.#waiting.set(kept.request_id, kept);
    this.#write(WAITING, kept);
    return kept;
  }

  /** All that is not acknowledged, oldest first. */
  waiting() {
    return [...this.#waiting.values()].sort((a, b) => a.created_at_ms - b.created_at_ms);
  }

  /** Acknowledged messages whose answer has not come. */
  awaited() {
    return [...this.#awaited.values()];
  }

  get(requestId) {
    return this.#waiting.get(requestId);
  }

  /** What may be sent now: the head of each conversation's line, unless it is in flight. */
  sendable(nowMs = Date.now()) {
    const heads = new Map();
    for (const entry of this.waiting()) {
      if (!heads.has(entry.conversation)) heads.set(entry.conversation, entry);
    }
    return [...heads.values()].filter((entry) => !this.#inFlight.has(entry.request_id) && !isTooOld(entry, nowMs));
  }

  /** Entries that can no longer be sent under their old id. */
  tooOld(nowMs = Date.now()) {
    return this.waiting().filter((entry) => isTooOld(entry, nowMs));
  }

  isInFlight(requestId) {
    return this.#inFlight.has(requestId);
  }

  /** Marks an entry as written to a socket. */
  sent(requestId, nowMs = Date.now()) {
    const entry = this.#waiting.get(requestId);
    if (!entry) return;
    this.#inFlight.add(requestId);
    entry.attempted_at_ms ||= nowMs;
    this.#write(WAITING, entry);
  }

  /** Lets an entry be sent again; without an id, all of them: the socket is gone. */
  release(requestId) {
    if (requestId === undefined) this.#inFlight.clear();
    else this.#inFlight.delete(requestId);
  }

  /** The server has it: removed, and later messages of the conversation learn their session. */
  acknowledged(requestId, sessionId) {
    const entry = this.#waiting.get(requestId);
    if (!entry) return undefined;
    this.remove(requestId);
    const accepted = { ...entry, session_id: sessionId || entry.session_id };
    this.#awaited.set(requestId, accepted);
    this.#write(AWAITED, accepted);
    for (const later of this.#waiting.values()) {
      if (later.conversation !== entry.conversation || later.session_id) continue;
      later.session_id = accepted.session_id;
      this.#write(WAITING, later);
    }
    return accepted;
  }

  /** Forgets a message: refused, taken back, or answered. */
  remove(requestId) {
    this.#inFlight.delete(requestId);
    for (const [prefix, entries] of [[WAITING, this.#waiting], [AWAITED, this.#awaited]]) {
      const entry = entries.get(requestId);
      if (!entry) continue;
      entries.delete(requestId);
      this.#erase(prefix, entry);
    }
  }

  #read(prefix) {
    const entries = [];
    try {
      for (let index = 0; index < this.#storage.length; index += 1) {
        const key = this.#storage.key(index);
        if (!key?.startsWith(prefix)) continue;
        const entry = parse(this.#storage.getItem(key));
        if (entry) entries.push(entry);
      }
    } catch {
      // Storage is blocked: nothing was kept.
    }
    return entries;
  }

  #write(prefix, entry) {
    try {
      this.#storage.setItem(prefix + entry.request_id, JSON.stringify(entry));
    } catch {
      // Full or blocked: the entry stays in memory.
    }
  }

  #erase(prefix, entry) {
    try {
      this.#storage.removeItem(prefix + entry.request_id);
    } catch {
      // Blocked: it was never written.
    }
  }
}

function isTooOld(entry, nowMs) {
  return entry.attempted_at_ms > 0 && nowMs - entry.attempted_at_ms > RESEND_AGE_MS_MAX;
}

function parse(text) {
  try {
    const entry = JSON.parse(text);
    const isEntry = typeof entry?.request_id === "string" && typeof entry.message === "string";
    return isEntry ? entry : null;
  } catch {
    return null;
  }
}
