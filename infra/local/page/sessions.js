// The learner's stored conversations: the list, its pages, renaming and deleting.

const PAGE_ENTRIES = 40;
const REFRESH_DELAY_MS = 800;

export class Sessions {
  /** Newest first: `{ session_id, title, updated_at, messages }`. */
  entries = [];
  nextBefore = 0;
  isLoaded = false;
  #wire;
  #changed;
  #timer = 0;
  #editsUnderWay = 0;
  #editsEnded = 0;

  /** `changed()` is called whenever the list is. */
  constructor(wire, changed) {
    this.#wire = wire;
    this.#changed = changed;
  }

  /** Asks for the newest page soon; many calls make one question. */
  refreshSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), REFRESH_DELAY_MS);
  }

  /** Asks for the newest page; what was listed further down stays. */
  async refresh() {
    const editsEnded = this.#editsEnded;
    try {
      const page = await this.#wire.ask("sessions", { action: "list", limit: PAGE_ENTRIES });
      if (this.#editsUnderWay > 0 || this.#editsEnded !== editsEnded) return this.refreshSoon(); // may lack an edit that is shown
      const fresh = page.entries ?? [];
      const ids = new Set(fresh.map((entry) => entry.session_id));
      const oldestMs = page.next_before ? (fresh.at(-1)?.updated_at ?? 0) : Infinity;
      // Only what lies beyond this page is kept; the rest was deleted elsewhere.
      const beyond = this.entries.filter((entry) => !ids.has(entry.session_id) && entry.updated_at < oldestMs);
      const keepsBeyond = page.next_before && beyond.length > 0;
      this.entries = keepsBeyond ? [...fresh, ...beyond] : fresh;
      if (!keepsBeyond) this.nextBefore = page.next_before ?? 0;
      this.isLoaded = true;
      this.#changed();
    } catch {
      // Asked again with the next connection or turn.
    }
  }

  /** Loads the next page, if there is one. */
  async more() {
    if (!this.nextBefore) return;
    const page = await this.#wire.ask("sessions", { action: "list", before: this.nextBefore, limit: PAGE_ENTRIES });
    const ids = new Set(this.entries.map((entry) => entry.session_id));
    this.entries.push(...(page.entries ?? []).filter((entry) => !ids.has(entry.session_id)));
    this.nextBefore = page.next_before ?? 0;
    this.#changed();
  }

  find(sessionId) {
    return this.entries.find((entry) => entry.session_id === sessionId);
  }

  /** Shows the new title at once and takes it back if the server refuses it; then the error is thrown. */
  async rename(sessionId, title) {
    const entry = this.find(sessionId);
    const before = entry?.title;
    if (entry) entry.title = title;
    this.#changed();
    try {
      await this.#edit({ action: "rename", session_id: sessionId, title });
    } catch (error) {
      if (entry) entry.title = before;
      this.#changed();
      throw error;
    }
  }

  /** Deletes a session with its messages; throws the server's refusal. */
  async remove(sessionId) {
    await this.#edit({ action: "delete", session_id: sessionId });
    this.entries = this.entries.filter((entry) => entry.session_id !== sessionId);
    this.#changed();
  }

  async #edit(frame) {
    this.#editsUnderWay += 1;
    try {
      await this.#wire.ask("sessions", frame);
    } finally {
      this.#editsUnderWay -= 1;
      this.#editsEnded += 1;
    }
  }
}
