// Upstreams: is their breaker closed, and how many connections are open.

import { get } from "./api.js";
import { $, el, seconds, show, table } from "./dom.js";

export async function refresh(queues) {
  const { upstreams } = await get("/v1/upstreams");
  if (!upstreams.length) return show($("upstream-list"), el("p", { class: "empty" }, "The policy names none."));
  const rows = upstreams.map((one) => [
    { class: "cut", title: one.url, of: one.name },
    breaker(one.breaker),
    { class: "n", of: one.connections === undefined ? "–" : `${one.connections}/${one.max_connections}` },
    { class: "n", of: one.idle ?? "–" },
    { class: one.waiting ? "n warn" : "n", of: one.waiting ?? "–" },
  ]);
  const shown = [table("Upstreams", ["Upstream", "Breaker", ["Connections", "n"], ["Idle", "n"], ["Waiting", "n"]], rows)];
  if (queues.length) {
    const waiting = queues.map((one) => [one.tool, { class: "n", of: one.waiting }, one.paused_seconds ? `paused ${seconds(one.paused_seconds)}` : ""]);
    shown.push(table("Queues", ["Queue of tool", ["Waiting", "n"], ""], waiting));
  }
  show($("upstream-list"), ...shown);
}

function breaker({ state, next_attempt_in_ms: wait }) {
  if (state === "closed") return el("span", { class: "good" }, "closed");
  return el("span", { class: "bad" }, wait ? `${state}, tried in ${seconds(wait / 1000)}` : state);
}
