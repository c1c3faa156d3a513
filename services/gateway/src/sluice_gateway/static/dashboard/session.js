// Signing in: authorization code with PKCE (RFC 7636) as a public client. Tokens are in this tab's memory and
// sessionStorage, and end with it; refresh tokens are good once and renewed with each use.

const KEPT = "sluice-session";
const PENDING = "sluice-signing-in";
const EARLY_MS = 30_000;
const NEWS_MS = 2_000;
const news = new BroadcastChannel("sluice-session");

let config = null;
let tokens = read(KEPT);

// A duplicated tab has a copy of the refresh token: whoever renews it tells the others of its family.
news.onmessage = ({ data }) => {
  if (tokens && data.family === tokens.family) keep(data);
};

function read(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name));
  } catch {
    return null;
  }
}

function keep(found) {
  tokens = found;
  if (found) sessionStorage.setItem(KEPT, JSON.stringify(found));
  else sessionStorage.removeItem(KEPT);
}

function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return base64url(bytes);
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export async function load() {
  const answer = await fetch("/dashboard/config.json");
  if (!answer.ok) throw new Error("The server does not answer.");
  config = await answer.json();
  return config;
}

export const settings = () => config;
export const signedIn = () => tokens !== null;
export const may = (scope) => (tokens?.scope ?? "").split(" ").includes(scope);

export async function signIn() {
  const home = new URL(config.redirect_uri).origin;
  if (home !== location.origin) {
    // What is kept for the way back is kept for one origin.
    location.assign(`${home}/${location.hash}`);
    return;
  }
  const verifier = random();
  const state = random();
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  sessionStorage.setItem(PENDING, JSON.stringify({ verifier, state, back: location.hash }));
  const query = new URLSearchParams({
    response_type: "code",
    client_id: config.client_id,
    redirect_uri: config.redirect_uri,
    scope: config.scope,
    state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  location.assign(`${config.authorization_endpoint}?${query}`);
}

// Takes what the authorization server sent back with the browser; gives what went wrong, if anything did.
export async function comeBack() {
  const told = new URLSearchParams(location.search);
  const pending = read(PENDING);
  sessionStorage.removeItem(PENDING);
  history.replaceState(null, "", `/${pending?.back ?? ""}`);
  if (!pending || told.get("state") !== pending.state || told.get("iss") !== config.issuer) {
    return "Signing in was not begun in this tab. Please begin again.";
  }
  if (told.has("error")) {
    return told.get("error") === "access_denied"
      ? "You did not allow it, so nothing was signed in."
      : `Signing in was refused: ${told.get("error_description") ?? told.get("error")}`;
  }
  const answer = await exchange({
    grant_type: "authorization_code",
    code: told.get("code"),
    redirect_uri: config.redirect_uri,
    code_verifier: pending.verifier,
  });
  if (!answer.ok) return "Signing in took too long, or was tried twice. Please begin again.";
  take(await answer.json(), random(), 0);
  return null;
}

function exchange(form) {
  return fetch(config.token_endpoint, {
    method: "POST",
    body: new URLSearchParams({ client_id: config.client_id, ...form }),
    credentials: "omit",
  });
}

function take(answer, family, renewed) {
  keep({
    family,
    renewed,
    access: answer.access_token,
    refresh: answer.refresh_token,
    scope: answer.scope,
    expires: Date.now() + answer.expires_in * 1000,
  });
  localStorage.setItem(`${KEPT}-${family}`, String(renewed));
  news.postMessage(tokens);
}

// Gives a token that is good for a while; null once the session has ended.
export async function token({ fresh = false } = {}) {
  const before = tokens?.access;
  if (tokens && !fresh && tokens.expires - EARLY_MS > Date.now()) return before;
  if (!tokens) return null;
  return navigator.locks.request(`sluice-${tokens.family}`, async () => {
    // A copy of this tab may have renewed it: what it got is on its way here.
    for (let waited = 0; outdated() && waited < NEWS_MS; waited += 20) await new Promise((on) => setTimeout(on, 20));
    if (outdated()) keep(null); // using an old token would end the session for the copy too
    if (!tokens || tokens.access !== before) return tokens?.access ?? null;
    const answer = await exchange({ grant_type: "refresh_token", refresh_token: tokens.refresh ?? "" });
    if (answer.status >= 500 || answer.status === 429) throw new Error("The sign-in server does not answer.");
    if (answer.ok) take(await answer.json(), tokens.family, tokens.renewed + 1);
    else keep(null);
    return tokens?.access ?? null;
  });
}

// How often a family's tokens were renewed is all that is kept beyond the tab.
function outdated() {
  return tokens !== null && tokens.renewed < Number(localStorage.getItem(`${KEPT}-${tokens.family}`) ?? 0);
}

export async function signOut() {
  const refresh = tokens?.refresh;
  if (tokens) localStorage.removeItem(`${KEPT}-${tokens.family}`);
  keep(null);
  if (!refresh) return;
  try {
    await fetch(config.revocation_endpoint, {
      method: "POST",
      body: new URLSearchParams({ client_id: config.client_id, token: refresh }),
      credentials: "omit",
    });
  } catch {
    // Nobody has the token any more; it ends by itself.
  }
}

export function forget() {
  keep(null);
}
