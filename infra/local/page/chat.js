// The conversation with the server: sending, stopping, answering again, opening stored conversations, and
// bringing everything up to date after a broken connection. Hides outbox, recovery and the frames' order.

import { applyFrame, isFinal, isRunning, mergeHistory, newConversation, newTurn } from "./conversation.js";
import { Delivery } from "./delivery.js";
import { Outbox } from "./outbox.js";
import { Hidden } from "./prefs.js";
import { Recovery } from "./recovery.js";
import { Sessions } from "./sessions.js";
import { Watch } from "./watch.js";
import { Wire } from "./wire.js";

const HISTORY_PAGE_ENTRIES = 40;

/**
 * `on.connection(state)`, `on.conversation(conversation)` (another one, or turns came or went),
 * `on.turn(conversation, turn)`, `on.sessions()`, `on.models()`, `on.notice(kind, message)`,
 * `on.returned(text)`: a question taken back before it was sent.
 */
export class Chat {
  current = newConversation();
  models = [];
  /** What new questions are asked with: `{ model, language }`. */
  choices = { model: "", language: "zh-CN" };
  #conversations = new Map();
  #turns = new Map();
  #cancels = new Map();
  #hidden = new Hidden();
  #user = "";

  constructor({ url, tokens, storage, tab, livingTabs, on }) {
    this.on = on;
    this.livingTabs = livingTabs;
    this.outbox = new Outbox(storage, tab);
    this.wire = new Wire(url, tokens, {
      state: (state) => this.#connectionChanged(state),
      turn: (requestId, frame) => this.#received(requestId, frame),
      notice: (type, payload) => this.#noticed(type, payload),
      tokenFailure: () => on.notice("tokenFailed"),
    });
    this.delivery = new Delivery(this.outbox, this.wire, (requestId) => this.#turns.get(requestId), on.turn);
    this.recovery = new Recovery(this.wire, (conversation, turn) => this.#recovered(conversation, turn));
    this.watch = new Watch(this.wire, this.recovery, () => [...this.#turns.values()]);
    this.sessions = new Sessions(this.wire, () => on.sessions());
  }

  /** Connects. `user` is who used this device last: the outbox can be shown before the server answers. */
  async start(user) {
    if (user) await this.#adopt(user);
    this.wire.start();
    this.watch.start();
  }

  /** Conversations that the server has not named yet, newest first. */
  unnamed() {
    return [...this.#conversations.values()].filter((each) => !each.sessionId && each.turns.length > 0).reverse();
  }

  /** Asks a question in the current conversation. */
  send(message) {
    const turn = this.#enqueue(this.current, newTurn(crypto.randomUUID(), message), "");
    this.current.turns.push(turn);
    this.on.conversation(this.current);
    this.delivery.flush();
  }

  /** Asks the turn's question again, past the cache, and shows the new answer in place of the old one. */
  regenerate(conversation, turn) {
    const fresh = newTurn(crypto.randomUUID(), turn.question, { replaced: turn, timestampMs: turn.timestampMs });
    this.#enqueue(conversation, fresh, "bypass");
    this.#replace(conversation, turn, fresh);
    this.delivery.flush();
  }

  /** Sends a failed question again: under its own id if the server never took it, else as a new one. */
  retry(conversation, turn) {
    const requestId = turn.wasRefused ? turn.requestId : crypto.randomUUID();
    const fresh = newTurn(requestId, turn.question, { replaced: turn.replaced, timestampMs: turn.timestampMs });
    this.#enqueue(conversation, fresh, turn.replaced ? "bypass" : "");
    this.#replace(conversation, turn, fresh);
    this.delivery.flush();
  }

  /** Stops the answer; a question that was never sent is taken back. */
  stop(conversation, turn) {
    const entry = this.outbox.get(turn.requestId);
    if (entry && entry.attempted_at_ms === 0) {
      this.takeBack(conversation, turn);
      return;
    }
    turn.cancelWanted = true;
    if (isRunning(turn)) this.#cancel(conversation, turn);
    this.on.turn(conversation, turn);
  }

  /** Removes an unacknowledged question and hands its text back. */
  takeBack(conversation, turn) {
    this.outbox.remove(turn.requestId);
    this.delivery.settled(turn.requestId);
    if (turn.replaced) this.#replace(conversation, turn, turn.replaced);
    else {
      conversation.turns = conversation.turns.filter((each) => each !== turn);
      this.#turns.delete(turn.requestId);
      this.on.returned(turn.question);
    }
    this.on.conversation(conversation);
    this.delivery.flush();
  }

  /** Tells what an answer is worth, 1 to 5: a wrong one is not given again. Throws the server's refusal. */
  async rate(conversation, turn, rating) {
    await this.wire.ask("feedback", { target: "answer", id: turn.requestId, rating });
    turn.rating = rating;
    this.on.turn(conversation, turn);
  }

  /** Looks again for an answer that did not come. */
  checkAgain(conversation, turn) {
    this.recovery.recover(conversation, turn);
  }

  /** Shows an empty conversation. */
  startNew() {
    this.current = newConversation();
    this.on.conversation(this.current);
  }

  /** Shows a conversation by its session or by the page's own key. */
  open(key) {
    const known = this.#bySession(key) ?? this.#conversations.get(key);
    this.current = known ?? this.#keep(newConversation(key));
    this.on.conversation(this.current);
    if (this.current.sessionId) this.#load(this.current, 0);
  }

  /** Loads the page of history before what is shown. */
  async loadOlder() {
    if (this.current.nextBefore) await this.#load(this.current, this.current.nextBefore);
  }

  /** Deletes a stored conversation; throws the server's refusal. */
  async remove(sessionId) {
    await this.sessions.remove(sessionId);
    const conversation = this.#bySession(sessionId);
    if (conversation) this.#conversations.delete(conversation.key);
    if (this.current.sessionId === sessionId) this.startNew();
  }

  #enqueue(conversation, turn, cache) {
    this.#keep(conversation);
    this.#turns.set(turn.requestId, { conversation, turn });
    this.outbox.add({
      request_id: turn.requestId, conversation: conversation.key, session_id: conversation.sessionId,
      message: turn.question, model: this.choices.model, language: this.choices.language, cache,
      replaces: turn.replaced?.requestId ?? "", user: this.#user, created_at_ms: Date.now(),
    });
    return turn;
  }

  #replace(conversation, turn, fresh) {
    conversation.turns = conversation.turns.map((each) => (each === turn ? fresh : each));
    this.#turns.delete(turn.requestId);
    this.#turns.set(fresh.requestId, { conversation, turn: fresh });
    this.on.conversation(conversation);
  }

  #keep(conversation) {
    this.#conversations.set(conversation.key, conversation);
    return conversation;
  }

  #bySession(sessionId) {
    return [...this.#conversations.values()].find((each) => sessionId && each.sessionId === sessionId);
  }

  async #connectionChanged(state) {
    if (state.name === "online") {
      await this.#adopt(state.user);
      if (!this.wire.isOnline) return;
      this.on.connection(state);
      this.#caughtUp();
      return;
    }
    this.recovery.stop();
    this.delivery.stop();
    for (const { conversation, turn } of this.#turns.values()) {
      if (turn.state !== "working") continue;
      turn.state = "recovering";
      this.on.turn(conversation, turn);
    }
    this.on.connection(state);
  }

  #caughtUp() {
    this.watch.reconnectBy(null);
    this.delivery.flush();
    for (const { conversation, turn } of this.#turns.values()) {
      if (!isRunning(turn)) continue;
      if (turn.cancelWanted) this.#cancel(conversation, turn);
      this.recovery.recover(conversation, turn);
    }
    if (this.current.sessionId && !this.current.loaded) this.#load(this.current, 0);
    this.sessions.refresh();
    if (this.models.length === 0) this.#askModels();
  }

  async #askModels() {
    try {
      this.models = (await this.wire.ask("models", {})).entries ?? [];
      this.on.models();
    } catch {
      // Asked again with the next connection; the default model serves meanwhile.
    }
  }

  /** Shows what earlier tabs of this user left: unsent questions, and answers that were on their way. */
  async #adopt(user) {
    this.#user = user;
    const living = await this.livingTabs();
    this.outbox.adopt(user, (tab) => living.has(tab));
    for (const entry of this.outbox.waiting()) this.#restore(entry, "queued");
    for (const entry of this.outbox.awaited()) this.#restore(entry, "recovering");
    for (const entry of this.outbox.tooOld()) {
      this.outbox.remove(entry.request_id);
      const { conversation, turn } = this.#turns.get(entry.request_id);
      Object.assign(turn, { state: "failed", error: { code: "EXPIRED", retryable: true } });
      this.on.turn(conversation, turn);
    }
  }

  #restore(entry, state) {
    if (this.#turns.has(entry.request_id)) return;
    let home = this.#bySession(entry.session_id) ?? this.#conversations.get(entry.conversation);
    if (!home) {
      home = newConversation(entry.session_id);
      if (!entry.session_id) home.key = entry.conversation;
      this.#keep(home);
    }
    if (!this.current.sessionId && this.current.turns.length === 0) this.current = home;
    const turn = newTurn(entry.request_id, entry.message, { state, replaces: entry.replaces });
    home.turns.push(turn);
    this.#turns.set(entry.request_id, { conversation: home, turn });
    this.on.conversation(home);
    this.on.sessions();
  }

  #received(requestId, frame) {
    const cancelled = this.#cancels.get(requestId);
    if (cancelled) {
      this.#cancels.delete(requestId);
      if (frame.type === "error" && isRunning(cancelled.turn)) this.recovery.recover(cancelled.conversation, cancelled.turn);
      return;
    }
    const { conversation, turn } = this.#turns.get(requestId) ?? {};
    if (!turn) return;
    turn.heardAtMs = Date.now();
    if (frame.type === "error" && !frame.seq && frame.payload.retryable && isRunning(turn)) {
      // The answer runs, only following it was refused for now.
      setTimeout(() => isRunning(turn) && this.recovery.recover(conversation, turn), Number(frame.payload.retry_after_ms ?? 0));
      return;
    }
    if (frame.type === "error") turn.wasRefused = Boolean(this.outbox.get(requestId));
    applyFrame(turn, frame, Date.now());
    if (frame.type === "ack") this.#accepted(conversation, turn, frame.payload);
    if (isFinal(turn)) this.#finished(conversation, turn);
    this.on.turn(conversation, turn);
  }

  #accepted(conversation, turn, { session_id: sessionId = "", duplicate = false }) {
    this.delivery.settled(turn.requestId);
    turn.isUnanswered = false;
    turn.isDuplicate = duplicate;
    this.outbox.acknowledged(turn.requestId, sessionId);
    if (sessionId && !conversation.sessionId) {
      conversation.sessionId = sessionId;
      this.on.conversation(conversation);
    }
    if (turn.cancelWanted && isRunning(turn)) this.#cancel(conversation, turn);
    this.sessions.refreshSoon();
    this.delivery.flush();
  }

  #finished(conversation, turn) {
    const isNamed = Boolean(conversation.sessionId);
    // A conversation gets its session by the `ack`; until then the question stays and is asked again.
    if (isNamed || turn.state === "failed") {
      this.outbox.remove(turn.requestId);
      this.delivery.settled(turn.requestId);
    }
    if (turn.state === "done" && turn.answer) this.#hide(turn);
    if (turn.replaced?.state === "done" && !turn.answer) {
      if (turn.error) this.on.notice("error", turn.error.message);
      this.#replace(conversation, turn, turn.replaced);
    }
    this.sessions.refreshSoon();
    this.delivery.flush();
  }

  #hide(turn) {
    const replaced = turn.replaced?.requestId ?? turn.replaces;
    if (replaced) this.#hidden.add(replaced);
  }

  #recovered(conversation, turn) {
    if (isFinal(turn)) this.#finished(conversation, turn);
    this.on.turn(conversation, turn);
  }

  #cancel(conversation, turn) {
    const requestId = crypto.randomUUID();
    if (this.wire.post("cancel", { request_id: turn.requestId }, requestId)) this.#cancels.set(requestId, { conversation, turn });
  }

  async #load(conversation, before) {
    if (conversation.loading || !this.wire.isOnline) return;
    conversation.loading = true;
    this.on.conversation(conversation);
    try {
      const page = await this.wire.ask("history", { session_id: conversation.sessionId, before, limit: HISTORY_PAGE_ENTRIES });
      mergeHistory(conversation, page.entries ?? [], this.#hidden);
      for (const turn of conversation.turns) {
        if (!turn.stored && isFinal(turn)) this.outbox.remove(turn.requestId);
      }
      if (before || !conversation.loaded) conversation.nextBefore = page.next_before ?? 0;
      conversation.loaded = true;
    } catch (error) {
      if (error.code !== "DISCONNECTED") this.on.notice("error", error.message, "openFailed");
    }
    conversation.loading = false;
    this.on.conversation(conversation);
  }

  #noticed(type, { message = "", in_ms: inMs = 0 }) {
    if (type === "reconnect") this.watch.reconnectBy(Date.now() + inMs);
    else this.on.notice(type, message);
  }
}
