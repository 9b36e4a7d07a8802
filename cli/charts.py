"""Line charts as SVG text, with nothing but the standard library: small panels with one line for each series."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

PANEL_WIDTH, PANEL_HEIGHT = 400, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 16, 34, 40
COLOURS = ("#1f6feb", "#d1661a", "#2e8540", "#8b3fb0", "#6b7280")
"""Of the series, in their order; a sixth one begins again."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name and its points from left to right."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart. The x axis is logarithmic and has a tick for each x that occurs; the y axis is, where it says so.

    Values of a logarithmic axis are above 0.
    """

    title: str
    x_title: str
    series: tuple[Series, ...]
    x_text: Callable[[float], str]
    y_text: Callable[[float], str]
    y_logarithmic: bool = False


def svg(title: str, panels: Sequence[Panel], columns: int = 2) -> str:
    """One picture of all panels, side by side in so many columns."""
    rows = -(-len(panels) // columns)
    width, height = PANEL_WIDTH * columns, PANEL_HEIGHT * rows + 66
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(width / 2, 24, title, "middle", 'font-size="15" font-weight="bold"'),
        *_legend(panels, width),
    ]
    for number, panel in enumerate(panels):
        x, y = number % columns * PANEL_WIDTH, number // columns * PANEL_HEIGHT + 60
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def html(title: str, picture: str, remarks: Sequence[str]) -> str:
    """A page with the picture in it, that needs no other file, and remarks below."""
    lines = "".join(f"<p>{escape(each)}</p>\n" for each in remarks)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title></head>\n'
        f'<body style="font-family: sans-serif">\n{picture}{lines}</body>\n</html>\n'
    )


def ticks(smallest: float, largest: float) -> list[float]:
    """Three to eight round values that reach from below or at `smallest` to at or above `largest`."""
    if largest <= smallest:
        largest = smallest + (abs(smallest) or 1.0)
    rough = (largest - smallest) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.floor(smallest / step + 1e-9), math.ceil(largest / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(smallest: float, largest: float) -> list[float]:
    """Powers of 2, or of 4, 16, ..., from below or at `smallest` to at or above `largest`: at most eight."""
    first, last = (
        math.floor(math.log2(smallest)),
        max(math.ceil(math.log2(largest)), math.floor(math.log2(smallest)) + 1),
    )
    step = 1
    while (last - first) / step > 7:
        step *= 2
    return [2.0**power for power in range(first, last + step, step)]


def _legend(panels: Sequence[Panel], width: float) -> Iterator[str]:
    names = list(dict.fromkeys(series.name for panel in panels for series in panel.series))
    left = width / 2 - len(names) * 60
    for number, name in enumerate(names):
        x = left + number * 120
        yield f'<line x1="{x:.0f}" y1="44" x2="{x + 24:.0f}" y2="44" stroke="{colour(number)}" stroke-width="2"/>'
        yield _text(x + 30, 48, name, "start")


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _panel(panel: Panel) -> Iterator[str]:
    xs = sorted({x for series in panel.series for x, _ in series.points})
    ys = [y for series in panel.series for _, y in series.points]
    yield _text(PANEL_WIDTH / 2, 20, panel.title, "middle", 'font-weight="bold"')
    if not xs:
        return
    marks = log_ticks(min(ys), max(ys)) if panel.y_logarithmic else ticks(min(ys), max(ys))
    across = _scale([math.log2(x) for x in (xs[0], xs[-1])], _LEFT, PANEL_WIDTH - _RIGHT)
    up = _scale([_measure(panel, mark) for mark in (marks[0], marks[-1])], PANEL_HEIGHT - _BOTTOM, _TOP)
    for mark in marks:
        y = up(_measure(panel, mark))
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{PANEL_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>'
        yield _text(_LEFT - 6, y + 4, panel.y_text(mark), "end")
    for x in xs:
        at = across(math.log2(x))
        yield f'<line x1="{at:.1f}" y1="{PANEL_HEIGHT - _BOTTOM}" x2="{at:.1f}" y2="{PANEL_HEIGHT - _BOTTOM + 4}" stroke="#888888"/>'
        yield _text(at, PANEL_HEIGHT - _BOTTOM + 17, panel.x_text(x), "middle", 'font-size="10"')
    yield _text((_LEFT + PANEL_WIDTH) / 2, PANEL_HEIGHT - 8, panel.x_title, "middle", 'fill="#555555"')
    for number, series in enumerate(panel.series):
        points = [(across(math.log2(x)), up(_measure(panel, y))) for x, y in series.points]
        yield from _line(points, colour(number))


def _line(points: Sequence[tuple[float, float]], stroke: str) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2"/>'
    for x, y in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{stroke}"/>'


def _measure(panel: Panel, value: float) -> float:
    return math.log2(value) if panel.y_logarithmic else value


def _scale(between: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """What puts the first value at `start` and the last at `end`; where they are one, in the middle."""
    low, high = between[0], between[-1]
    if high == low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
