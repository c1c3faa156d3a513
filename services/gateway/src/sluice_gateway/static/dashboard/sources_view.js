// The FHIR servers that may be read from, and how they are (operators).

import { call } from "./api.js";
import { curl, sluice, terminal } from "./commands.js";
import { empty, fill, h, icon, problem, skeleton } from "./dom.js";
import { facts } from "./file_view.js";
import { moment, number, things } from "./words.js";

const AUTHS = { none: "open", bearer: "a token", client_credentials: "OAuth 2.0 client credentials",
  backend_services: "SMART Backend Services" };
const STATES = {
  unused: ["off", "waiting", "Not called yet"], ok: ["done", "done", "Well"], slowed: ["skipped", "waiting", "Slowed down"],
  held: ["skipped", "waiting", "Left alone"], failing: ["failed", "failed", "Failing"],
};
const EVERY_MS = 10_000;

export function sourcesView({ signal }) {
  const list = h("ul", { class: "cards" }, skeleton(3, "tall"));
  async function load() {
    try {
      const { items } = await call("/v2/fhir/sources", { signal });
      const states = await Promise.all(items.map((one) => health(one, signal)));
      fill(list, items.length ? items.map((one, at) => card(one, states[at], signal)) : h("li", { class: "none" }, empty(
        "No sources yet", "Nothing is ever fetched from a server that is not registered. Register the first one from a terminal: the lines are below.")));
    } catch (error) {
      if (error.name !== "AbortError") fill(list, h("li", { class: "none" }, problem(error, load)));
    }
  }
  load();
  return {
    title: "Sources",
    content: [list, terminal(
      ["List the sources", curl("/v2/fhir/sources"), sluice("sources", "list")],
      ["Register one",
        curl("/v2/fhir/sources", { method: "POST", body: { name: "Example", base_url: "https://fhir.example.org/r4" } }),
        sluice("sources", "add", "Example", "https://fhir.example.org/r4")])],
  };
}

// What is not known for the moment is not shown, and asked for again.
const health = (one, signal) => call(`/v2/fhir/sources/${one.id}/health`, { signal }).catch(() => null);

function card(one, first, signal) {
  const state = h("span", { class: "soft" });
  const more = h("div", { class: "health" });
  const show = (found) => {
    if (!found) return;
    fill(state, one.enabled ? badge(...STATES[found.state]) : badge("off", "cancelled", "Switched off"));
    fill(more, figures(found));
  };
  show(first);
  const timer = setInterval(async () => show(await health(one, signal)), EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  return h("li", { class: "card" },
    h("div", { class: "spread" }, h("h2", null, one.name), state),
    h("p", { class: "soft id" }, one.base_url),
    more,
    facts([["Credentials", AUTHS[one.auth.type] ?? one.auth.type],
      ...(one.software ? [["Software", one.software]] : []),
      ...(one.scrape_schema ? [["Scrape schema", one.scrape_schema]] : [])]),
    terminal(["See how it does", curl(`/v2/fhir/sources/${one.id}/health`), sluice("sources", "health", one.id)]));
}

const badge = (look, shape, words) => h("span", { class: `badge ${look}` }, icon(shape), words);

function figures(found) {
  const rate = found.per_second === null ? "no limit" : `${number(found.per_second)} a second`;
  const rows = [
    ["Calls now", `${number(found.calls_per_second)} a second`],
    ["At once, at most", found.at_once < found.registered_at_once
      ? `${number(found.at_once)} of ${number(found.registered_at_once)}` : number(found.at_once)],
    ["Begun, at most", rate],
  ];
  if (found.usual_seconds !== null) rows.push(["Answers after", usual(found.usual_seconds * 1000)]);
  if (found.held_until) rows.push(["Left alone until", moment(found.held_until)]);
  return [found.alert ? alerted(found.alert) : null, found.recent.length ? minutes(found.recent) : null, facts(rows)];
}

const usual = (ms) => (ms < 1 ? "under 1 ms" : `${number(Math.round(ms))} ms`);

function alerted({ noticed_on: at, seconds, failed, ended_well: well }) {
  return h("p", { class: "notice alert", role: "status" }, `Answers badly since ${moment(at)}: within `
    + `${things(Math.round(seconds / 60), "minute")} ${things(failed, "attempt")} failed for its reasons, and `
    + `${things(well, "item")} ended well.`);
}

// A column for each minute: good answers, above them refusals, above these failures.
function minutes(recent) {
  const most = Math.max(1, ...recent.map((one) => one.good + one.refused + one.failed));
  const sum = (name) => recent.reduce((total, one) => total + one[name], 0);
  const words = `The last ${things(recent.length, "minute")}: ${things(sum("good"), "good answer")}, `
    + `${number(sum("refused"))} refused, ${number(sum("failed"))} failed`;
  const piece = (one, name) => {
    const node = h("i", { class: name });
    node.style.blockSize = `${(one[name] / most) * 100}%`;
    return node;
  };
  return h("div", { class: "minutes", role: "img", "aria-label": words, title: words },
    recent.map((one) => h("span", null, ["good", "refused", "failed"].map((name) => piece(one, name)))));
}
