// What could not be processed, and having it tried again (operators). Coordinates and codes, never contents.

import { call } from "./api.js";
import { curl, say, sluice, terminal } from "./commands.js";
import { empty, fill, h, problem, skeleton, tell } from "./dom.js";
import { moment, since, things } from "./words.js";

export function lettersView({ signal }) {
  const list = h("div", null, skeleton(3, "tall"));
  async function load() {
    try {
      const { items } = await call("/v2/ops/dead-letters", { signal });
      const full = items.filter((topic) => topic.waiting);
      fill(list, full.length ? full.map(card) : empty("No dead letters",
        "Everything that came in could be processed. What cannot be is kept here, to be tried again when its cause is gone."));
    } catch (error) {
      if (error.name !== "AbortError") fill(list, problem(error, load));
    }
  }

  function card(topic) {
    const limit = h("input", { type: "number", min: "1", max: "1000", value: String(Math.min(topic.waiting, 1000)),
      "aria-label": `How many of ${topic.topic}` });
    const button = h("button", { type: "submit", class: "act" }, "Try them again");
    const lines = terminal();
    const told = () => say(lines,
      ["List them", curl("/v2/ops/dead-letters"), sluice("dead-letters", "list", topic.topic)],
      topic.redrivable && limit.checkValidity() && ["Have them tried again",
        curl("/v2/ops/dead-letters/redrive", { method: "POST", body: { topic: topic.topic, limit: Number(limit.value) } }),
        sluice("dead-letters", "redrive", topic.topic, "--limit", limit.value)]);
    limit.addEventListener("input", told);
    told();
    async function redrive(event) {
      event.preventDefault();
      button.disabled = true;
      try {
        const body = { topic: topic.topic, limit: Number(limit.value) };
        const { redriven } = await call("/v2/ops/dead-letters/redrive", { method: "POST", body });
        tell(`${things(redriven, "message")} went back to ${topic.topic}.`);
        load();
      } catch (error) {
        button.disabled = false;
        tell(`${error.message} ${error.advice ?? ""}`, { alert: true });
      }
    }
    return h("section", { class: "card" },
      h("div", { class: "spread" }, h("h2", null, topic.topic),
        topic.redrivable && h("form", { class: "redrive", onsubmit: redrive }, limit, button)),
      h("p", { class: "soft" }, `${things(topic.waiting, "message")} could not be processed.`,
        topic.redrivable ? "" : " What they were for has ended as failed: start the job again."),
      h("ul", { class: "letters", "aria-label": `Letters of ${topic.topic}` }, topic.letters.map(row)),
      lines);
  }

  load();
  return {
    title: "Dead letters",
    content: [list, terminal(["List all of them", curl("/v2/ops/dead-letters"), sluice("dead-letters", "list")])],
  };
}

function row(letter) {
  return h("li", null,
    h("strong", null, letter.code ?? "unknown", letter.status ? ` (HTTP ${letter.status})` : ""),
    h("span", null, `at ${letter.origin_topic} ${letter.origin_partition}/${letter.origin_offset}`),
    h("span", null, things(letter.attempts, "attempt")),
    h("time", { datetime: letter.died_at, title: moment(letter.died_at) }, since(letter.died_at)),
    h("span", { class: "soft id", title: letter.sha256 }, `SHA-256 ${(letter.sha256 ?? "").slice(0, 12)}`));
}
