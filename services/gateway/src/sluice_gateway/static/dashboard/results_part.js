// What an ended bulk import or export of one's own came to: its files, and what went wrong.

import { outcomes, results } from "./jobs_api.js";
import { fill, h, icon, problem, skeleton, tell } from "./dom.js";
import { save } from "./api.js";
import { bytes, number, things } from "./words.js";

const MOST = 100;
const LOOKS = { information: "done", warning: "skipped", error: "failed", fatal: "failed" };
const KINDS = { output: "", deleted: "deleted", error: "problems" };

// `known` is told what was found.
export function resultsPart(job, signal, known) {
  const list = h("div", { class: "results" }, skeleton(4));
  const node = h("div", null, h("div", { class: "spread" }, h("h2", { id: "items" },
    job.kind === "bulk-export" ? "Files" : "What became of it")), list);

  async function load() {
    try {
      const found = await results(job, signal);
      if (job.kind === "bulk-export") fill(list, files(found));
      else fill(list, await told(found));
      known(found);
    } catch (error) {
      // What has failed as a whole says so, and will again.
      if (error.name !== "AbortError") fill(list, problem(error, job.outcome === "failed" ? null : load));
    }
  }

  async function told(found) {
    const of = await outcomes(found.information, MOST, signal);
    const wrong = found.errors ? await outcomes(found.errors, MOST, signal) : [];
    return [
      h("ul", { class: "items" }, of.map(outcome)),
      wrong.length ? [
        h("div", { class: "spread" }, h("h3", null, `What went wrong: ${number(found.wrong)}`),
          fetching("Download all of it", found.errors, `errors-${job.id}.ndjson`)),
        h("ul", { class: "items" }, wrong.map(outcome)),
        found.wrong > wrong.length ? h("p", { class: "soft" }, `The first ${number(wrong.length)} are shown.`) : null] : null,
      h("p", null, fetching("Download what it brought, patient by patient", found.bundles, `bundles-${job.id}.ndjson`)),
    ];
  }

  load();
  return node;
}

function outcome({ severity, text }) {
  const look = LOOKS[severity] ?? "failed";
  return h("li", { class: look }, icon(look), h("div", null, h("p", { class: look === "failed" ? "why" : "" }, text)));
}

function files({ files: found }) {
  return h("ul", { class: "items" }, found.length ? found.map((file) => h("li", { class: "done" },
    icon("file"),
    h("div", null,
      h("p", { class: "name" }, file.name, KINDS[file.kind] ? h("span", { class: "soft" }, ` ${KINDS[file.kind]}`) : null),
      h("p", { class: "soft" }, [things(file.count, "resource"), bytes(file.size)].join(" · "))),
    fetching("Download", file.path, file.name))) : h("li", { class: "soft none" }, "Nothing was to be exported."));
}

function fetching(text, path, name) {
  async function fetchIt(event) {
    const button = event.currentTarget;
    button.disabled = true;
    try {
      await save(path, name);
      tell(`${name} is downloaded.`, { seen: false });
    } catch (error) {
      tell(`${error.message} ${error.advice ?? ""}`, { alert: true });
    }
    button.disabled = false;
  }
  return h("button", { type: "button", class: "small", "aria-label": text === "Download" ? `Download ${name}` : null,
    onclick: fetchIt }, text);
}
