// All calls of the last minutes, whatever the table shows: what tools and agents do is counted from them.

import { follow } from "./api.js";

export const WINDOW = 300;
/** Seconds. */
export const STEP = 5;
/** From this share on, calls that did not end well are red: now and then one is refused to anybody. */
export const WORRYING = 0.2;
const MOST = 50000;

let calls = [];
let feed = null;
let missed = 0;

/** Calls that came too fast to be told: what is counted here lacks them. */
export const uncounted = () => missed;

export function start() {
  feed ??= follow({}, 1000, {
    begun: (known) => { calls = known; missed = 0; },
    told: (more) => calls.push(...more),
    lost: (number) => (missed += number ?? 0),
    trouble: () => {},
  });
}

export function stop() {
  feed?.stop();
  feed = null;
}

/** Those of the window, without what is older. */
function recent(now) {
  const from = now - WINDOW * 1000;
  if (calls.length > MOST || (calls.length && at(calls[0]) < from)) calls = calls.slice(-MOST).filter((call) => at(call) >= from);
  return calls;
}

const at = (call) => (call.at ??= new Date(call.ts).getTime());

const FINE = new Set(["ok", "dedup"]);
export const isFine = (call) => FINE.has(call.reason);

/** The busiest tools, each with calls, failures and latencies by STEP. */
export function byTool(now, most) {
  const tools = new Map();
  for (const call of recent(now)) {
    if (!tools.has(call.tool)) tools.set(call.tool, []);
    tools.get(call.tool).push(call);
  }
  const busiest = [...tools].sort((one, other) => other[1].length - one[1].length).slice(0, most);
  return busiest.map(([tool, made]) => ({ tool, ...figures(made, now) }));
}

function figures(made, now) {
  const size = WINDOW / STEP;
  const end = Math.floor(now / 1000 / STEP) * STEP;
  const steps = Array.from({ length: size }, (_, index) => ({ at: end - (size - index) * STEP, all: 0, failed: 0, times: [] }));
  for (const call of made) {
    const step = steps[Math.floor((at(call) / 1000 - steps[0].at) / STEP)];
    if (!step) continue;
    step.all += 1;
    if (!isFine(call)) step.failed += 1;
    if (call.attempts) step.times.push(call.duration_ms);
  }
  for (const step of steps) step.times.sort((one, other) => one - other);
  const times = made.filter((call) => call.attempts).map((call) => call.duration_ms).sort((one, other) => one - other);
  return { calls: made.length, failed: made.filter((call) => !isFine(call)).length, p95: share(times, 0.95), steps };
}

export const share = (sorted, part) => (sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] : null);

/** What each agent did in the window: calls, those that did not end well, and the reason most of these ended for. */
export function byAgent(now) {
  const agents = new Map();
  for (const call of recent(now)) {
    if (!agents.has(call.agent_id)) agents.set(call.agent_id, { calls: 0, failed: 0, reasons: new Map() });
    const agent = agents.get(call.agent_id);
    agent.calls += 1;
    if (isFine(call)) continue;
    agent.failed += 1;
    agent.reasons.set(call.reason, (agent.reasons.get(call.reason) ?? 0) + 1);
  }
  for (const agent of agents.values()) agent.mostly = [...agent.reasons].sort((one, other) => other[1] - one[1])[0]?.[0] ?? null;
  return agents;
}
