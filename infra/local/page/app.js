// Joins the chat with what is on the page.

import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { isRunning, RATING_BAD, RATING_GOOD } from "./conversation.js";
import { Notices } from "./notices.js";
import { recall, remember } from "./prefs.js";
import { loadMath } from "./prose.js";
import { Sidebar, titleOf } from "./sidebar.js";
import { Tokens } from "./token.js";
import { Transcript } from "./transcript.js";
import { currentLanguage, languageTag, preferredLanguage, say, setLanguage, translate } from "./words.js";

const COPIED_MS = 1_600;
const $ = (id) => document.getElementById(id);

const tokens = new Tokens(location, history, sessionStorage);
const tab = crypto.randomUUID();
let connection = { name: "connecting" };

const chat = new Chat({
  url: `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/`,
  tokens,
  storage: openStorage(),
  tab,
  livingTabs,
  on: {
    connection: connectionChanged,
    conversation: conversationChanged,
    turn: turnChanged,
    sessions: drawSidebar,
    models: drawModels,
    notice,
    returned: (text) => composer.write(text),
  },
});

const notices = new Notices($("notices"));
const composer = new Composer(
  { form: $("composer"), box: $("message"), button: $("go"), hint: $("hint") },
  { send: (text) => chat.send(text), stop },
);
const transcript = new Transcript({
  column: $("transcript"), scroll: $("scroll"), toLatest: $("to-latest"),
  announce: (text) => ($("voice").textContent = text),
  reachedTop: () => chat.loadOlder(),
  actions: {
    "copy": (turn, button) => copy(turn.answer, button),
    "copy-code": (_, button) => copy(button.closest(".code").querySelector("code").textContent, button),
    "again": (turn) => chat.regenerate(chat.current, turn),
    "good": (turn) => attempt(chat.rate(chat.current, turn, RATING_GOOD)),
    "bad": (turn) => attempt(chat.rate(chat.current, turn, RATING_BAD)),
    "retry": (turn) => chat.retry(chat.current, turn),
    "check": (turn) => chat.checkAgain(chat.current, turn),
    "take-back": (turn) => chat.takeBack(chat.current, turn),
  },
});
const sidebar = new Sidebar($("list"), {
  open: (key) => {
    chat.open(key);
    closeMenu();
    composer.focus();
  },
  rename: (sessionId, title) => (title ? attempt(chat.sessions.rename(sessionId, title)) : drawSidebar()),
  remove: askAndRemove,
  more: () => attempt(chat.sessions.more()),
});

/** Storage may be blocked; then everything lives as long as the page. */
function openStorage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

/** The tabs of this page that still run. Each holds a lock by its name for as long as it lives. */
async function livingTabs() {
  const held = (await navigator.locks?.query())?.held ?? [];
  return new Set(held.map(({ name }) => name.replace("sparkle.tab.", "")));
}

function connectionChanged(state) {
  if (connection.name === "online" && state.name !== "online") $("voice").textContent = say("offline");
  connection = state;
  if (state.user) remember("user", state.user);
  drawConnection();
}

function drawConnection() {
  const link = $("link");
  const { name, retryAtMs } = connection;
  link.dataset.state = name;
  link.disabled = name !== "waiting";
  const seconds = Math.max(1, Math.ceil(((retryAtMs ?? 0) - Date.now()) / 1000));
  let words = say(name, { seconds });
  if (name !== "online" && !navigator.onLine) words = say("offline");
  if ($("link-words").textContent !== words) $("link-words").textContent = words;
  link.title = name === "waiting" ? say("retryNow") : words;
}

function conversationChanged(conversation) {
  if (conversation !== chat.current) return;
  transcript.show(conversation);
  const isEmpty = conversation.turns.length === 0 && !conversation.loading && (conversation.loaded || !conversation.sessionId);
  $("welcome").hidden = !isEmpty;
  composer.isRunning = Boolean(runningTurn());
  const hash = conversation.sessionId ? `#s=${encodeURIComponent(conversation.sessionId)}` : "";
  if (location.hash !== hash) history.replaceState(null, "", location.pathname + location.search + hash);
  drawSidebar();
}

function turnChanged(conversation, turn) {
  if (conversation !== chat.current) return;
  transcript.changed(turn);
  composer.isRunning = Boolean(runningTurn());
}

function runningTurn() {
  return chat.current.turns.findLast((turn) => isRunning(turn) || (turn.state === "queued" && turn.isUnderWay));
}

function stop() {
  const turn = runningTurn();
  if (turn) chat.stop(chat.current, turn);
}

function drawSidebar() {
  const { current, sessions } = chat;
  sidebar.show({ unnamed: chat.unnamed(), sessions, currentKey: current.sessionId || current.key });
  const isNew = current.turns.length === 0 && !current.sessionId;
  $("title").textContent = isNew ? "" : titleOf(current, sessions.find(current.sessionId));
  document.title = isNew ? say("title") : `${$("title").textContent} · Sparkle`;
}

function drawModels() {
  const { models } = chat;
  const kept = recall("model") ?? "";
  const chosen = models.find((model) => model.id === kept) ?? models.find((model) => model.is_default) ?? models[0];
  chat.choices.model = chosen?.id === kept ? kept : "";
  $("picker").hidden = models.length === 0;
  if (!chosen) return;
  const price = (microusd) => `$${(Number(microusd ?? 0) / 1e6).toFixed(2)}`;
  const options = models.map((model) => {
    const words = say("modelPrice", { id: model.id, input: price(model.input_microusd), output: price(model.output_microusd) });
    return new Option(words, model.id, false, model.id === chosen.id);
  });
  $("model").replaceChildren(...options);
  $("model-name").textContent = chosen.id;
  $("picker").title = options.find((option) => option.value === chosen.id).text;
}

function notice(kind, message = "", fallback = "oops") {
  if (kind === "gateway") notices.show(say("gateway"));
  else if (kind === "tokenFailed") notices.show(say("tokenFailed"));
  else notices.show(message || say(fallback), kind === "alert" ? "plain" : "wrong");
}

async function attempt(work) {
  try {
    await work;
  } catch (error) {
    notice("error", error.message, "unavailable");
  }
}

async function askAndRemove(sessionId, title) {
  const dialog = $("confirm");
  $("confirm-body").textContent = say("removeBody", { title });
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
  if (dialog.returnValue === "yes") await attempt(chat.remove(sessionId));
}

async function copy(text, button) {
  const before = [...button.childNodes];
  const isCopied = await toClipboard(text);
  if (!isCopied) {
    notices.show(say("copyFailed"));
    return;
  }
  if (button.classList.contains("is-copied")) return;
  button.classList.add("is-copied");
  if (button.dataset.act === "copy-code") button.textContent = say("copied");
  else button.querySelector("use").setAttribute("href", "#i-check");
  $("voice").textContent = say("copied");
  setTimeout(() => {
    button.classList.remove("is-copied");
    if (button.dataset.act === "copy-code") button.replaceChildren(...before);
    else button.querySelector("use")?.setAttribute("href", "#i-copy");
  }, COPIED_MS);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // not allowed, or not a secure page
  }
}

function speak(language) {
  setLanguage(language);
  chat.choices.language = languageTag();
  document.documentElement.lang = languageTag();
  translate(document);
  composer.redraw();
  transcript.redraw();
  drawConnection();
  drawSidebar();
  drawModels();
}

function openMenu() {
  document.body.classList.add("menu-open");
  $("menu").setAttribute("aria-expanded", "true");
  $("stage").inert = true;
  $("menu-close").focus();
}

function closeMenu() {
  document.body.classList.remove("menu-open");
  $("menu").setAttribute("aria-expanded", "false");
  $("stage").inert = false;
}

$("menu").addEventListener("click", openMenu);
for (const id of ["menu-close", "veil"]) {
  $(id).addEventListener("click", () => {
    closeMenu();
    $("menu").focus();
  });
}
addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && document.body.classList.contains("menu-open")) $("menu-close").click();
});
matchMedia("(min-width: 861px)").addEventListener("change", closeMenu);
$("new").addEventListener("click", () => {
  chat.startNew();
  closeMenu();
  composer.focus();
});
$("welcome").addEventListener("click", ({ target }) => target.closest(".ideas button") && composer.write(target.textContent));
$("link").addEventListener("click", () => chat.wire.reconnect());
$("language").addEventListener("click", () => {
  const next = currentLanguage() === "zh" ? "en" : "zh";
  remember("language", next);
  speak(next);
});
$("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  remember("theme", next === system ? "" : next); // agreeing with the system means following it
  dispatchEvent(new Event("sparkle:theme"));
});
$("model").addEventListener("change", ({ target }) => {
  remember("model", target.value);
  drawModels();
});
for (const name of ["online", "offline"]) addEventListener(name, drawConnection);
addEventListener("hashchange", () => location.reload()); // a conversation or token put into the address by hand
setInterval(() => connection.name === "waiting" && drawConnection(), 1_000);
navigator.locks?.request(`sparkle.tab.${tab}`, () => new Promise(() => {})); // held until the tab is gone

speak(recall("language") ?? preferredLanguage(navigator.languages));
const opened = new URLSearchParams(location.hash.slice(1)).get("s");
if (opened) chat.open(opened);
else chat.startNew();
chat.start(recall("user") ?? "");
if (matchMedia("(pointer: fine)").matches) composer.focus();
(globalThis.requestIdleCallback ?? setTimeout)(() => loadMath());
