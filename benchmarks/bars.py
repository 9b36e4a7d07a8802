"""Bar charts of a comparison: SVG and HTML with nothing but the standard library, PNG where matplotlib is installed.

For each step a panel: the median wall time of every tool, a thin line from the fastest run to the slowest. Two more panels
show the bytes stored and the peak memory. Colours stand for tools.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from report import LIMIT, MIB, Report, Row

COLOURS = ("#1f6feb", "#d1661a", "#2e8540", "#8b3fb0", "#6b7280", "#b8336a", "#937b10")
PANEL, BAR, LEFT, RIGHT = 420, 22, 96, 70


@dataclass(frozen=True, slots=True)
class Bar:
    """One tool's figure; `low` and `high` are those of single runs."""

    tool: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Panel:
    """The bars of one step; `unit` stands behind the figures."""

    title: str
    unit: str
    bars: tuple[Bar, ...]


def panels(report: Report) -> list[Panel]:
    """One for each step but the limits, then stored bytes and memory of the first step."""
    rows = report.rows()
    steps = [step for step in dict.fromkeys(row.step for row in rows) if step != LIMIT]
    found = [Panel(step, "s", tuple(_wall(row) for row in rows if row.step == step)) for step in steps]
    limits = tuple(_wall(row) for row in rows if row.step == LIMIT)
    if limits:
        found.append(Panel("limits of this machine", "s", limits))
    for title, name in (("stored", "stored"), ("peak memory, largest process", "largest")):
        first = [(row, getattr(row, name) / MIB) for row in rows if steps and row.step == steps[0]]
        found.append(
            Panel(f"{title}, {steps[0]}" if steps else title, "MiB", tuple(Bar(r.tool, v, v, v) for r, v in first))
        )
    return [panel for panel in found if panel.bars]


def plot(report: Report, prefix: str) -> list[str]:
    """Writes PREFIX.svg and PREFIX.html, and PREFIX.png if that can be; returns their names."""
    shown = panels(report)
    title = f"Medians; lines reach from the fastest to the slowest run. {report.facts.get('tree', '')}"
    picture = svg(title, shown)
    Path(f"{prefix}.svg").write_text(picture)
    Path(f"{prefix}.html").write_text(
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>chunkstore: benchmark</title></head>\n'
        f'<body style="font-family: sans-serif">\n{picture}\n{report.html()}</body>\n</html>\n'
    )
    written = [f"{prefix}.svg", f"{prefix}.html"]
    if importlib.util.find_spec("matplotlib"):
        _png(title, shown, f"{prefix}.png")
        written.append(f"{prefix}.png")
    return written


def svg(title: str, shown: Sequence[Panel]) -> str:
    """All panels, two side by side."""
    colours = _colours(shown)
    heights = [60 + BAR * len(panel.bars) for panel in shown]
    tops, y = [], 40
    for at in range(0, len(shown), 2):
        tops += [y] * len(heights[at : at + 2])
        y += max(heights[at : at + 2])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * PANEL} {y}" width="{2 * PANEL}" height="{y}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{2 * PANEL}" height="{y}" fill="white"/>',
        f'<text x="12" y="22" font-size="13">{escape(title)}</text>',
    ]
    for number, (panel, top) in enumerate(zip(shown, tops, strict=True)):
        parts += [f'<g transform="translate({number % 2 * PANEL} {top})">', *_bars(panel, colours), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _wall(row: Row) -> Bar:
    return Bar(row.tool, row.wall, row.fastest, row.slowest)


def _colours(shown: Sequence[Panel]) -> dict[str, str]:
    names = dict.fromkeys(bar.tool for panel in shown for bar in panel.bars)
    return {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(names)}


def _bars(panel: Panel, colours: dict[str, str]) -> Iterator[str]:
    yield f'<text x="12" y="20" font-weight="bold">{escape(panel.title)}</text>'
    scale = (PANEL - LEFT - RIGHT) / (max(bar.high for bar in panel.bars) or 1)
    for number, bar in enumerate(panel.bars):
        y = 32 + number * BAR
        yield f'<text x="{LEFT - 6}" y="{y + 12}" text-anchor="end">{escape(bar.tool)}</text>'
        yield f'<rect x="{LEFT}" y="{y}" width="{bar.value * scale:.1f}" height="16" fill="{colours[bar.tool]}"/>'
        ends = LEFT + bar.low * scale, LEFT + bar.high * scale
        yield f'<line x1="{ends[0]:.1f}" y1="{y + 8}" x2="{ends[1]:.1f}" y2="{y + 8}" stroke="#222222"/>'
        yield f'<text x="{ends[1] + 6:.1f}" y="{y + 12}">{_text(bar.value)} {panel.unit}</text>'


def _text(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _png(title: str, shown: Sequence[Panel], path: str) -> None:
    from matplotlib.figure import Figure

    colours = _colours(shown)
    count = -(-len(shown) // 2)
    figure = Figure(figsize=(11, 0.6 + count * (0.8 + 0.25 * max(len(panel.bars) for panel in shown))), dpi=100)
    figure.suptitle(title, fontsize=9)
    for number, panel in enumerate(shown):
        axes = figure.add_subplot(count, 2, number + 1)
        values = [bar.value for bar in panel.bars]
        errors = [[bar.value - bar.low for bar in panel.bars], [bar.high - bar.value for bar in panel.bars]]
        places = range(len(panel.bars))
        axes.barh(places, values, xerr=errors, color=[colours[bar.tool] for bar in panel.bars], capsize=2)
        axes.set_yticks(places, [f"{bar.tool}  {_text(bar.value)}" for bar in panel.bars], fontsize=8)
        axes.invert_yaxis()
        axes.set_title(f"{panel.title} [{panel.unit}]", fontsize=9)
        axes.tick_params(axis="x", labelsize=7)
    figure.tight_layout()
    figure.savefig(path)
