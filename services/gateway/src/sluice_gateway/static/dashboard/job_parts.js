// What the list and a job's own view show of a job.

import { h, icon } from "./dom.js";
import { number, standing, summary } from "./words.js";

const PARTS = [["done", "done"], ["skipped", "skipped"], ["failed", "failed"], ["cancelled", "cancelled"]];

export function badge(job) {
  const [look, words] = standing(job);
  return h("span", { class: `badge ${look}` }, icon(look), words);
}

// Parts add up to the whole: what is done does not hold what was skipped.
export function shares(job) {
  const { items, done, skipped = 0, failed = 0, cancelled = 0 } = job.counts;
  const ended = { done: Math.max(0, done), skipped, failed, cancelled };
  return PARTS.map(([name, word]) => ({ name, word, count: ended[name], share: items ? ended[name] / items : 0 }));
}

export function bar(job, { large = false } = {}) {
  const parts = shares(job);
  const ended = parts.reduce((sum, part) => sum + part.count, 0);
  const node = h("div", {
    class: `bar${large ? " large" : ""}${job.state === "RUNNING" ? " moving" : ""}`,
    role: "progressbar", "aria-valuemin": "0", "aria-valuemax": String(job.counts.items || 1),
    "aria-valuenow": String(ended), "aria-valuetext": summary(job), "aria-label": "Progress",
  });
  for (const part of parts) {
    const piece = h("span", { class: `part ${part.name}` });
    piece.style.inlineSize = `${part.share * 100}%`;
    node.append(piece);
  }
  return node;
}

export function legend(job) {
  const left = job.counts.items - shares(job).reduce((sum, part) => sum + part.count, 0);
  const rows = [...shares(job), { name: "left", word: "to do", count: Math.max(0, left) }];
  return h("ul", { class: "legend" }, rows
    .filter((row) => row.count || row.name === "done")
    .map((row) => h("li", { class: row.name }, h("strong", null, number(row.count)), ` ${row.word}`)));
}
