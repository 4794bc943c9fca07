// Where the bearer token comes from: the page's own address (`#token=…`) or the local stack's `GET /token`.

/** A token with less life than this is not used for a new connection. */
const MARGIN_MS = 60_000;
const FETCH_TIMEOUT_MS = 10_000;
const PASTED = "sparkle.token";

export class Tokens {
  #kept = null;
  #pasted = null;

  /** Reads and removes `#token=…` from the address, so that it is neither shared nor bookmarked. */
  constructor(location, history, storage) {
    const hash = new URLSearchParams(location.hash.slice(1));
    const given = hash.get("token");
    if (given) {
      hash.delete("token");
      const rest = hash.toString();
      history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
    }
    try {
      if (given) storage.setItem(PASTED, given);
      this.#pasted = given ?? storage.getItem(PASTED);
    } catch {
      this.#pasted = given; // storage is blocked
    }
  }

  /**
   * `{ token, user, expiresAtMs }`. `renew` asks for a new one although the kept one looks good: the server
   * refused it, or this device's clock is wrong. A pasted token is used as long as it lives, since another would be
   * another learner's. Throws where none can be had.
   */
  async current({ renew }) {
    if (this.#pasted) {
      const pasted = describe(this.#pasted);
      if (pasted.expiresAtMs - MARGIN_MS > Date.now()) return pasted;
    }
    if (!renew && this.#kept && this.#kept.expiresAtMs - MARGIN_MS > Date.now()) return this.#kept;
    const answer = await fetch("/token", { cache: "no-store", signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
    if (!answer.ok) throw new Error(`token: ${answer.status}`);
    const body = await answer.json();
    const known = describe(body.token);
    this.#kept = { token: body.token, user: body.user ?? known.user, expiresAtMs: body.expires_at ?? known.expiresAtMs };
    return this.#kept;
  }
}

/** What a JWT says of itself. It is not checked here: the server does that. */
export function describe(token) {
  try {
    const claims = JSON.parse(decode(token.split(".")[1]));
    return { token, user: claims.sub ?? "", expiresAtMs: (claims.exp ?? 0) * 1000 };
  } catch {
    return { token, user: "", expiresAtMs: 0 };
  }
}

function decode(base64url) {
  const binary = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return new TextDecoder().decode(Uint8Array.from(binary, (letter) => letter.codePointAt(0)));
}
