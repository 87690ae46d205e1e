// Agents: what each did in the last minutes, and what it has used of its hour and its day.

import { $, bar, button, el, show, table, usd } from "./dom.js";
import { openKill } from "./switches.js";
import { WORRYING, byAgent } from "./traffic.js";

/** `used` is the gateway's account of hours and days; `filter` shows an agent's calls. */
export function showAgents(used, filter) {
  const doing = byAgent(Date.now());
  const accounts = new Map(used.map((agent) => [agent.agent_id, agent]));
  const names = [...new Set([...doing.keys(), ...accounts.keys()])];
  const worst = (name) => [doing.get(name)?.failed ?? 0, accounts.get(name)?.usd_today.used ?? 0, doing.get(name)?.calls ?? 0];
  names.sort((one, other) => worst(other).map((figure, at) => figure - worst(one)[at]).find(Boolean) ?? 0);
  if (!names.length) return show($("agent-list"), el("p", { class: "empty" }, "No agent has called yet."));
  const heads = ["Agent", ["Calls", "n"], "Not ok", "This hour", "Today", ""];
  show($("agent-list"), table("Agents", heads, names.map((name) => row(name, doing.get(name), accounts.get(name), filter))));
}

function row(name, doing, used, filter) {
  const hour = used?.actions_this_hour;
  const failed = doing?.failed ?? 0;
  return [
    { class: "cut", title: name, of: button(name, { key: `agent ${name}`, class: "link", label: `Calls of agent ${name}` }, () => filter({ agent: name })) },
    { class: "n", of: doing?.calls ?? 0 },
    failed ? { class: failed >= WORRYING * doing.calls ? "bad" : "", of: el("span", {}, `${failed} (${Math.round((100 * failed) / doing.calls)} %)`, el("br"), el("small", {}, doing.mostly)) } : "0",
    hour ? bar("Actions this hour", hour.used, hour.limit) : "–",
    day(used),
    button("Kill…", { key: `kill ${name}`, class: "small stop", label: `Kill agent ${name}` }, () => openKill("agent", name)),
  ];
}

/** Its money, and the tools whose calls are limited by the day. */
function day(used) {
  if (!used) return "–";
  const spent = used.usd_today;
  const tools = Object.entries(used.calls_today).map(([tool, { used: made, limit }]) => el("div", { title: `${tool} today` }, bar(`${tool} today`, made, limit)));
  const money = spent.limit !== null || spent.used ? [el("div", {}, bar("Spend today", spent.used, spent.limit, usd))] : [];
  return money.length || tools.length ? el("div", {}, ...money, ...tools) : "–";
}
