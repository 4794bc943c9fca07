// Where the bearer token comes from: the page's own address (`#token=…`) or the local stack's `GET /token`.

/** The end of a token's life in which no new connection begins with it, so that none begins with its last breath. */
const MARGIN_MS = 5_000;
const FETCH_TIMEOUT_MS = 10_000;
const PASTED = "sparkle.token";

/** The server was there and gave no token. */
export class TokenRefused extends Error {}

export class Tokens {
  #kept = null;
  #user = "";

  /** Reads and removes `#token=…` from the address, so that it is neither shared nor bookmarked. */
  constructor(location, history, storage) {
    const hash = new URLSearchParams(location.hash.slice(1));
    const given = hash.get("token");
    if (given) {
      hash.delete("token");
      const rest = hash.toString();
      history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
    }
    let pasted = given;
    try {
      if (given) storage.setItem(PASTED, given);
      pasted ??= storage.getItem(PASTED);
    } catch {
      // Storage is blocked: the token lasts as long as the page.
    }
    this.#kept = pasted ? describe(pasted) : null;
    this.#user = this.#kept?.user ?? "";
  }

  /**
   * `{ token, user, expiresAtMs }`. `renew` asks for a new one although the kept one looks good: the server
   * refused it, it is about to run out, or this device's clock is wrong. After a token from the address, new ones are
   * asked for the same learner. Throws where none can be had: `TokenRefused`, or what `fetch` throws.
   */
  async current({ renew }) {
    if (!renew && this.#kept && leftMs(this.#kept) > 0) return this.#kept;
    const path = this.#user ? `/token?user=${encodeURIComponent(this.#user)}` : "/token";
    const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
    if (!answer.ok) throw new TokenRefused(`token: ${answer.status}`);
    const body = await answer.json();
    const known = describe(body.token);
    this.#kept = { token: body.token, user: body.user ?? known.user, expiresAtMs: body.expires_at ?? known.expiresAtMs };
    return this.#kept;
  }
}

function leftMs({ expiresAtMs }) {
  return expiresAtMs - MARGIN_MS - Date.now();
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
