// The FHIR servers that may be read from, and how they are (operators).

import { call } from "./api.js";
import { curl, sluice, terminal } from "./commands.js";
import { empty, fill, h, problem, skeleton } from "./dom.js";
import { facts } from "./file_view.js";
import { number } from "./words.js";

const AUTHS = { none: "open", bearer: "a token", basic: "name and password", oauth2: "OAuth 2.0", smart: "SMART Backend Services" };

export function sourcesView({ signal }) {
  const list = h("ul", { class: "cards" }, skeleton(3, "tall"));
  async function load() {
    try {
      const { items } = await call("/v2/fhir/sources", { signal });
      fill(list, items.length ? items.map(card) : h("li", { class: "none" }, empty("No sources yet",
        "Nothing is ever fetched from a server that is not registered. Register the first one from a terminal: the lines are below.")));
    } catch (error) {
      if (error.name !== "AbortError") fill(list, h("li", null, problem(error, load)));
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

function card(one) {
  return h("li", { class: "card" },
    h("div", { class: "spread" }, h("h2", null, one.name),
      h("span", { class: `badge ${one.enabled ? "done" : "cancelled"}` }, one.enabled ? "In use" : "Switched off")),
    h("p", { class: "soft id" }, one.base_url),
    facts([["Credentials", AUTHS[one.auth.type] ?? one.auth.type], ["Requests at once", number(one.max_concurrency)],
      ["Requests a second", one.max_requests_per_second === null ? "no limit" : number(one.max_requests_per_second)],
      ...(one.software ? [["Software", one.software]] : []),
      ...(one.scrape_schema ? [["Scrape schema", one.scrape_schema]] : [])]));
}
