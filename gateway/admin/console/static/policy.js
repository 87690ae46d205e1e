// The policy in force: its version, what is doubtful about it, and how the candidate differs and fares.

import { get } from "./api.js";
import { $, el, facts, list, seconds, show, since, table } from "./dom.js";

export async function refresh(status) {
  const trial = await get("/v1/rollout");
  const { policy, mode } = status;
  show(
    $("policy-text"),
    facts([
      ["Version", el("code", {}, policy.version)],
      ["From", policy.path],
      ["Gateway", `${status.version}, up ${seconds(status.uptime_seconds)}`],
      ["Mode", el("span", { class: mode === "report" ? "warn" : "" }, mode === "report" ? "report: rules refuse nothing, they only log" : "enforce")],
    ]),
    ...lines("The files on disk are refused, this policy stays in force", policy.rejected, "bad"),
    ...lines("Warnings", policy.warnings, "warn"),
    ...lines("Overridden by the environment", policy.overrides, ""),
    ...candidate(trial),
  );
}

const lines = (title, texts, kind) => (texts.length ? [el("h3", { class: kind }, `${title} (${texts.length})`), list(texts)] : []);

function candidate(trial) {
  const back = trial.rolled_back;
  if (back) {
    return [
      el("h3", { class: "bad" }, "Candidate rolled back"),
      facts([["Version", el("code", {}, back.version)], ["When", since(back.at)], ["By", back.who], ["Why", back.reason]]),
    ];
  }
  if (trial.state === "none") return [el("p", { class: "muted" }, "No candidate.")];
  if (!trial.candidate) return lines("candidate.yaml is refused", trial.problems, "bad");
  const share = trial.state === "shadow" ? "in shadow: no run lives under it" : `${trial.canary_percent} % of the runs live under it`;
  const side = (name, figures) => [
    name,
    el("code", {}, figures.version),
    { class: "n", of: figures.calls },
    { class: "n", of: figures.errors },
    { class: "n", of: `${(100 * figures.error_share).toFixed(1)} %` },
  ];
  const differences = Object.entries(trial.differences).map(([name, number]) => `${name}: ${number}`);
  return [
    el("h3", {}, "Candidate ", el("small", {}, share)),
    table("Candidate", ["Last 5 minutes", "Version", ["Calls", "n"], ["Errors", "n"], ["Share", "n"]], [side("In force", trial.live), side("Candidate", trial.candidate)]),
    ...lines("It changes", trial.candidate.changes, ""),
    ...lines("Decisions that differ", differences, "warn"),
    ...lines("Its warnings", trial.candidate.warnings, "warn"),
  ];
}
