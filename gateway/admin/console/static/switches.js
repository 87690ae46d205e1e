// Kill switches: what is on, how to add one, and how to restore. Nothing is killed before the page says how much that stops.

import { get, post, query, remove } from "./api.js";
import { $, button, clock, count, el, open, say, show, since } from "./dom.js";

const SOURCES = {
  runtime: null,
  policy: "the kill_switch section of policy.yaml",
  "kill_switch.yaml": "kill_switch.yaml",
  governed: "an agent that was disabled over the governed door",
};

let changed = () => {};
let asked = 0;
let sure = null;
const NAME = "tool-gateway operator";
let banner = "";

/** `told` is called when something was killed or restored. */
export function setUp(told) {
  changed = told;
  $("kill-open").addEventListener("click", () => openKill());
  $("kill-form").addEventListener("input", ask);
  $("kill-form").addEventListener("submit", kill);
  $("sure-form").addEventListener("submit", confirm);
}

/** `reason` is a first proposal: typing replaces it. */
export function openKill(kind = "writes", value = "", reason = "") {
  $("kill-form").reset();
  $("kill-form").elements.kind.value = kind;
  $("kill-value").value = value;
  $("kill-reason").value = reason;
  $("kill-problem").textContent = "";
  $("kill-who").value = sessionStorage.getItem(NAME) ?? "";
  ask();
  open($("kill-dialog"));
  if (kind === "writes") return;
  $("kill-reason").focus();
  $("kill-reason").select();
}

/** The scope as the API writes it; "" while it lacks its name. */
function scope() {
  const kind = $("kill-form").elements.kind.value;
  const value = $("kill-value").value.trim();
  if (kind === "all" || kind === "writes") return kind;
  return value ? `${kind}:${value}` : "";
}

/** How much would it stop? */
async function ask() {
  const kind = $("kill-form").elements.kind.value;
  const named = { agent: ["Agent", "billing-agent"], run: ["Run", "AGENT/RUN, or a run id of any agent"], tool: ["Tool", "search.read, search.* or *"] }[kind];
  const value = $("kill-value");
  $("kill-value-label").hidden = !named;
  value.required = Boolean(named);
  if (named) {
    $("kill-value-name").textContent = named[0];
    value.placeholder = named[1];
    value.setAttribute("list", kind === "run" ? "" : `${kind}-names`);
  }
  const wanted = scope();
  const mine = (asked += 1);
  $("kill-confirm").textContent = wanted ? `Kill ${wanted}` : "Kill";
  $("blast").textContent = "";
  if (!wanted) return;
  try {
    const told = await get(`/v1/blast-radius${query({ scope: wanted, cancel_in_flight: $("kill-cut").checked })}`);
    if (mine === asked) $("blast").textContent = radius(told);
  } catch (problem) {
    if (mine === asked) $("blast").textContent = problem.message;
  }
}

function radius(told) {
  const runs = count(told.runs_in_progress, "run");
  const calls = count(told.calls_in_flight, "call");
  const end = told.calls_in_flight ? `, ${told.calls_that_end_now} of which end now` : "";
  return `${told.says} Just now: ${runs} in progress, ${calls} in flight${end}.`;
}

async function kill(event) {
  event.preventDefault();
  const seconds = $("kill-for").value;
  const body = {
    scope: scope(),
    reason: $("kill-reason").value.trim(),
    who: signed("kill-who"),
    cancel_in_flight: $("kill-cut").checked,
    ...(seconds ? { for_seconds: Number(seconds) } : {}),
  };
  $("kill-confirm").disabled = true;
  try {
    const done = await post("/v1/kill-switches", body);
    $("kill-dialog").close();
    say(`Killed ${body.scope}, on ${done.reach}.`);
    changed();
  } catch (problem) {
    $("kill-problem").textContent = problem.message;
  } finally {
    $("kill-confirm").disabled = false;
  }
}

/** Who does it, for the log; asked once. */
function signed(id) {
  const name = $(id).value.trim();
  sessionStorage.setItem(NAME, name);
  return name || "console";
}

/** Asks before it does: a title, what it means, the word on the button, and what to do, which is told who and why. */
export function makeSure(title, text, word, act) {
  sure = act;
  $("sure-title").textContent = title;
  $("sure-text").textContent = text;
  $("sure-confirm").textContent = word;
  $("sure-problem").textContent = "";
  $("sure-reason").value = "";
  $("sure-who").value = sessionStorage.getItem(NAME) ?? "";
  open($("sure-dialog"));
  $("sure-confirm").focus();
}

async function confirm(event) {
  event.preventDefault();
  try {
    say(await sure({ who: signed("sure-who"), reason: $("sure-reason").value.trim() }));
    $("sure-dialog").close();
  } catch (problem) {
    $("sure-problem").textContent = problem.message;
  }
  changed();
}

/** Of one that was set at run time. */
export function askToRestore(held) {
  const says = `It stops calls since ${since(held.since)}: “${held.reason}”. They are let through again, as far as policy and other switches let them.`;
  makeSure(`Restore ${held.scope}?`, says, `Restore ${held.scope}`, async (by) => {
    const done = await remove(`/v1/kill-switches/${held.scope.split("/").map(encodeURIComponent).join("/")}${query(by)}`);
    return `Restored ${done.lifted}, on ${done.reach}.`;
  });
}

/** In the banner, with what else is wrong, and in their section. The banner is read out, so it changes only when they do. */
export function showSwitches({ kill_switches: held, reach, problems, mode }) {
  $("reach").textContent = `Reach: ${reach}.`;
  const notices = mode === "report" ? ["Report mode: what the rules would refuse goes through and is only logged.", ...problems] : problems;
  const said = JSON.stringify([held, notices]);
  if (said !== banner) {
    banner = said;
    show($("banner"), ...held.map(killed), ...notices.map((text) => el("p", { class: "notice" }, text)));
  }
  if (!held.length) show($("switch-list"), el("p", { class: "empty" }, "None is on."));
  else show($("switch-list"), ...held.map(shown));
}

const killed = ({ scope: what, reason, who, since: when }) =>
  el("p", {}, el("strong", {}, `Killed: ${what}`), el("span", {}, reason), el("small", {}, `${who}, since ${clock(when).slice(0, 8)}`));

function shown(held) {
  const until = held.until ? `until ${clock(held.until).slice(0, 8)}` : "until it is restored";
  const where = SOURCES[held.source];
  const how = where ? el("small", {}, `held by ${where}`) : button("Restore…", { key: `restore ${held.scope}`, class: "", label: `Restore ${held.scope}` }, () => askToRestore(held));
  return el(
    "div",
    { class: "switch", "data-scope": held.scope },
    el("p", {}, el("strong", {}, held.scope), ` ${held.reason}`),
    el("p", { class: "muted" }, `${held.who}, ${since(held.since)}, ${until}${held.cancel_in_flight ? ", cut calls in flight" : ""}`),
    el("div", { class: "buttons" }, how),
  );
}
