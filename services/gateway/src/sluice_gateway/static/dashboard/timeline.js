// What happened to a job, and when: from its acceptance through the stages that its items pass to its end.

import { h, icon } from "./dom.js";
import { lasting, moment, since, standing, things } from "./words.js";

const ITEMS = { "document-import": "document", "bulk-import": "file", "bulk-export": "part" };
const PASSED = { "kick-off": "Asked for at the source", fetch: "Read from the source", scrape: "Metadata made",
  attach: "In their folders", load: "Loaded", "look-up": "What it refers to looked up", export: "Written" };

export function timeline(job) {
  const ended = job.state === "FINISHED";
  const steps = [["Submitted", job.submitted_on, "done"]];
  const [begun, ...stages] = job.stages[0]?.stage === "kick-off" ? job.stages : [null, ...job.stages];
  if (begun) steps.push([PASSED["kick-off"], begun.first_on, "done"]);
  if (job.started_on) steps.push([planned(job), job.started_on, "done"]);
  else if (!ended) steps.push([job.kind === "bulk-import" ? "Waiting for the source's export" : "Waiting to be planned", null, "waiting"]);
  steps.push(...stages.map((one) => passed(job, one, ended)));
  if (!ended && job.started_on) {
    steps.push([job.eta ? `Ends ${since(job.eta)}, as it looks` : "Going on", job.eta, "running"]);
  }
  if (ended) steps.push([`Ended: ${standing(job)[1].toLowerCase()}`, job.finished_on, standing(job)[0]]);
  return steps.map(([text, at, look, more]) => h("li", { class: look },
    icon(look), h("div", null, h("strong", null, text), at ? h("time", { datetime: at, class: "soft" }, moment(at)) : null,
      more ? h("p", { class: "soft" }, more) : null)));
}

function planned(job) {
  // An import's last item is the look whether all that it refers to is there.
  if (job.kind === "bulk-import") return `Exported at the source: ${things(Math.max(0, job.counts.items - 1), "file")}`;
  return `Planned as ${things(job.counts.items, ITEMS[job.kind] ?? "item")}`;
}

// The time is that of the first item; how much later the last one came is how long the stage took.
function passed(job, { stage, first_on, last_on }, ended) {
  const last = `${ended ? "The last" : "So far the last"} ${ITEMS[job.kind] ?? "item"}`;
  const more = first_on === last_on ? "" : `${last} ${lasting(first_on, last_on)} later`;
  return [PASSED[stage] ?? stage, first_on, ended ? "done" : "waiting", more];
}
