// Runs: what each has used of its budgets, and how to end one.

import { get, post } from "./api.js";
import { $, bar, button, count, el, show, since, table, usd } from "./dom.js";
import { makeSure } from "./switches.js";

const SHOWN = 50;

/** `filter` shows a run's calls. */
export async function refresh(filter) {
  const { runs, live } = await get(`/v1/runs?limit=${SHOWN}`);
  $("runs-note").textContent = `${live} in progress`;
  const first = [...runs].sort((one, other) => Number(other.live) - Number(one.live));
  if (!first.length) return show($("run-list"), el("p", { class: "empty" }, "No run has started yet."));
  show($("run-list"), table("Runs", ["Run", "Calls", "Steps", "Seconds", "Spend", ""], first.map((run) => row(run, filter))));
}

function row(run, filter) {
  const { used, limits } = run;
  const name = run.run_id ?? "no run id";
  const shown = run.run_id
    ? button(name, { key: `run ${run.agent_id}/${name}`, class: "link", label: `Calls of run ${name}` }, () => filter({ agent: run.agent_id, run: name }))
    : el("span", { class: "muted" }, name);
  return [
    { class: "cut", title: `${name}, ${run.agent_id}, started ${since(run.started)}`, of: el("span", {}, shown, el("small", {}, `${run.agent_id}, ${since(run.started)}`)) },
    bar("Calls", used.tool_calls, limits.tool_calls),
    bar("Steps", used.steps, limits.steps),
    run.run_id ? bar("Seconds", Math.min(Math.round(used.seconds), limits.seconds), limits.seconds) : "–",
    limits.usd === undefined ? { class: "muted", of: used.usd ? usd(used.usd) : "–" } : bar("Spend", used.usd, limits.usd, usd),
    ending(run, name),
  ];
}

function ending(run, name) {
  if (run.stop_reason) return el("span", { class: run.stop_reason === "finish" ? "muted" : "warn" }, run.stop_reason);
  if (!run.live || !run.run_id) return "";
  return button("Stop…", { key: `stop ${run.agent_id}/${name}`, class: "small stop", label: `Stop run ${name}` }, () => stop(run));
}

function stop(run) {
  const left = run.remaining.tool_calls;
  const says = `The run ${run.run_id} of ${run.agent_id} ends for good: its calls are refused from now on, and that cannot be lifted. It has ${count(left, "call")} left. Calls at their tool run to their end.`;
  makeSure(`Stop run ${run.run_id}?`, says, "Stop this run", async ({ who, reason }) => {
    const done = await post(`/v1/runs/${encodeURIComponent(run.agent_id)}/${encodeURIComponent(run.run_id)}/stop`, { who, ...(reason ? { reason } : {}) });
    return `Stopped run ${run.run_id} of ${run.agent_id}, on ${done.reach}.`;
  });
}
