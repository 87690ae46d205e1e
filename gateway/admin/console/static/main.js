// The page: asks for the token, keeps every section up to date while it is seen, and hears its keys.

import * as agents from "./agents.js";
import { get, hasToken, setToken } from "./api.js";
import * as calls from "./calls.js";
import * as charts from "./charts.js";
import { $, el, open, show } from "./dom.js";
import * as policy from "./policy.js";
import * as runs from "./runs.js";
import * as switches from "./switches.js";
import * as traffic from "./traffic.js";
import { showTrouble } from "./trouble.js";
import * as upstreams from "./upstreams.js";

const OFTEN = 2000;
/** Every so many rounds what seldom changes is asked for. */
const SELDOM = 3;
let timer = 0;
let round = 0;
let going = false;

const WORDS = {
  state_unavailable: "state out of reach",
  log_failing: "log cannot be written",
  policy_rejected: "policy on disk refused",
  breaker_open: "breaker open",
  candidate_rolled_back: "candidate rolled back",
  kill_switch: "kill switch on",
};

function setUp() {
  calls.setUp();
  charts.setUp((tool) => calls.filter({ tool }));
  switches.setUp(() => refresh());
  for (const close of document.querySelectorAll("[data-close]")) close.addEventListener("click", () => close.closest("dialog").close());
  $("help-open").addEventListener("click", () => open($("help-dialog")));
  $("sign-out").addEventListener("click", () => { setToken(""); location.reload(); });
  $("token-form").addEventListener("submit", signIn);
  $("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
  document.addEventListener("unauthenticated", (event) => askForToken(event.detail));
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : begin()));
  document.addEventListener("keydown", keys);
  if (hasToken()) begin();
  else askForToken("");
}

function askForToken(why) {
  rest();
  $("token-problem").textContent = why ?? "";
  if (!$("token-dialog").open) {
    for (const other of document.querySelectorAll("dialog[open]")) other.close();
    $("token-dialog").showModal();
  }
  $("token").focus();
}

async function signIn(event) {
  event.preventDefault();
  setToken($("token").value);
  try {
    await get("/v1/status");
  } catch (problem) {
    if (problem.status === 401) setToken("");
    $("token-problem").textContent = problem.message;
    return;
  }
  $("token").value = "";
  $("token-dialog").close();
  begin();
}

function begin() {
  if (going || !hasToken() || document.hidden) return;
  going = true;
  round = 0;
  traffic.start();
  calls.restart();
  refresh();
}

/** Nobody looks, or nobody may. */
function rest() {
  going = false;
  clearTimeout(timer);
  traffic.stop();
  calls.stop();
}

async function refresh() {
  clearTimeout(timer);
  if (!going) return;
  try {
    const status = await get("/v1/status");
    top(status);
    switches.showSwitches(status);
    showTrouble(status, calls.filter);
    agents.showAgents(status.agents, calls.filter);
    charts.draw();
    await runs.refresh(calls.filter);
    if (round % SELDOM === 0) {
      await upstreams.refresh(status.queues);
      await policy.refresh(status);
      await names();
    }
    round += 1;
  } catch (problem) {
    if (problem.status === 401) return;
    state("bad", problem.status === 0 ? "not reached" : problem.message ?? "");
    if (problem.status === undefined) throw problem;
  } finally {
    clearTimeout(timer);
    if (going) timer = setTimeout(refresh, OFTEN);
  }
}

function top(status) {
  if (!status.ready) state("bad", `takes no calls: ${status.why}`);
  else if (status.degraded.length) state("warn", status.degraded.map((word) => WORDS[word] ?? word).join(", "));
  else state("good", "serving");
  document.title = status.kill_switches.length ? "KILLED · tool-gateway" : "tool-gateway";
  const dropped = Object.values(status.log_dropped).reduce((sum, number) => sum + number, 0);
  const known = [
    ["Data plane", status.listen.replace(/^http:../, "")],
    ["Policy", status.policy.version],
    ["Mode", status.mode === "report" ? "report" : null],
    ["In flight", `${status.calls_in_flight}/${status.max_in_flight}`],
    ["Runs", status.runs_live],
    ["Candidate", status.candidate && `${status.candidate.version}, ${status.candidate.canary_percent} %`],
    ["Log lines lost", dropped || null],
  ];
  const shown = known.filter(([, value]) => value !== null && value !== undefined);
  show($("facts"), ...shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function state(kind, text) {
  $("state").className = kind;
  if ($("state").textContent !== text) $("state").textContent = text;
}

/** What the filter and the kill dialog offer. */
async function names() {
  const { tools, agents: known } = await get("/v1/policy");
  show($("tool-names"), ...tools.slice(0, 500).map((value) => el("option", { value })));
  show($("agent-names"), ...known.slice(0, 500).map((value) => el("option", { value })));
}

function keys(event) {
  const busy = event.target.closest("input, select, textarea") || document.querySelector("dialog[open]");
  if (busy || event.ctrlKey || event.metaKey || event.altKey || !hasToken()) return;
  const act = { k: () => switches.openKill(), "/": () => $("filter-tool").focus(), p: calls.pause, "?": () => open($("help-dialog")) }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

setUp();
