"""The chart of the page: a bar a subject on a logarithmic scale, as SVG that follows the reader's light or dark scheme."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, LEFT, RIGHT, ROW, TOP = 760, 245, 70, 26, 48
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .tick { font-size: 11px; fill: #59636e; }
  line { stroke: #d1d9e0; }
  .bar { fill: #8c959f; }
  .ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .tick { fill: #9198a1; }
    line { stroke: #3d444d; }
    .bar { fill: #656c76; }
    .ours { fill: #4493f8; }
  }
"""


class Bar(NamedTuple):
    name: str
    value: float
    ours: bool


def chart(title: str, bars: Sequence[Bar]) -> str:
    """Values are positive; the scale begins and ends at powers of ten."""
    low = 10 ** math.floor(math.log10(min(bar.value for bar in bars)))
    high = 10 ** (math.floor(math.log10(max(bar.value for bar in bars))) + 1)
    height = TOP + ROW * len(bars) + 12

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / low) / math.log(high / low)

    parts = [f'<text class="title" x="8" y="18">{escape(title)}</text>']
    power = low
    while power <= high:
        parts.append(f'<line x1="{x(power):.0f}" x2="{x(power):.0f}" y1="{TOP - 8}" y2="{height - 8}"/>')
        parts.append(f'<text class="tick" text-anchor="middle" x="{x(power):.0f}" y="{TOP - 12}">{power:,}</text>')
        power *= 10
    for number, bar in enumerate(bars):
        y = TOP + ROW * number
        kind = "bar ours" if bar.ours else "bar"
        parts.append(f'<text text-anchor="end" x="{LEFT - 8}" y="{y + 15}">{escape(bar.name)}</text>')
        parts.append(
            f'<rect class="{kind}" x="{LEFT}" y="{y + 2}" width="{x(bar.value) - LEFT:.0f}" height="{ROW - 8}"/>'
        )
        parts.append(f'<text x="{x(bar.value) + 6:.0f}" y="{y + 15}">{figure(bar.value)}</text>')
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', f"<title>{escape(title)}</title>"]
    return "\n".join([*head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def figure(value: float) -> str:
    """To three digits at most, as far as they mean anything."""
    if value < 1:
        return f"{value:.2f}"
    digits = 10 ** max(0, math.floor(math.log10(value)) - 2)
    return f"{value:.1f}" if value < 10 else f"{round(value / digits) * digits:,}"
