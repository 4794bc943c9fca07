// One WebSocket that is kept open. Hides tokens, back-off, heartbeats and dead connections.

import { TokenRefused } from "./token.js";

const CONNECT_TIMEOUT_MS = 15_000;
const PING_INTERVAL_MS = 60_000;
const PONG_TIMEOUT_MS = 10_000;
const BACK_OFF_FIRST_MS = 500;
const BACK_OFF_MAX_MS = 30_000;
/** A live socket's token is renewed this long before it runs out, or after half of what is left if that is later. */
const RENEW_MARGIN_MS = 120_000;
/** The longest delay that a browser's timer takes. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Milliseconds before attempt `attempt` (from 0): doubling up to 30 s, the upper half of it random. */
export function backOffMs(attempt, random = Math.random) {
  const ceiling = Math.min(BACK_OFF_MAX_MS, BACK_OFF_FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.round(ceiling / 2 + (ceiling / 2) * random());
}

/**
 * `onState({ name, retryAtMs, user })` with name "connecting", "online" or "waiting"; `onText(text)` for each text
 * frame; `onTokenFailure()` where the server gave no token or one that it does not take; `ping()` must return the
 * text of a fresh ping frame, and `renew(token)` hands a fresh token to the server.
 */
export class Socket {
  #url;
  #tokens;
  #on;
  #ws = null;
  #attempt = 0;
  #refused = false;
  #timers = { retry: 0, connect: 0, ping: 0, pong: 0, renew: 0 };
  #lastHeardMs = 0;

  constructor(url, tokens, on) {
    this.#url = url;
    this.#tokens = tokens;
    this.#on = on;
  }

  /** Connects, and from now on reconnects by itself. */
  start() {
    addEventListener("online", () => (this.#isOpen() ? this.#ping() : this.reconnect()));
    // Only a hint: a server on this machine is reachable without a network.
    addEventListener("offline", () => this.#isOpen() && this.#ping());
    document.addEventListener("visibilitychange", () => this.#becameVisible());
    addEventListener("pageshow", () => this.#becameVisible());
    this.reconnect();
  }

  /** Opens a new connection at once; what was open is closed. */
  reconnect() {
    this.#close();
    this.#open();
  }

  /** The server takes this connection's token no longer: another one with a fresh token, at once the first time. */
  refused() {
    const isAgain = this.#attempt > 0;
    this.#close();
    this.#refused = true;
    this.#attempt += 1;
    if (!isAgain) {
      this.#open();
      return;
    }
    this.#on.onTokenFailure();
    this.#retryLater();
  }

  /** Writes a text frame; false if there is no open connection. */
  send(text) {
    if (!this.#isOpen()) return false;
    this.#ws.send(text);
    return true;
  }

  #isOpen() {
    return this.#ws?.readyState === WebSocket.OPEN;
  }

  async #open() {
    const ws = (this.#ws = { readyState: WebSocket.CONNECTING, close() {} }); // stands in while the token is fetched
    this.#on.onState({ name: "connecting" });
    let access;
    try {
      access = await this.#tokens.current({ renew: this.#refused });
    } catch (error) {
      if (this.#ws !== ws) return;
      if (error instanceof TokenRefused) this.#on.onTokenFailure(); // else the server is out of reach, as is said already
      this.#retryLater();
      return;
    }
    if (this.#ws === ws) this.#dial(access);
  }

  #dial(access) {
    const ws = (this.#ws = new WebSocket(this.#url, ["sparkle.v2", `bearer.${access.token}`]));
    this.#timers.connect = setTimeout(() => this.#lost(ws), CONNECT_TIMEOUT_MS);
    ws.onopen = () => {
      if (ws !== this.#ws) return;
      clearTimeout(this.#timers.connect);
      this.#refused = false;
      this.#lastHeardMs = Date.now();
      this.#renewLater(access);
      this.#on.onState({ name: "online", user: access.user });
      this.#ping();
    };
    ws.onmessage = ({ data }) => {
      if (ws !== this.#ws || typeof data !== "string") return;
      this.#lastHeardMs = Date.now();
      clearTimeout(this.#timers.pong);
      this.#timers.pong = 0;
      this.#on.onText(data);
      // Only a server that answers ends the back-off; one that accepts and hangs up, or refuses the token, does not.
      if (ws === this.#ws) this.#attempt = 0;
    };
    ws.onclose = () => this.#lost(ws);
    ws.onerror = () => {}; // `close` follows
  }

  #lost(ws) {
    if (ws !== this.#ws) return;
    // A browser does not say why a handshake failed; a refused token is one reason.
    this.#refused = ws.readyState !== WebSocket.OPEN && !this.#lastHeardMs;
    this.#close();
    this.#retryLater();
  }

  #close() {
    const ws = this.#ws;
    this.#ws = null;
    this.#lastHeardMs = 0;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers.pong = 0;
    ws?.close();
  }

  #retryLater() {
    const waitMs = backOffMs(this.#attempt);
    this.#attempt += 1;
    this.#on.onState({ name: "waiting", retryAtMs: Date.now() + waitMs });
    this.#timers.retry = setTimeout(() => this.reconnect(), waitMs);
  }

  #ping() {
    clearTimeout(this.#timers.ping);
    if (!this.#isOpen()) return;
    if (document.visibilityState === "visible") {
      const ws = this.#ws;
      ws.send(this.#on.ping());
      this.#timers.pong ||= setTimeout(() => this.#lost(ws), PONG_TIMEOUT_MS);
    }
    this.#timers.ping = setTimeout(() => this.#ping(), PING_INTERVAL_MS);
  }

  #becameVisible() {
    if (document.visibilityState !== "visible") return;
    if (!this.#ws) this.reconnect();
    else if (this.#isOpen() && Date.now() - this.#lastHeardMs > PING_INTERVAL_MS) this.#ping();
  }

  #renewLater(access) {
    const leftMs = access.expiresAtMs - Date.now();
    if (leftMs <= 0) return; // by this device's clock; the server decides
    const waitMs = Math.max(leftMs - RENEW_MARGIN_MS, leftMs / 2);
    const ws = this.#ws;
    this.#timers.renew = setTimeout(async () => {
      try {
        const fresh = await this.#tokens.current({ renew: true });
        if (ws !== this.#ws || fresh.token === access.token) return;
        this.#on.renew(fresh.token);
        this.#renewLater(fresh);
      } catch {
        // The server will close the connection, and the next one asks again.
      }
    }, Math.min(waitMs, TIMER_MS_MAX));
  }
}
