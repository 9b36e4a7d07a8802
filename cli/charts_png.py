"""The same charts as PNG, by matplotlib, which is an optional extra: imported only here, and only when asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from chunkstore.errors import InvalidArgument

from .charts import PANEL_HEIGHT, PANEL_WIDTH, Panel, colour, log_ticks, ticks

_DPI = 100


def require_matplotlib() -> None:
    """`InvalidArgument` where it is not installed: to be found out before hours of work, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InvalidArgument(
            "PNG needs matplotlib: pip install 'chunkstore[plot]'. A name with .svg or .html at its end needs nothing"
        )


def write_png(path: str, title: str, panels: Sequence[Panel], columns: int = 2) -> None:
    """Write one picture of all panels."""
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(PANEL_WIDTH * columns / _DPI, (PANEL_HEIGHT * rows + 66) / _DPI), dpi=_DPI)
    figure.suptitle(title)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        for place, series in enumerate(panel.series):
            points = list(zip(*series.points, strict=True))
            axes.plot(*points, color=colour(place), marker="o", markersize=3, label=series.name)
        axes.set_title(panel.title, fontsize=10)
        axes.set_xlabel(panel.x_title, fontsize=8)
        _set_axes(axes, panel)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=max(len(labels), 1), fontsize=8)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, format="png")


def _set_axes(axes: object, panel: Panel) -> None:
    xs = sorted({x for series in panel.series for x, _ in series.points})
    ys = [y for series in panel.series for _, y in series.points]
    marks = log_ticks(min(ys), max(ys)) if panel.y_logarithmic else ticks(min(ys), max(ys))
    axes.set_xscale("log", base=2)  # type: ignore[attr-defined]
    if panel.y_logarithmic:
        axes.set_yscale("log", base=2)  # type: ignore[attr-defined]
    axes.set_xticks(xs, [panel.x_text(x) for x in xs], fontsize=7)  # type: ignore[attr-defined]
    axes.set_yticks(marks, [panel.y_text(y) for y in marks], fontsize=7)  # type: ignore[attr-defined]
    axes.minorticks_off()  # type: ignore[attr-defined]
    axes.grid(axis="y", color="#dddddd")  # type: ignore[attr-defined]
