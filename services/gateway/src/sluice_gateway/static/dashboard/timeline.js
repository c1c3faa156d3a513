// What happened to a job, and when: from its acceptance through the stages that its items pass to its end.

import { h, icon } from "./dom.js";
import { lasting, moment, number, since, standing, things } from "./words.js";

// What the items of a kind of job are, and what is said of those that have passed a stage.
const ITEMS = { "document-import": "document", "bulk-import": "file", "bulk-export": "part" };
const PASSED = {
  fetch: "read from the source", scrape: "given metadata", attach: "in their folders", load: "loaded", export: "written",
};

export function timeline(job) {
  const ended = job.state === "FINISHED";
  const steps = [["Submitted", job.submitted_on, "done"]];
  if (job.started_on) steps.push([planned(job), job.started_on, "done"]);
  else if (!ended) steps.push([job.kind === "bulk-import" ? "Waiting for the source's export" : "Waiting to be planned", null, "waiting"]);
  const stages = job.stages ?? [];
  stages.forEach((one, at) => steps.push(...passed(job, one, ended || overtaken(job, stages, at))));
  if (!ended && job.started_on) {
    steps.push([job.eta ? `Ends ${since(job.eta)}, as it looks` : "Going on", job.eta, "running"]);
  }
  if (ended) steps.push([`Ended: ${standing(job)[1].toLowerCase()}`, job.finished_on, standing(job)[0]]);
  return steps.map(([text, at, look, more]) => h("li", { class: look },
    icon(look), h("div", null, h("strong", null, text), at ? h("time", { datetime: at, class: "soft" }, moment(at)) : null,
      more ? h("p", { class: "soft" }, more) : null)));
}

function planned(job) {
  const items = things(job.counts.items, ITEMS[job.kind] ?? "item");
  // An import's last item is the look whether all that it refers to is there.
  if (job.kind === "bulk-import") return `Exported at the source: ${things(Math.max(0, job.counts.items - 1), "file")}`;
  return `Planned: ${items}`;
}

// A stage may be over before the job is: when everything that is left has gone beyond it.
const overtaken = (job, stages, at) => at < stages.length - 1 && job.counts.done >= job.counts.items;

function passed(job, { stage, first_on, last_on }, over) {
  const what = PASSED[stage] ?? stage;
  const one = ITEMS[job.kind] ?? "item";
  const took = `in ${lasting(first_on, last_on)}`;
  return [[`First ${one} ${what.replace("their folders", "its folder")}`, first_on, "done"],
    ...(first_on === last_on ? [] : [[over ? `Last ${one} ${what.replace("their folders", "its folder")}`
      : `Newest ${one} ${what.replace("their folders", "its folder")}`, last_on, "done", took]])];
}
