// Submitting an import: addresses of DocumentReferences, and the project they go to.

import { call, page } from "./api.js";
import { submit } from "./jobs_api.js";
import { curl, importing, say, sluice, terminal } from "./commands.js";
import { fill, h, problem, tell } from "./dom.js";
import { number, things } from "./words.js";

const MOST = 100;
const CONFLICTS = [["SKIP", "keep the file that is there"], ["OVERWRITE", "replace it"],
  ["AUTORENAME", "keep both, and give the new one another name"]];

export function importView({ query, go, signal }) {
  const wrong = h("div");
  const count = h("p", { class: "soft", id: "count", "aria-live": "polite" }, hint(0));
  const references = h("textarea", { id: "references", name: "references", rows: "8", required: true,
    spellcheck: "false", autocomplete: "off", "aria-describedby": "count",
    placeholder: "https://fhir.example.org/r4/DocumentReference/1",
    oninput: () => fill(count, hint(addresses(references.value).length)) });
  const project = h("select", { id: "project", name: "project" }, h("option", { value: "" }, "A new project"));
  const name = h("input", { id: "name", name: "name", maxlength: "200", autocomplete: "off" });
  const named = h("div", { class: "field" }, h("label", { for: "name" }, "The new project's name"), name);
  const tags = h("input", { id: "tags", name: "tags", autocomplete: "off" });
  const conflict = h("select", { id: "conflict", name: "conflict" },
    CONFLICTS.map(([value, text]) => h("option", { value }, text)));
  const button = h("button", { type: "submit", class: "act" }, "Start the import");

  const lines = terminal();
  const labels = () => tags.value.split(",").map((tag) => tag.trim()).filter(Boolean);
  const request = (found, place) => ({
    items: found.map((address) => ({ fhir_document_reference: address, project: place })),
    conflict_resolution: conflict.value,
    ...(labels().length ? { tags: labels() } : {}),
  });

  // The lines that do what the form says now; a project that is not there yet has no id to import to.
  function told() {
    const found = addresses(references.value);
    const title = name.value.trim();
    if (!project.value) {
      const body = { name: title || "My project" };
      say(lines, ["Make the project, then choose it above", curl("/v2/projects", { method: "POST", body }),
        sluice("projects", "create", body.name)]);
      return;
    }
    if (!found.length) {
      say(lines, ["List your projects", curl("/v2/projects"), sluice("projects", "list")]);
      return;
    }
    const some = found.slice(0, MOST);
    say(lines, ["Import these documents",
      curl("/v2/bulk/fhir", { method: "POST", advance: true, body: request(some, project.value) }),
      importing(some, "--project", project.value, "--conflict", conflict.value, ...labels().flatMap((tag) => ["--tag", tag]))]);
  }

  let chosen = false;
  function choose(place) {
    project.value = place;
    named.toggleAttribute("hidden", place !== "");
    told();
  }
  project.addEventListener("change", () => {
    chosen = true;
    choose(project.value);
  });
  page("/v2/projects", { limit: 100 }, { signal }).then(({ items }) => {
    const own = items.filter((one) => one.permissions.write);
    for (const one of own) project.append(h("option", { value: one.id }, one.name));
    // Whoever fills the form in is not kept waiting for the list, and keeps what was chosen meanwhile.
    if (chosen || name.value) return;
    choose(own.some((one) => one.id === query.get("project")) ? query.get("project") : (own[0]?.id ?? ""));
  }).catch((error) => error.name !== "AbortError" && fill(wrong, problem(error)));

  told();
  async function start(event) {
    event.preventDefault();
    fill(wrong);
    const found = addresses(references.value);
    if (!found.length) return refuse("There is no address yet.", "Give at least one, a line each.", references);
    if (found.length > MOST) {
      return refuse(`These are ${number(found.length)} addresses, and one job takes ${MOST}.`,
        "Split them, or use the command line: it makes as many jobs as it takes.", references);
    }
    if (!project.value && !name.value.trim()) return refuse("The new project has no name.", "Give it one.", name);
    button.disabled = true;
    try {
      const place = project.value || await made(name.value.trim());
      const job = await submit(request(found, place));
      tell(`${things(found.length, "document")} submitted.`, { seen: false });
      go(`/jobs/${job.id}`);
    } catch (error) {
      button.disabled = false;
      fill(wrong, problem(plain(error)));
      wrong.scrollIntoView({ block: "nearest" });
    }
  }

  // It is there from then on, also if the import is refused.
  async function made(title) {
    const one = await call("/v2/projects", { method: "POST", body: { name: title } });
    project.append(h("option", { value: one.id }, one.name));
    choose(one.id);
    return one.id;
  }

  function refuse(message, advice, field) {
    fill(wrong, problem({ message, advice }));
    field.focus();
  }

  return {
    title: "Import documents",
    back: ["#/jobs", "Jobs"],
    content: [
      h("form", { class: "card form", onsubmit: start, oninput: told, novalidate: true },
        wrong,
        h("div", { class: "field" },
          h("label", { for: "references" }, "Addresses of DocumentReferences, one a line"), references, count),
        h("div", { class: "field" }, h("label", { for: "project" }, "Into the project"), project),
        named,
        h("div", { class: "field" }, h("label", { for: "tags" }, "Tags ", h("span", { class: "soft" },
          "(optional, commas between)")), tags),
        h("div", { class: "field" }, h("label", { for: "conflict" }, "If a name is taken"), conflict),
        h("div", { class: "actions" }, button)),
      lines,
    ],
  };
}

const addresses = (text) => text.split(/\s+/).filter(Boolean);
const hint = (count) => (count ? `${things(count, "document")}` : "They must be on FHIR servers that are registered here.");

// The service counts items from 0 and calls fields by their names; people count lines from 1.
function plain(error) {
  const message = (error.message ?? "")
    .replaceAll(/items\[(\d+)\]\.(?:fhir_document_reference|project)/g, (_, at) => `Line ${Number(at) + 1}`)
    .replaceAll(/items\[(\d+)-(\d+)\]\.(?:fhir_document_reference|project)/g,
      (_, from, to) => `Lines ${Number(from) + 1} to ${Number(to) + 1}`);
  return { message, advice: error.advice };
}
