// One file: what is known of it, and its content.

import { call } from "./api.js";
import { copy, curl, downloading, say, sluice, terminal } from "./commands.js";
import { fill, h, icon, problem, skeleton, tell } from "./dom.js";
import { bytes, moment } from "./words.js";

export function fileView({ params: [id], signal, retitle }) {
  const body = h("div", null, skeleton(3));

  const button = h("button", { type: "button", class: "act", disabled: true, onclick: download }, "Download");

  async function load() {
    try {
      show(await call(`/v2/files/${id}`, { signal }));
    } catch (error) {
      if (error.name !== "AbortError") fill(body, problem(error, error.status === 404 ? null : load));
    }
  }

  function show(file) {
    retitle(file.name);
    button.disabled = false;
    say(lines, ["Show the file", curl(`/v2/files/${id}`), sluice("files", id)],
      ["Download it", downloading(`/v2/files/${id}/download_info`, file.name), sluice("download", id, "--to", "downloads")]);
    const origin = file.origin.job
      ? h("a", { href: `#/jobs/${file.origin.job}` }, `item ${file.origin.item + 1} of an import`) : "made by hand";
    fill(body, h("div", { class: "columns" },
      h("section", { "aria-labelledby": "metadata" }, h("h2", { id: "metadata" }, "Metadata"), metadata(file.metadata)),
      h("section", { class: "aside", "aria-labelledby": "about" }, h("h2", { id: "about" }, "About"),
        facts([["Size", bytes(file.size)], ["Project", h("a", { href: `#/files/${file.project}` }, file.project)],
          ["Came from", origin], ["Created", moment(file.created_on)], ["Changed", moment(file.modified_on)]]),
        h("h3", null, "Tags"),
        file.tags.length ? h("p", { class: "tags" }, file.tags.map((tag) => h("span", { class: "tag" }, tag)))
          : h("p", { class: "soft" }, "None"))));
  }

  async function download() {
    button.disabled = true;
    try {
      const { url } = await call(`/v2/files/${id}/download_info`);
      h("a", { href: url, download: "" }).click();
      tell("The download begins.", { seen: false });
    } catch (error) {
      tell(`${error.message} ${error.advice ?? ""}`, { alert: true });
    }
    button.disabled = false;
  }

  const lines = terminal();
  load();
  return {
    title: "File",
    back: ["#/files", "Files"],
    below: h("p", { class: "soft id" }, id, " ",
      h("button", { type: "button", class: "small bare", "aria-label": "Copy the file's id", onclick: () => copy(id) },
        icon("copy"))),
    actions: [button],
    content: [body, lines],
  };
}

function metadata(found) {
  const rows = Object.entries(found).sort(([one], [other]) => (one < other ? -1 : 1));
  if (!rows.length) return h("p", { class: "soft" }, "Nothing was found at the source, and nobody added any.");
  return facts(rows.map(([key, value]) => [key, Array.isArray(value) ? value.join(", ") : String(value ?? "")]));
}

export function facts(rows) {
  return h("dl", { class: "facts" }, rows.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}
