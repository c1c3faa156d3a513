// What does the same from a terminal: for every view and action a curl line and one of the command line. Each
// works as it is shown, with the token of this page.

import { fill, h, icon, tell } from "./dom.js";
import * as session from "./session.js";

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export const sluice = (...words) => ["sluice", ...words].map(quoted).join(" ");

// `to` is the file that the answer goes to; with `stream` what comes is shown as it comes.
export function curl(path, { method = "GET", body, advance = false, stream = false, to = "" } = {}) {
  const words = ["curl", ...(stream ? ["-N"] : []), ...(method === "GET" ? [] : ["-X", method]),
    quoted(location.origin + path), '-H "Authorization: Bearer $SLUICE_TOKEN"'];
  if (advance) words.push("-H 'X-SBG-Advance-Access: Advance'");
  if (body !== undefined) words.push("-H 'Content-Type: application/json'", "-d", quoted(JSON.stringify(body)));
  if (to) words.push("-o", quoted(to));
  return words.join(" ");
}

// The address of a file's content is in the answer to another call.
export function downloading(path, name) {
  return `curl -o ${quoted(name)} "$(${curl(path)} | sed -n 's/.*"url": *"\\([^"]*\\)".*/\\1/p')"`;
}

// Imports what is given as lines, from standard input.
export function importing(addresses, ...options) {
  return `printf '%s\\n' ${addresses.map(quoted).join(" ")} | ${sluice("import", "-", ...options, "--wait")}`;
}

// `lines` are [what it does, curl line, line of the command line]; either line may be missing.
export function terminal(...lines) {
  const ways = h("div", { class: "ways" });
  const node = h("details", { class: "terminal" },
    h("summary", null, "Do this from a terminal"),
    h("p", { class: "soft" }, "Both speak for you with the token of this page, which is good for some minutes:"),
    line("token", `export SLUICE_URL=${location.origin}`, "export SLUICE_TOKEN=…", copyToken),
    ways);
  shown.set(node, ways);
  say(node, ...lines);
  return node;
}

const shown = new WeakMap();

// Puts other lines in place of a terminal's.
export function say(node, ...lines) {
  fill(shown.get(node), lines.filter(Boolean).map(([what, ...both]) => h("div", { class: "way" },
    h("p", null, h("strong", null, what)), both.filter(Boolean).map((text) => line(what, text)))));
}

function line(what, text, more = "", act = null) {
  const shown = more ? `${text} ${more.replace("export ", "")}` : text;
  const label = act ? "Copy with the token" : "Copy";
  return h("div", { class: "line" },
    h("code", { tabindex: "0" }, shown),
    h("button", { type: "button", class: "small", title: label, "aria-label": `${label}: ${what}, ${shown.split(" ")[0]}`,
      onclick: () => (act ? act() : copy(text)) }, icon("copy"), h("span", null, "Copy")));
}

async function copyToken() {
  const token = await session.token();
  await copy(`export SLUICE_URL=${location.origin} SLUICE_TOKEN=${token}`);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied.");
  } catch {
    tell("The browser did not let the page copy. Select the line and copy it yourself.", { alert: true });
  }
}
