// In trouble: who fails most or spends fastest, why, and what to do about it. Seen before everything else, while there is anyone.

import { $, button, count, el, show, since } from "./dom.js";
import { openStory } from "./story.js";
import { askToRestore, openKill } from "./switches.js";

const SHOWN = 3;

/** `filter` shows an agent's calls. */
export function showTrouble({ in_trouble: agents, kill_switches: held }, filter) {
  $("trouble").hidden = !agents.length;
  const more = agents.length - SHOWN;
  $("trouble-note").textContent = more > 0 ? `and ${count(more, "more agent")}: look at what they have in common, a tool or its upstream` : "";
  show($("trouble-list"), ...agents.slice(0, SHOWN).map((one) => row(one, held, filter)));
}

function row(one, held, filter) {
  const name = one.agent_id;
  const calls = one.kind === "fails" ? "These calls" : "Its calls";
  const theirs = () => filter({ agent: name, reason: one.kind === "fails" ? "!ok,dedup" : "" });
  return el(
    "div",
    { class: one.stopped ? "trouble stopped" : "trouble" },
    el("p", {}, el("strong", {}, name), `${one.stopped ? " is stopped:" : ""} ${one.says} `, el("small", {}, `last one ${since(one.last)}`)),
    one.why && el("p", { class: "muted" }, one.why),
    el(
      "div",
      { class: "buttons" },
      button(calls, { key: `see ${name}`, label: `${calls} of ${name}` }, theirs),
      button("Why", { key: `why ${name}`, label: `Why: the latest call of ${name}` }, () => openStory(one.call_id, filter)),
      ending(one, held),
    ),
  );
}

function ending(one, held) {
  const scope = `agent:${one.agent_id}`;
  const own = held.find((other) => other.scope === scope && other.source === "runtime");
  if (own) return button(`Restore ${one.agent_id}…`, { key: `go on ${scope}` }, () => askToRestore(own));
  if (one.stopped) return null;
  const reason = one.kind === "fails" ? `${one.tool}: ${one.reason}` : `spends too fast on ${one.tool}`;
  return button(`Stop ${one.agent_id}…`, { key: `stop ${scope}`, class: "danger" }, () => openKill("agent", one.agent_id, reason));
}
