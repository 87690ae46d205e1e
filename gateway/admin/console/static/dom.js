// Nodes and words. Whatever comes from outside becomes text here, and never markup.

export const $ = (id) => document.getElementById(id);

/** An element. `props`: `class`, `on` (events), anything else is an attribute; children are nodes or texts. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, told] of Object.entries(value)) node.addEventListener(event, told);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined).map(asNode));
  return node;
}

const asNode = (child) => (child instanceof Node ? child : document.createTextNode(String(child)));

/** Puts the nodes in the place of what was there. Whoever has the focus keeps it, if it has a data-key and comes again. */
export function show(parent, ...nodes) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const top = parent.scrollTop;
  parent.replaceChildren(...nodes.map(asNode));
  parent.scrollTop = top;
  if (focused === undefined) return;
  const again = [...parent.querySelectorAll("[data-key]")].find((node) => node.dataset.key === focused);
  again?.focus({ preventScroll: true });
}

/** A table; each head is a word, or [word, class]. Rows are arrays of cells: a node, a text, or {class, of}. */
export function table(label, heads, rows) {
  const head = heads.map((one) => {
    const [text, kind] = Array.isArray(one) ? one : [one, null];
    return el(text ? "th" : "td", { scope: text ? "col" : null, class: kind }, text);
  });
  const body = rows.map((cells) => el("tr", {}, ...cells.map(cell)));
  return el("table", { "aria-label": label }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body));
}

const cell = (content) =>
  content !== null && typeof content === "object" && "of" in content
    ? el("td", { class: content.class, title: content.title }, content.of)
    : el("td", {}, content ?? "–");

/** A budget as a bar: used of limit, in words for those who do not see it. */
export function bar(name, used, limit, shown = String) {
  if (used === null) return el("span", { class: "muted" }, "–");
  if (limit === null || limit === undefined) return el("span", { class: "muted" }, shown(used));
  const share = limit > 0 ? Math.min(1, used / limit) : 1;
  const inner = el("i");
  inner.style.width = `${share * 100}%`;
  const kind = share >= 1 ? "bar spent" : share >= 0.8 ? "bar near" : "bar";
  const meter = el(
    "span",
    { class: kind, role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": limit, "aria-valuenow": used },
    inner,
  );
  return el("span", { class: "budget" }, el("span", {}, `${shown(used)}/${shown(limit).replace("$", "")}`), meter);
}

/** Facts as a description list; those without a value are left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, ...known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

export const list = (texts) => el("ul", { class: "lines" }, ...texts.map((text) => el("li", {}, text)));

/** `key` names the button over a redraw. */
export const button = (text, props, told) =>
  el("button", { type: "button", "data-key": props.key, class: props.class, "aria-label": props.label, on: { click: told } }, text);

export const ms = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1));
export const usd = (value) => `$${value.toFixed(value && value < 0.01 ? 4 : 2)}`;
export const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

/** A time of day where the reader is, with milliseconds. */
export function clock(iso) {
  const at = new Date(iso);
  return `${at.toTimeString().slice(0, 8)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

export function seconds(number) {
  if (number < 90) return `${Math.round(number)} s`;
  if (number < 5400) return `${Math.round(number / 60)} min`;
  return number < 129600 ? `${Math.round(number / 3600)} h` : `${Math.round(number / 86400)} days`;
}

export const since = (iso) => `${seconds(Math.max(0, (Date.now() - new Date(iso).getTime()) / 1000))} ago`;

let silence = 0;

/** One sentence at the edge, read out, gone after a while. */
export function say(text) {
  $("said").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => ($("said").textContent = ""), 8000);
}

/** Opens a dialog; resolves when it is closed. The browser gives the focus back at once, and whoever did it in the event that comes later would
 * take it from the next key. */
export function open(dialog) {
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
}
