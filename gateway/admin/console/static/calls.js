// The table of calls: those that fit the filter, the newest first, as they end.

import { follow } from "./api.js";
import { $, clock, count, el, ms } from "./dom.js";
import { openStory } from "./story.js";
import { isFine } from "./traffic.js";

const SHOWN = 200;
const REASONS = [
  "ok", "dedup", "tool_error", "client_gone", "kill_switch", "agent_disabled", "tool_not_allowed", "tool_not_configured",
  "arguments_not_allowed", "egress_not_allowed", "run_id_required", "run_finished", "max_steps", "max_tool_calls", "max_seconds",
  "max_usd", "max_calls", "loop_detected", "max_actions_per_hour", "max_spend_usd_per_day", "max_calls_per_tool", "too_many_runs",
  "rate_limited", "overloaded", "circuit_open", "draining", "state_unavailable", "invalid_request", "unauthenticated",
  "request_too_large", "response_too_large", "outcome_unknown", "upstream_failed", "tool_timeout", "internal_error",
];

let filters = {};
let feed = null;
let paused = false;
let waiting = [];
let lost = 0;
let trouble = "";
let drawing = 0;
let tried = 0;

export function setUp() {
  const choices = [["", "any"], ["!ok,dedup", "all but ok"], ...REASONS.map((reason) => [reason, reason])];
  $("filter-reason").append(...choices.map(([value, text]) => el("option", { value }, text)));
  $("filter").addEventListener("input", () => { clearTimeout(tried); tried = setTimeout(restart, 250); });
  $("filter").addEventListener("reset", () => setTimeout(restart));
  $("filter").addEventListener("submit", (event) => { event.preventDefault(); restart(); });
  $("pause").addEventListener("click", pause);
  $("calls-rows").addEventListener("click", (event) => tell(event.target.closest("tr")));
  $("calls-rows").addEventListener("keydown", walk);
}

/** Only these calls: tool, agent, run, reason. */
export function filter(wanted) {
  for (const name of ["tool", "agent", "run", "reason"]) $(`filter-${name}`).value = wanted[name] ?? "";
  $("calls").scrollIntoView({ block: "nearest" });
  restart();
}

export function pause() {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  draw();
}

/** From the calls that are kept, and then on with those that end. */
export function restart() {
  stop();
  filters = Object.fromEntries(["tool", "agent", "run", "reason"].map((name) => [name, $(`filter-${name}`).value.trim()]));
  lost = 0;
  trouble = "";
  feed = follow(filters, SHOWN, {
    begun: begin,
    told: take,
    lost: (number) => { lost += number ?? 0; draw(); },
    trouble: (text) => { trouble = text; draw(); },
    refused: wrong,
  });
}

function begin(known) {
  wrong("");
  waiting = [];
  $("calls-rows").replaceChildren(...known.map((call) => row(call, false)).reverse());
  draw();
}

export function stop() {
  feed?.stop();
  feed = null;
}

function wrong(text) {
  $("filter-tool").classList.toggle("wrong", text !== "");
  $("filter-tool").setAttribute("aria-invalid", String(text !== ""));
  $("filter-tool").title = text;
}

function take(calls) {
  waiting.push(...calls);
  if (waiting.length > 10 * SHOWN) waiting.splice(0, waiting.length - 10 * SHOWN);
  drawing ||= requestAnimationFrame(draw);
}

function draw() {
  cancelAnimationFrame(drawing);
  drawing = 0;
  const rows = $("calls-rows");
  if (!paused) {
    const keepsPlace = $("calls-scroll").scrollTop > 0 && rows.firstChild;
    const before = keepsPlace ? rows.offsetHeight : 0;
    rows.prepend(...waiting.splice(0).slice(-SHOWN).map((call) => row(call, true)).reverse());
    while (rows.childElementCount > SHOWN && !rows.lastChild.contains(document.activeElement)) rows.lastChild.remove();
    if (keepsPlace) $("calls-scroll").scrollTop += rows.offsetHeight - before;
  }
  rove(rows.querySelector("button[tabindex='0']") ?? rows.querySelector("button"));
  $("calls-empty").hidden = rows.childElementCount > 0;
  $("calls-empty").textContent = Object.values(filters).some(Boolean) ? "No call that is kept fits." : "No call has ended yet.";
  const notes = [trouble, paused ? `paused, ${count(waiting.length, "call")} since` : "", lost ? `${count(lost, "call")} too fast to show: narrow the filter` : ""];
  $("calls-note").textContent = notes.filter(Boolean).join(" · ");
}

function row(call, isNew) {
  const at = clock(call.ts);
  const time = el("button", { type: "button", class: "link mono", tabindex: -1, "aria-label": `${at}: story of ${call.tool}, ${call.reason}` }, at);
  const kind = isFine(call) ? "" : call.reason === "tool_error" || call.reason === "client_gone" ? "warn" : "bad";
  const ended = call.report_reason ? `${call.reason} (would be ${call.report_reason})` : call.reason;
  return el(
    "tr",
    { "data-call": call.call_id, class: isNew ? "new" : null },
    el("td", {}, time),
    named(call.agent_id),
    named(call.run_id ?? "–"),
    named(call.tool),
    el("td", { class: kind, title: call.detail }, ended),
    el("td", { class: "n" }, call.status ?? "–"),
    el("td", { class: call.attempts > 1 ? "n warn" : "n" }, call.attempts),
    el("td", { class: "n" }, ms(call.duration_ms)),
  );
}

const named = (text) => el("td", { class: "cut", title: text }, text);

function tell(chosen) {
  if (!chosen) return;
  const button = chosen.querySelector("button");
  rove(button);
  button.focus({ preventScroll: true });
  openStory(chosen.dataset.call, filter);
}

/** Arrow keys, Home and End among the rows. */
function walk(event) {
  const buttons = [...$("calls-rows").querySelectorAll("button")];
  const here = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined || !buttons[to]) return;
  event.preventDefault();
  rove(buttons[to]);
  buttons[to].focus();
}

/** One of the rows takes part in the page's order of tabs. */
function rove(button) {
  for (const other of $("calls-rows").querySelectorAll("button[tabindex='0']")) other.tabIndex = -1;
  if (button) button.tabIndex = 0;
}
