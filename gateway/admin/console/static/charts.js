// The busiest tools: calls a second with those that failed, and how long calls took. Drawn by uPlot.

import { $, button, count, el, ms } from "./dom.js";
import { STEP, WINDOW, WORRYING, byTool, share, uncounted } from "./traffic.js";

const MOST = 6;
const HEIGHT = 66;
const cards = new Map();
let picked = () => {};

/** `pick` shows a tool's calls. */
export function setUp(pick) {
  picked = pick;
  const anew = () => { cards.forEach((card) => card.remove()); cards.clear(); draw(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", anew);
  let width = innerWidth;
  addEventListener("resize", () => { if (width !== innerWidth) { width = innerWidth; anew(); } });
}

export function draw() {
  $("tools-note").textContent = uncounted() ? `${count(uncounted(), "call")} came too fast to be counted here: /metrics has them` : "";
  const tools = byTool(Date.now(), MOST);
  const names = new Set(tools.map(({ tool }) => tool));
  for (const [tool, card] of cards) if (!names.has(tool)) { card.remove(); cards.delete(tool); }
  for (const figures of tools) {
    if (!cards.has(figures.tool)) cards.set(figures.tool, new Card(figures.tool));
    cards.get(figures.tool).update(figures);
  }
  $("charts").querySelector(".charts-none")?.remove();
  if (!tools.length) $("charts").append(el("p", { class: "charts-none" }, "No call in the last 5 minutes."));
}

class Card {
  constructor(tool) {
    this.said = el("span", {});
    this.rate = el("div", { role: "img" });
    this.times = el("div", { role: "img" });
    const head = el("h3", {}, button(tool, { key: `chart ${tool}`, class: "link", label: `Calls of ${tool}` }, () => picked(tool)), this.said);
    this.node = el("div", { class: "chart", "data-tool": tool }, head, el("div", { class: "plots" }, this.rate, this.times));
    $("charts").append(this.node);
    const [accent, bad, muted] = ["--accent", "--bad", "--muted"].map((name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim());
    this.plots = [
      plot(this.rate, [line(accent, true), line(bad, true)], "/s"),
      plot(this.times, [line(muted), line(accent)], "ms"),
    ];
  }

  update({ calls, failed, p95, steps }) {
    const now = (calls / WINDOW).toFixed(calls / WINDOW < 10 ? 2 : 0);
    const parts = [`${now}/s`, failed ? `${Math.round((100 * failed) / calls)} % not ok` : "all ok", p95 === null ? "" : `p95 ${ms(p95)} ms`];
    this.said.textContent = parts.filter(Boolean).join(" · ");
    this.said.className = failed && failed >= WORRYING * calls ? "bad" : "";
    this.rate.setAttribute("aria-label", `${calls} calls in 5 minutes, ${failed} not ok`);
    this.times.setAttribute("aria-label", p95 === null ? "nothing was sent" : `95 % of calls took up to ${ms(p95)} milliseconds`);
    const at = steps.map((step) => step.at);
    this.plots[0].setData([at, steps.map((step) => step.all / STEP), steps.map((step) => step.failed / STEP)]);
    this.plots[1].setData([at, steps.map((step) => share(step.times, 0.5)), steps.map((step) => share(step.times, 0.95))]);
  }

  remove() {
    this.plots.forEach((one) => one.destroy());
    this.node.remove();
  }
}

const line = (stroke, filled) => ({ stroke, width: 1.5, fill: filled ? `${stroke}30` : undefined, spanGaps: true, points: { show: !filled, size: 3 } });

function plot(place, series, unit) {
  const style = getComputedStyle(document.documentElement);
  const axis = {
    stroke: style.getPropertyValue("--muted").trim(),
    font: "10px system-ui, sans-serif",
    grid: { stroke: style.getPropertyValue("--line").trim(), width: 1 },
    ticks: { show: false },
    size: 38,
    gap: 2,
    space: 22,
    values: (_, splits) => splits.map((value, index) => (index === splits.length - 1 ? `${short(value)} ${unit}` : short(value))),
  };
  return new uPlot(
    {
      width: Math.max(100, place.clientWidth || 120),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      padding: [7, 2, 6, 0],
      scales: { x: { time: true }, y: { range: (_, _least, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [{ show: false }, axis],
      series: [{}, ...series],
    },
    [[], ...series.map(() => [])],
    place,
  );
}

const short = (value) => (value >= 1000 ? `${value / 1000}k` : String(Number(value.toPrecision(3))));
