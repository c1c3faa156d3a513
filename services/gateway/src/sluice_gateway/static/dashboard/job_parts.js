// What the list and a job's own view show of a job.

import { h, icon } from "./dom.js";
import { number, standing, summary } from "./words.js";

const PARTS = [["attached", "done"], ["skipped", "skipped"], ["failed", "failed"], ["cancelled", "cancelled"]];

export function badge(job) {
  const [look, words] = standing(job);
  return h("span", { class: `badge ${look}` }, icon(look), words);
}

function shares({ counts }) {
  return PARTS.map(([name, look]) => (
    { look, count: counts[name], share: counts.items ? counts[name] / counts.items : 0 }));
}

export function bar(job, { large = false } = {}) {
  const node = h("div", {
    class: `bar${large ? " large" : ""}${job.state === "RUNNING" ? " moving" : ""}`,
    role: "progressbar", "aria-valuemin": "0", "aria-valuemax": String(job.counts.items || 1),
    "aria-valuenow": String(job.counts.done), "aria-valuetext": summary(job), "aria-label": "Progress",
  });
  for (const part of shares(job)) {
    const piece = h("span", { class: `part ${part.look}` });
    piece.style.inlineSize = `${part.share * 100}%`;
    node.append(piece);
  }
  return node;
}

export function legend(job) {
  const left = Math.max(0, job.counts.items - job.counts.done);
  const rows = [...shares(job), { look: "left", count: left }];
  return h("ul", { class: "legend" }, rows
    .filter((row) => row.count || row.look === "done")
    .map((row) => h("li", { class: row.look }, h("strong", null, number(row.count)), ` ${row.look === "left" ? "to do" : row.look}`)));
}
