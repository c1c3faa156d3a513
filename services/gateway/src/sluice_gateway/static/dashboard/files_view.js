// Projects, and the files in them.

import { call, page } from "./api.js";
import { curl, sluice, terminal } from "./commands.js";
import { empty, fill, h, icon, problem, skeleton } from "./dom.js";
import { bytes, moment, since, things } from "./words.js";

const PAGE = 50;

export function projectsView({ signal }) {
  const list = h("ul", { class: "entries" }, skeleton(4));
  async function load() {
    try {
      const { items } = await page("/v2/projects", { limit: 100 }, { signal });
      fill(list, items.length ? items.map(project) : h("li", { class: "none" }, empty("No projects yet",
        "Files are kept in projects. The first import makes one, or somebody lets you see theirs.",
        h("a", { class: "button act", href: "#/import" }, "Import documents"))));
    } catch (error) {
      if (error.name !== "AbortError") fill(list, h("li", null, problem(error, load)));
    }
  }
  load();
  return {
    title: "Files",
    actions: [h("a", { class: "button act", href: "#/import" }, "Import documents")],
    content: [list, terminal(["List your projects", curl("/v2/projects"), sluice("projects", "list")])],
  };
}

function project(one) {
  return h("li", null, icon("folder"),
    h("div", { class: "what" }, h("a", { href: `#/files/${path(one.id)}` }, one.name), h("span", { class: "soft id" }, one.id)),
    h("span", { class: "soft" }, one.permissions.write ? "" : "read only"),
    h("time", { class: "soft when", datetime: one.created_on, title: moment(one.created_on) }, since(one.created_on)));
}

const path = (id) => id.split("/").map(encodeURIComponent).join("/");

export function filesView({ params: [owner, slug, folder], query, go, signal, retitle }) {
  const id = `${decodeURIComponent(owner)}/${decodeURIComponent(slug)}`;
  const place = folder ? { parent: folder } : { project: id };
  const offset = Number(query.get("offset") ?? 0) || 0;
  const chosen = { tag: query.get("tag") ?? "", name: query.get("name") ?? "" };
  const base = `/files/${path(id)}${folder ? `/${folder}` : ""}`;
  const list = h("ul", { class: "entries" }, skeleton(6));
  const foot = h("nav", { class: "pages", "aria-label": "Pages" });
  const filters = h("form", { class: "filters", role: "search", onsubmit: (event) => {
    event.preventDefault();
    go(base, { name: event.target.elements.name.value.trim(), tag: event.target.elements.tag.value.trim() });
  } },
    h("label", null, h("span", { class: "unseen" }, "File name"),
      h("input", { type: "search", name: "name", value: chosen.name, placeholder: "Exact name", autocomplete: "off" })),
    h("label", null, h("span", { class: "unseen" }, "Tag"),
      h("input", { type: "search", name: "tag", value: chosen.tag, placeholder: "Tag", autocomplete: "off" })),
    h("button", { type: "submit" }, "Filter"));

  async function load() {
    try {
      const found = await page("/v2/files", { ...place, ...chosen, limit: PAGE, offset }, { signal });
      fill(list, found.items.length ? found.items.map((one) => entry(one, id)) : h("li", { class: "none" }, nothing()));
      if (found.total > PAGE || offset) {
        fill(foot, step("Back", offset - PAGE, offset > 0),
          h("p", { class: "soft" }, `${offset + 1}–${Math.min(found.total, offset + PAGE)} of ${things(found.total, "entry", "entries")}`),
          step("Next", offset + PAGE, offset + PAGE < found.total));
      } else fill(foot, found.total ? h("p", { class: "soft" }, things(found.total, "entry", "entries")) : null);
    } catch (error) {
      if (error.name !== "AbortError") fill(list, h("li", null, problem(error, load)));
    }
  }

  const step = (text, to, there) => (there
    ? h("a", { class: "button", href: `#${base}?${new URLSearchParams({ ...chosen, offset: Math.max(0, to) })}` }, text)
    : h("span", { class: "button off", "aria-disabled": "true" }, text));
  const nothing = () => (chosen.name || chosen.tag
    ? empty("No file is like that", "Nothing here has that name and tag.", h("a", { class: "button", href: `#${base}` }, "Show all"))
    : empty("Nothing here yet", "Files appear here as imports bring them in.",
      h("a", { class: "button act", href: `#/import?project=${encodeURIComponent(id)}` }, "Import documents")));

  load();
  const named = folder ? call(`/v2/files/${folder}`, { signal }) : call(`/v2/projects/${path(id)}`, { signal });
  named.then((one) => retitle(one.name)).catch(() => {});
  const option = folder ? ["--parent", folder] : ["--project", id];
  return {
    title: folder ? "Folder" : "Project",
    back: folder ? [`#/files/${path(id)}`, id] : ["#/files", "Files"],
    below: h("p", { class: "soft id" }, id),
    actions: [h("a", { class: "button", href: `#/import?project=${encodeURIComponent(id)}` }, "Import documents")],
    content: [filters, list, foot, terminal(
      ["List these files", curl(`/v2/files?${new URLSearchParams(narrowed({ ...place, ...chosen }))}`),
        sluice("files", ...option, ...narrowed(chosen).flatMap(([name, value]) => [`--${name}`, value]))],
      ["Download all of them", null, sluice("download", folder ?? id, "--to", "downloads")])],
  };
}

const narrowed = (query) => Object.entries(query).filter(([, value]) => value);

function entry(one, id) {
  const folder = one.type === "folder";
  return h("li", null, icon(folder ? "folder" : "file"),
    h("div", { class: "what" },
      h("a", { href: folder ? `#/files/${path(id)}/${one.id}` : `#/file/${one.id}` }, one.name),
      one.tags.length ? h("span", { class: "tags" }, one.tags.map((tag) => h("span", { class: "tag" }, tag))) : null),
    h("span", { class: "soft size" }, bytes(one.size)),
    h("time", { class: "soft when", datetime: one.created_on, title: moment(one.created_on) }, since(one.created_on)));
}
