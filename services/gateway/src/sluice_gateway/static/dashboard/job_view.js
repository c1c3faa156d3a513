// One job: how far it is, what happened when, and what became of each item.

import * as api from "./jobs_api.js";
import { badge, bar, legend } from "./job_parts.js";
import { copy, say, terminal } from "./commands.js";
import { fill, h, icon, problem, skeleton, tell } from "./dom.js";
import { itemsPart } from "./items_part.js";
import { jobLines } from "./job_lines.js";
import { resultsPart } from "./results_part.js";
import { timeline } from "./timeline.js";
import { kindOf, lasting, moment, number, standing } from "./words.js";

// What is told of a job that nothing happens to, and how long it will take, changes without an event.
const EVERY_MS = 10_000;
const RESULTS = ["bulk-import", "bulk-export"];
const STOPPING = {
  "document-import": "Cancel this job? Files that are there already stay.",
  "bulk-import": "Cancel this import? What was loaded stays.",
  "bulk-export": "Cancel this export? What was written is deleted.",
};

export function jobView({ params: [id], go, signal, retitle }) {
  const head = h("section", { class: "card progress" }, skeleton(1, "tall"));
  const line = h("ol", { class: "timeline" });
  const actions = h("div", { class: "actions" });
  const items = itemsPart(signal);
  const part = h("section", { "aria-labelledby": "items" }, items.node);
  const lines = terminal();
  const live = new AbortController();
  let known = null;
  let found = null;
  let mine = false;
  let waiting = null;

  async function load() {
    try {
      const job = await api.job(id, signal);
      mine = await api.own(job);
      show(job);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!known) fill(part);
      fill(head, problem(error, error.status === 404 ? null : load));
    }
  }

  function show(job) {
    const before = known;
    known = { ...before, ...job };
    fill(head,
      h("div", { class: "state" }, badge(known), expected(known)),
      stuck(known), heldUp(known),
      bar(known, { large: true }), legend(known));
    fill(line, timeline(known));
    if (!before || before.state !== known.state || before.counts.failed !== known.counts.failed) {
      fill(actions, possible(known));
      say(lines, ...jobLines(known, mine, found));
    }
    if (!before) {
      retitle(kindOf(known.kind));
      fill(part, items.node);
    }
    if (known.state === "FINISHED") live.abort();
    const ended = known.state === "FINISHED" && before?.state !== "FINISHED";
    if (ended && mine && RESULTS.includes(known.kind)) showResults();
    else if (!before || JSON.stringify(before.counts) !== JSON.stringify(known.counts)) items.changed(known);
    if (before && before.state !== "FINISHED" && known.state === "FINISHED") {
      const { attached, items: all } = known.counts;
      tell(`The job has ended: ${standing(known)[1]}. ${number(attached)} of ${number(all)} done.`, { seen: false });
    }
  }

  function showResults() {
    fill(part, resultsPart(known, signal, (results) => {
      found = results;
      say(lines, ...jobLines(known, mine, found));
    }));
  }

  function later() {
    waiting ??= setTimeout(() => {
      waiting = null;
      load();
    }, 300);
  }
  const looking = setInterval(() => known && known.state !== "FINISHED" && later(), EVERY_MS);
  signal.addEventListener("abort", () => {
    live.abort();
    clearTimeout(waiting);
    clearInterval(looking);
  });

  function possible(job) {
    if (!mine) return null;
    if (job.state !== "FINISHED") return h("button", { type: "button", onclick: stop }, "Cancel the job");
    if (job.kind === "bulk-export") return h("button", { type: "button", onclick: forget }, "Delete the export");
    if (job.kind === "bulk-import") return h("button", { type: "button", onclick: forget }, "Forget the import");
    return job.counts.failed + job.counts.cancelled
      ? h("button", { type: "button", class: "act", onclick: again }, "Run the failed ones again") : null;
  }

  async function again(event) {
    event.target.disabled = true;
    try {
      const made = await api.rerun(id);
      tell("A new job runs the failed items again.");
      go(`/jobs/${made.id}`);
    } catch (error) {
      event.target.disabled = false;
      tell(`${error.message} ${error.advice ?? ""}`, { alert: true });
    }
  }

  async function stop(event) {
    if (!confirm(STOPPING[known.kind] ?? "Cancel this job?")) return;
    if (!await withdrawn(event.target, "The job is being cancelled.")) return;
    // A bulk import or an export that was cancelled is not there any more.
    if (known.kind === "document-import") later();
    else go("/jobs");
  }

  async function forget(event) {
    const exported = known.kind === "bulk-export";
    if (!confirm(exported ? "Delete this export with its files?" : "Forget this import? What it loaded stays.")) return;
    if (await withdrawn(event.target, exported ? "The export is deleted." : "The import is forgotten.")) go("/jobs");
  }

  async function withdrawn(button, text) {
    button.disabled = true;
    try {
      await api.cancel(known);
      tell(text);
      return true;
    } catch (error) {
      button.disabled = false;
      tell(`${error.message} ${error.advice ?? ""}`, { alert: true });
      return false;
    }
  }

  load().then(() => {
    if (!known || known.state === "FINISHED") return;
    // What has happened to an item is told by its event; how the job stands then, the service knows.
    api.watch(id, ({ type, data }) => (type === "snapshot" ? show(data) : later()), live.signal).catch(() => {});
  });

  return {
    title: "Job",
    back: ["#/jobs", "Jobs"],
    below: h("p", { class: "soft id" }, id, " ",
      h("button", { type: "button", class: "small bare", "aria-label": "Copy the job's id", onclick: () => copy(id) },
        icon("copy"))),
    actions: [actions],
    content: [
      head,
      h("div", { class: "columns" },
        part,
        h("section", { class: "aside", "aria-labelledby": "line" }, h("h2", { id: "line" }, "What happened"), line)),
      lines,
    ],
  };
}

// What nobody hears of may be waited for in vain: who sees that knows whom to ask.
function stuck(job) {
  return job.stuck_since ? h("p", { class: "notice warn", role: "status" },
    `Stuck: nothing was heard of it since ${moment(job.stuck_since)}, although it has not ended. It goes on by itself `
    + "when what it waits for is back; if it does not, tell whoever runs this service.") : null;
}

// What the source does is not the job's fault, and nobody has to do anything about it.
const HOLDING = {
  slowed: () => "Its source refused calls, or became slow to answer, so it is asked less often for now. The job takes "
    + "longer; nothing need be done.",
  held: (until) => `Its source asked to be left alone until ${moment(until)}. The job goes on by itself then.`,
  failing: () => "Nothing that its source answers is of use at the moment. It is asked again by itself; what gets no "
    + "answer for too long fails, and can be run again.",
};

function heldUp({ held_up: why, state }) {
  return why && state !== "FINISHED"
    ? h("p", { class: "notice warn", role: "status" }, HOLDING[why.reason]?.(why.until)) : null;
}

function expected(job) {
  if (job.state === "FINISHED") {
    return h("span", { class: "soft" }, `took ${lasting(job.submitted_on, job.finished_on)}`);
  }
  return job.eta ? h("span", { class: "soft" }, `about ${lasting(Date.now(), job.eta)} left`) : null;
}
