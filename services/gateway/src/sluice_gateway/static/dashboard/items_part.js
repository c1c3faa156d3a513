// A job's items: what became of each, and in plain words why.

import { items } from "./jobs_api.js";
import { fill, h, icon, problem, skeleton } from "./dom.js";
import { number, things } from "./words.js";

const PAGE = 50;
const LOOKS = { ATTACHED: "done", SKIPPED: "skipped", FAILED: "failed", CANCELLED: "cancelled", PENDING: "waiting" };
const WORDS = {
  ATTACHED: "Done", SKIPPED: "Skipped: the name was taken", FAILED: "Failed", CANCELLED: "Cancelled",
  PENDING: "Waiting", RETRYING: "Trying again soon", FETCHED: "Document read", SCRAPED: "Metadata made",
};

export function itemsPart(signal) {
  let job = null;
  let state = "";
  let most = PAGE;
  let waiting = null;
  let running = false;
  let stale = false;
  const list = h("ul", { class: "items" }, skeleton(4));
  const more = h("div", { class: "pages" });
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": "Which items" });
  const node = h("div", null, h("div", { class: "spread" }, h("h2", { id: "items" }, "Items"), tabs), list, more);

  function choose() {
    const failed = job.counts.failed;
    const options = [["", `All ${number(job.counts.items)}`], ["FAILED", `Failed ${number(failed)}`]];
    const held = tabs.contains(document.activeElement) ? document.activeElement.value : null;
    fill(tabs, options.map(([value, text]) => h("button", { type: "button", value, "aria-pressed": String(state === value),
      onclick: () => {
        state = value;
        most = PAGE;
        choose();
        load();
      } }, text)));
    if (held !== null) tabs.querySelector(`[value="${held}"]`)?.focus();
  }

  async function load() {
    running = true;
    stale = false;
    try {
      const found = await items(job, { state, limit: Math.min(most, 100), offset: 0 }, signal);
      while (found.items.length < Math.min(most, found.total)) {
        const next = await items(job, { state, limit: 100, offset: found.items.length }, signal);
        if (!next.items.length) break;
        found.items.push(...next.items);
      }
      show(found);
    } catch (error) {
      if (error.name !== "AbortError") fill(list, h("li", null, problem(error, load)));
    }
    running = false;
    if (stale) later(700);
  }

  function later(milliseconds) {
    stale = true;
    if (running) return;
    waiting ??= setTimeout(() => {
      waiting = null;
      load();
    }, milliseconds);
  }
  signal.addEventListener("abort", () => clearTimeout(waiting));

  function show(found) {
    const text = state ? "Nothing failed." : "The items are listed here once the job is planned.";
    fill(list, found.items.length ? found.items.map((item) => row(item, job)) : h("li", { class: "soft none" }, text));
    fill(more, found.total > found.items.length
      ? h("button", { type: "button", onclick: () => {
        most += 100;
        load();
      } }, `Show more of ${number(found.total)}`) : null);
  }

  return {
    node,
    changed(now) {
      job = now;
      choose();
      later(list.querySelector(".skeleton") ? 0 : 700);
    },
  };
}

const THINGS = { "bulk-import": "File", "bulk-export": "Part" };

// Without its document an item has its number; an import's last one is no file.
function numbered(item, job) {
  if (job.kind === "bulk-import" && item.item === job.counts.items - 1) return "What its files refer to";
  return `${THINGS[job.kind] ?? "Item"} ${number(item.item + 1)}`;
}

function row(item, job) {
  const look = LOOKS[item.state] ?? "running";
  const file = item.resource;
  const name = item.fhir_document_reference;
  return h("li", { class: look },
    icon(look),
    h("div", null,
      h("p", { class: "name" }, file ? h("a", { href: `#/file/${file.id}` }, file.name) : name ? tail(name) : numbered(item, job)),
      item.error
        ? [h("p", { class: "why" }, item.error.message), h("p", { class: "soft" }, item.error.more_info)]
        : (item.state !== "ATTACHED" || !name) && h("p", { class: "soft" }, WORDS[item.state] ?? item.state),
      notes(item).map((text) => h("p", { class: "note" }, text)),
      name ? h("p", { class: "soft id" }, name) : null));
}

// What nobody has to do anything about, but may want to know; operators are not told of others' items.
function notes({ warnings = [], other_contents: others = 0 }) {
  return [
    warnings.length && `Its metadata lack what the source did not have: ${warnings.join(", ")}.`,
    others && `The document has ${things(others, "further content")}, not imported.`,
  ].filter(Boolean);
}

const tail = (address) => address.split("/").slice(-2).join("/");
