// All jobs, newest first, as they go on.

import { jobs, watchAll } from "./jobs_api.js";
import { badge, bar } from "./job_parts.js";
import { settings } from "./session.js";
import { curl, sluice, terminal } from "./commands.js";
import { empty, fill, h, problem, skeleton } from "./dom.js";
import { kindOf, lasting, moment, short, since, summary, things } from "./words.js";

const PAGE = 25;
const STATES = [["", "All states"], ["SUBMITTED", "Accepted"], ["RUNNING", "Running"], ["FINISHED", "Finished"]];
const KINDS = [["", "All kinds"], ["document-import", "Document imports"], ["bulk-import", "Bulk imports"],
  ["bulk-export", "Exports"]];

export function jobsView({ query, go, signal }) {
  const chosen = { state: query.get("state") ?? "", kind: query.get("kind") ?? "", q: query.get("q") ?? "" };
  const filtered = Object.values(chosen).some(Boolean);
  const offset = Number(query.get("offset") ?? 0) || 0;
  const rows = h("div", { class: "jobs", role: "list" }, skeleton(6));
  const foot = h("nav", { class: "pages", "aria-label": "Pages" });
  const known = new Map();
  let oldest = "";

  const move = (changes) => go("/jobs", { ...chosen, offset: "", ...changes });
  const choose = (name, label, options) => h("label", null, h("span", { class: "unseen" }, label),
    h("select", { name, onchange: (event) => move({ [name]: event.target.value }) },
      options.map(([value, text]) => h("option", { value, selected: value === chosen[name] }, text))));
  const filters = h("form", { class: "filters", role: "search", onsubmit: (event) => {
    event.preventDefault();
    move({ q: event.target.elements.q.value.trim() });
  } },
    choose("state", "State", STATES), choose("kind", "Kind", KINDS),
    h("label", null, h("span", { class: "unseen" }, "Job id"),
      h("input", { type: "search", name: "q", value: chosen.q, placeholder: "Find by id", autocomplete: "off",
        spellcheck: "false" })));

  // Rows are made anew when their job changes; how long ago it was submitted changes without that.
  const timer = setInterval(() => {
    for (const time of rows.querySelectorAll("time")) time.textContent = since(time.dateTime);
  }, 1000);
  signal.addEventListener("abort", () => clearInterval(timer));

  async function load() {
    try {
      const found = await jobs({ ...chosen, limit: PAGE, offset }, signal);
      known.clear();
      oldest = found.items.length < PAGE ? "" : found.items.at(-1).submitted_on;
      for (const job of found.items) known.set(job.id, { job, row: row(job) });
      if (found.items.length) fill(rows, [...known.values()].map((one) => one.row));
      else fill(rows, nothing());
      fill(foot, pages(found.total));
    } catch (error) {
      if (error.name !== "AbortError") fill(rows, problem(error, load));
    }
  }

  function nothing() {
    if (filtered) {
      return empty("No job is like that", "No job of yours fits what you chose above.",
        h("a", { class: "button", href: "#/jobs" }, "Show all jobs"));
    }
    return empty("No jobs yet", "Import documents from a FHIR server into a project: you will see here how it goes.",
      h("a", { class: "button act", href: "#/import" }, "Import documents"));
  }

  function pages(total) {
    if (total <= PAGE && !offset) return total ? h("p", { class: "soft" }, things(total, "job")) : null;
    const link = (text, to, there) => (there
      ? h("a", { class: "button", href: address({ ...chosen, offset: to || "" }) }, text)
      : h("span", { class: "button off", "aria-disabled": "true" }, text));
    return [link("Newer", Math.max(0, offset - PAGE), offset > 0),
      h("p", { class: "soft" }, `${offset + 1}–${Math.min(total, offset + PAGE)} of ${things(total, "job")}`),
      link("Older", offset + PAGE, offset + PAGE < total)];
  }

  // Whoever is on the first page sees new jobs come; on others the list stands still but for those on it.
  function changed(job) {
    const one = known.get(job.id);
    if (!one) {
      if (!offset && job.submitted_on >= oldest) later();
      return;
    }
    const held = one.row.contains(document.activeElement);
    const fresh = row({ ...one.job, ...job });
    one.row.replaceWith(fresh);
    known.set(job.id, { job: { ...one.job, ...job }, row: fresh });
    if (held) fresh.querySelector("a").focus();
  }

  let waiting = null;
  function later() {
    waiting ??= setTimeout(() => {
      waiting = null;
      load();
    }, filtered ? 3000 : 400);
  }
  signal.addEventListener("abort", () => clearTimeout(waiting));

  load().then(() => watchAll(({ data }) => changed(data), signal)).catch(() => {});

  return {
    title: "Jobs",
    actions: [h("a", { class: "button act", href: "#/import" }, "Import documents")],
    content: [filters, rows, foot, terminal(
      listing({ ...chosen, limit: PAGE }),
      ["Follow them as they change", curl("/v2/jobs/events", { stream: true }), sluice("jobs", "--watch")])],
  };
}

function listing(query) {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  const options = given.flatMap(([name, value]) => [name === "q" ? "--id" : `--${name}`, String(value)]);
  return ["List the jobs", curl(`/v2/jobs?${new URLSearchParams(given)}`), sluice("jobs", ...options)];
}

function address(query) {
  const kept = Object.entries(query).filter(([, value]) => value !== "");
  return `#/jobs${kept.length ? `?${new URLSearchParams(kept)}` : ""}`;
}

function row(job) {
  return h("div", { class: "job", role: "listitem" },
    badge(job),
    h("div", { class: "what" },
      h("a", { href: `#/jobs/${job.id}` }, kindOf(job.kind)),
      h("span", { class: "soft id" }, short(job.id), job.client === settings().client_id ? "" : ` · ${job.client}`)),
    h("div", { class: "how" }, bar(job), h("span", { class: "soft" }, summary(job),
      job.stuck_since ? h("span", { class: "warned" }, ` · stuck for ${lasting(job.stuck_since, Date.now())}`) : null)),
    h("time", { class: "soft when", datetime: job.submitted_on, title: moment(job.submitted_on) },
      since(job.submitted_on)));
}
