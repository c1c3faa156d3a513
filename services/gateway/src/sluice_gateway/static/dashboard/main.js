// The page's frame: who is signed in, which view is shown, and where the keyboard is.

import * as session from "./session.js";
import { call, onEnd } from "./api.js";
import { add, empty, fill, h, problem, tell } from "./dom.js";
import { fileView } from "./file_view.js";
import { filesView, projectsView } from "./files_view.js";
import { importView } from "./import_view.js";
import { jobView } from "./job_view.js";
import { jobsView } from "./jobs_view.js";
import { lettersView } from "./letters_view.js";
import { sourcesView } from "./sources_view.js";

const VIEWS = [
  [/^\/jobs$/, jobsView],
  [/^\/jobs\/([0-9a-f-]{36})$/, jobView],
  [/^\/import$/, importView],
  [/^\/files$/, projectsView],
  [/^\/files\/([^/]+)\/([^/]+)(?:\/([0-9a-f]{24}))?$/, filesView],
  [/^\/file\/([0-9a-f]{24})$/, fileView],
  [/^\/sources$/, sourcesView],
  [/^\/dead-letters$/, lettersView],
];
const LINKS = [["/jobs", "Jobs"], ["/files", "Files"], ["/sources", "Sources", "ops/sources"],
  ["/dead-letters", "Dead letters", "ops/dead-letters"]];

const main = document.getElementById("main");
let leaving = new AbortController();
let told = null;

function go(path, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== "");
  location.hash = `${path}${kept.length ? `?${new URLSearchParams(kept)}` : ""}`;
}

function show({ moved = true } = {}) {
  leaving.abort();
  leaving = new AbortController();
  frame();
  if (!session.signedIn()) return welcome();
  const [path, query] = (location.hash.slice(1) || "/jobs").split("?");
  const found = VIEWS.map(([pattern, view]) => [path.match(pattern), view]).find(([match]) => match);
  const heading = h("h1", { tabindex: "-1" });
  const retitle = (title) => {
    heading.textContent = title;
    document.title = `${title} · Sluice`;
  };
  const made = found
    ? found[1]({ params: found[0].slice(1), query: new URLSearchParams(query ?? ""), signal: leaving.signal, go, retitle })
    : { title: "Nothing here", content: [empty("There is no such view", "The address may be mistyped.",
      h("a", { class: "button act", href: "#/jobs" }, "To the jobs"))] };
  if (!heading.textContent) retitle(made.title);
  fill(main,
    made.back ? h("p", { class: "back" }, h("a", { href: made.back[0] }, `← ${made.back[1]}`)) : null,
    h("div", { class: "spread head" }, h("div", null, heading, made.below), h("div", { class: "actions" }, made.actions)),
    made.content);
  if (moved) {
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function frame() {
  const nav = document.getElementById("nav");
  const account = document.getElementById("account");
  document.body.classList.toggle("out", !session.signedIn());
  if (!session.signedIn()) {
    fill(nav);
    fill(account);
    return;
  }
  const here = location.hash.slice(1).split("?")[0] || "/jobs";
  fill(nav, LINKS.filter(([, , scope]) => !scope || session.may(scope)).map(([path, text]) => {
    const inside = here === path || here.startsWith(`${path}/`) || (path === "/files" && here.startsWith("/file/"))
      || (path === "/jobs" && here === "/import");
    return h("a", { href: `#${path}`, "aria-current": inside ? "page" : null }, text);
  }));
  if (!account.childElementCount) account.append(menu());
}

function menu() {
  const id = h("code", null, "…");
  const node = h("details", { class: "menu" },
    h("summary", null, "Account"),
    h("div", { class: "card" },
      h("p", { class: "soft" }, "You are known as"), h("p", null, id),
      h("p", null, h("a", { href: session.settings().management_endpoint }, "What applications may do for you")),
      h("p", null, h("a", { href: "/docs" }, "The API's documentation")),
      h("button", { type: "button", onclick: leave }, "Sign out")));
  node.addEventListener("toggle", () => {
    if (node.open) call("/v2/user").then((user) => fill(id, user.username)).catch(() => {});
  });
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !node.open) return;
    node.open = false;
    node.firstElementChild.focus();
  });
  document.addEventListener("click", (event) => {
    if (!node.contains(event.target)) node.open = false;
  });
  return node;
}

async function leave() {
  leaving.abort();
  await session.signOut();
  told = "You are signed out of this page.";
  history.replaceState(null, "", "/");
  show();
}

function welcome() {
  document.title = "Sluice";
  const heading = h("h1", { tabindex: "-1" }, "Health data, on its way");
  fill(main, h("section", { class: "welcome" },
    told ? h("p", { class: "notice", role: "status" }, told) : null,
    heading,
    h("p", null, "See how imports and exports go, what became of each document, and the files they brought."),
    h("div", { class: "actions" },
      h("button", { type: "button", class: "act", onclick: () => session.signIn() }, "Sign in"),
      h("a", { class: "button", href: "/docs" }, "For developers"))));
  if (told) heading.focus({ preventScroll: true });
  told = null;
}

onEnd(() => {
  leaving.abort();
  told = "Your session has ended. Sign in again to go on where you were.";
  show();
});

async function start() {
  const back = location.pathname === "/dashboard/signed-in";
  try {
    await session.load();
    if (back) told = await session.comeBack();
  } catch {
    add(fill(main), [problem({ message: "The server cannot be reached.", advice: "Check your connection." },
      () => location.assign("/"))]);
    return;
  }
  addEventListener("hashchange", () => show());
  show({ moved: back });
  if (back && session.signedIn()) tell("You are signed in.", { seen: false });
}

document.querySelector(".skip").addEventListener("click", (event) => {
  // The address's hash says which view is shown.
  event.preventDefault();
  main.focus();
});
start();
