// One call's whole story: who decided, each attempt with the wait before it, what was left to its run.

import { get } from "./api.js";
import { $, bar, button, clock, el, facts, ms, open, show, table, usd } from "./dom.js";
import { openKill } from "./switches.js";
import { isFine } from "./traffic.js";

/** `filter` shows other calls like it. */
export async function openStory(id, filter) {
  let call;
  let run = null;
  try {
    call = await get(`/v1/calls/${encodeURIComponent(id)}`);
    if (call.run_id) run = await get(`/v1/runs/${encodeURIComponent(call.agent_id)}/${encodeURIComponent(call.run_id)}`).catch(() => null);
  } catch (problem) {
    call = null;
    show($("story"), el("p", { class: "problem" }, problem.message));
  }
  $("story-title").textContent = call ? `${call.tool}: ${call.reason}` : "This call is not kept any more";
  $("story-title").className = !call || isFine(call) ? "" : "bad";
  if (call) show($("story"), ...told(call, run));
  show($("story-buttons"), ...(call ? ways(call, filter) : []), button("Close", {}, close));
  if (!$("story-dialog").open) await open($("story-dialog"));
}

const close = () => $("story-dialog").close();

function told(call, run) {
  const why = call.detail ?? (isFine(call) ? "It went through." : `The tool itself answered with status ${call.status}; its answer was passed on.`);
  return [
    el("p", { class: "why" }, why),
    facts([
      ["Decided by", call.decided_by],
      ["Allowlists say", call.rule],
      ["Decision", call.report_reason ? `${call.decision}: ${call.report_reason} would have refused it` : call.decision],
      ["Run should end", call.stop_reason],
      ["Agent, run", `${call.agent_id} · ${call.run_id ?? "no run id"}`],
      ["Came by", `${call.door}${call.effect ? `, a ${call.effect}` : ""}`],
      ["Upstream", call.upstream],
      ["Ended", `${clock(call.ts)} after ${ms(call.duration_ms)} ms, of which it waited ${ms(call.waited_ms)}`],
      ["Status, bytes", `${call.status ?? "–"}, ${call.bytes_in} in, ${call.bytes_out} out`],
      ["Cost", call.cost_usd ? usd(call.cost_usd) : null],
      ["Policy", call.candidate ? `${call.policy}, candidate: ${call.candidate}` : call.policy],
      ["Call", el("code", {}, call.call_id)],
      ["Trace", call.trace_id && el("code", {}, call.trace_id)],
    ]),
    ...(call.tries.length ? [tries(call)] : [el("p", { class: "muted" }, "Nothing was sent to the tool.")]),
    ...(call.remaining ? [remaining(call.remaining, run)] : []),
  ];
}

function tries(call) {
  const rows = call.tries.map((one) => {
    const took = el("i", { class: fine(one.result) ? null : "failed" });
    took.style.left = `${(100 * one.began_ms) / call.duration_ms}%`;
    took.style.width = `${(100 * one.took_ms) / call.duration_ms}%`;
    return [
      String(one.attempt),
      { of: ms(one.waited_ms), class: "n" },
      { of: ms(one.took_ms), class: "n" },
      { of: one.result, class: fine(one.result) ? "" : "bad" },
      el("span", { class: "track", "aria-hidden": "true" }, took),
    ];
  });
  const shown = table("Attempts", ["Attempt", ["waited ms", "n"], ["took ms", "n"], "came back", ""], rows);
  shown.classList.add("tries");
  return shown;
}

const fine = (result) => /^status_[123]/.test(result);

function remaining(left, run) {
  const of = (name, key) => {
    const limit = run?.limits[key];
    if (left[key] === null) return null;
    return limit === undefined ? [`${name} left`, left[key]] : [`${name} used`, bar(`${name} used`, limit - left[key], limit)];
  };
  const pairs = [of("Calls", "tool_calls"), of("Steps", "steps"), of("Seconds", "seconds")].filter(Boolean);
  return el("div", {}, el("h3", {}, "The run's budgets after it"), facts(pairs));
}

function ways(call, filter) {
  const only = (text, wanted) => button(text, {}, () => { close(); filter(wanted); });
  const run = call.run_id;
  return [
    run && only("This run's calls", { agent: call.agent_id, run }),
    only("This agent's calls", { agent: call.agent_id }),
    run && stopper("Kill this run…", "run", `${call.agent_id}/${run}`),
    stopper("Kill this agent…", "agent", call.agent_id),
    call.tool && stopper("Kill this tool…", "tool", call.tool),
  ].filter(Boolean);
}

const stopper = (text, kind, value) => button(text, { class: "stop" }, () => { close(); openKill(kind, value); });
