// One job: how far it is, what happened when, and what became of each item.

import * as api from "./jobs_api.js";
import { badge, bar, legend } from "./job_parts.js";
import { copy, curl, sluice, terminal } from "./commands.js";
import { fill, h, icon, problem, skeleton, tell } from "./dom.js";
import { itemsPart } from "./items_part.js";
import { kindOf, lasting, moment, number, since, standing } from "./words.js";

export function jobView({ params: [id], go, signal, retitle }) {
  const head = h("section", { class: "card progress" }, skeleton(1, "tall"));
  const line = h("ol", { class: "timeline" });
  const actions = h("div", { class: "actions" });
  const items = itemsPart(signal);
  const live = new AbortController();
  let known = null;
  let mine = false;
  let waiting = null;

  async function load() {
    try {
      const job = await api.job(id, signal);
      mine = await api.own(job);
      show(job);
    } catch (error) {
      if (error.name !== "AbortError") fill(head, problem(error, error.status === 404 ? null : load));
    }
  }

  function show(job) {
    const before = known;
    known = { ...before, ...job };
    fill(head,
      h("div", { class: "state" }, badge(known), expected(known)),
      bar(known, { large: true }), legend(known));
    fill(line, timeline(known));
    if (!before || before.state !== known.state || before.counts.failed !== known.counts.failed) {
      fill(actions, possible(known));
    }
    if (!before) retitle(kindOf(known.kind));
    if (known.state === "FINISHED") live.abort();
    if (!before || JSON.stringify(before.counts) !== JSON.stringify(known.counts)) items.changed(known);
    if (before && before.state !== "FINISHED" && known.state === "FINISHED") {
      const { attached, items: all } = known.counts;
      tell(`The job has ended: ${standing(known)[1]}. ${number(attached)} of ${number(all)} done.`, { seen: false });
    }
  }

  function later() {
    waiting ??= setTimeout(() => {
      waiting = null;
      load();
    }, 300);
  }
  signal.addEventListener("abort", () => {
    live.abort();
    clearTimeout(waiting);
  });

  function possible(job) {
    if (!mine || job.kind !== "document-import") return null;
    if (job.state !== "FINISHED") return h("button", { type: "button", onclick: stop }, "Cancel the job");
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
    if (!confirm("Cancel this job? Files that are there already stay.")) return;
    event.target.disabled = true;
    try {
      await api.cancel(id);
      tell("The job is being cancelled.");
      later();
    } catch (error) {
      event.target.disabled = false;
      tell(`${error.message} ${error.advice ?? ""}`, { alert: true });
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
        h("section", { "aria-labelledby": "items" }, items.node),
        h("section", { class: "aside", "aria-labelledby": "line" }, h("h2", { id: "line" }, "What happened"), line)),
      terminal(
        ["Show the job", curl(`/v2/jobs/${id}`), sluice("job", id)],
        ["Follow it", `${curl(`/v2/jobs/${id}/events`)} -N`, sluice("job", id, "--watch")],
        ["List what failed", curl(`/v2/jobs/${id}/items?state=FAILED`), sluice("job", id, "--failed")],
        ["Run the failed ones again", curl(`/v2/bulk/fhir/${id}/actions/rerun`, { method: "POST", advance: true })],
        ["Cancel it", curl(`/v2/bulk/fhir/${id}`, { method: "DELETE" }), sluice("job", id, "--cancel")]),
    ],
  };
}

function expected(job) {
  if (job.state === "FINISHED") {
    return h("span", { class: "soft" }, `took ${lasting(job.submitted_on, job.finished_on)}`);
  }
  return job.eta ? h("span", { class: "soft" }, `about ${lasting(Date.now(), job.eta)} left`) : null;
}

function timeline(job) {
  const ended = job.state === "FINISHED";
  const steps = [["Submitted", job.submitted_on, "done"]];
  if (job.started_on) steps.push([`Planned as ${number(job.counts.items)} items`, job.started_on, "done"]);
  else if (!ended) steps.push(["Waiting to be planned", null, "waiting"]);
  if (!ended && job.started_on) {
    steps.push([job.eta ? `Ends ${since(job.eta)}, as it looks` : "Going on", job.eta, "running"]);
  }
  if (ended) steps.push([`Ended: ${standing(job)[1].toLowerCase()}`, job.finished_on, standing(job)[0]]);
  return steps.map(([text, at, look]) => h("li", { class: look },
    icon(look), h("div", null, h("strong", null, text), at ? h("time", { datetime: at, class: "soft" }, moment(at)) : null)));
}
