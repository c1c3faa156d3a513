// Elements, made without markup: nothing that came over the network is ever read as HTML.

export function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

export function add(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren();
  return add(node, children);
}

const SHAPES = {
  done: "M3.5 8.5l3 3 6-7",
  failed: "M4.5 4.5l7 7m0-7l-7 7",
  running: "M8 2.5a5.5 5.5 0 1 1-5.2 3.7",
  waiting: "M8 4.5V8l2.5 1.5M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11",
  cancelled: "M4 12L12 4M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11",
  skipped: "M4 4.5l4 3.5-4 3.5M11.5 4.5v7",
  file: "M4 2.5h5l3 3v8H4zM9 2.5v3h3",
  folder: "M2.5 4.5h4l1.5 2h5.5v6.5h-11z",
  copy: "M5.5 5.5h7v7h-7zM3.5 10.5v-7h7",
  next: "M6 4l4 4-4 4",
};

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `icon ${name}`);
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

// Says something to those who listen to the page, and to the others for some seconds.
export function tell(text, { seen = true, alert = false } = {}) {
  document.getElementById("told").textContent = text;
  if (!seen) return;
  const toast = h("div", { class: alert ? "toast alert" : "toast" }, text);
  document.getElementById("toasts").replaceChildren(toast);
  setTimeout(() => toast.remove(), alert ? 9000 : 5000);
}

export function skeleton(rows, kind = "row") {
  return h("div", { class: "skeletons", "aria-hidden": "true" },
    Array.from({ length: rows }, () => h("div", { class: `skeleton ${kind}` })));
}

export function problem(error, again) {
  return h("div", { class: "notice alert", role: "alert" },
    h("p", null, h("strong", null, error.message ?? "Something went wrong.")),
    error.advice ? h("p", null, error.advice) : null,
    again ? h("button", { type: "button", onclick: again }, "Try again") : null);
}

export function empty(title, text, ...actions) {
  return h("div", { class: "empty" }, h("h2", null, title), h("p", null, text),
    actions.length ? h("div", { class: "actions" }, actions) : null);
}
