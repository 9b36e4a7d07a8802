"""A study of deduplication as a picture: four panels over the chunk size, one line for each algorithm."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from chunkstore.operations.dedup_study.values import Measurement, Study
from chunkstore.units import format_count, format_size

from .charts import Panel, Series, html, svg

_ENDINGS = (".svg", ".html", ".png")


def check_plot(path: str) -> None:
    """Before the work begins: `UsageError` or `InvalidArgument` for a file that could not be written in the end."""
    ending = Path(path).suffix.lower()
    if ending not in _ENDINGS:
        raise click.UsageError(f"--plot {path}: the name must end in {', '.join(_ENDINGS)}.")
    directory = Path(path).absolute().parent
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        raise click.UsageError(f"--plot {path}: the folder is not there, or can not be written to.")
    if ending == ".png":
        from .charts_png import require_matplotlib

        require_matplotlib()


def write_plot(path: str, study: Study) -> None:
    """Write the picture, in the format that the ending of the name says."""
    title = f"Deduplication of {format_count(study.files)} files, {format_size(study.total)}"
    drawn = panels(study)
    ending = Path(path).suffix.lower()
    if ending == ".png":
        from .charts_png import write_png

        write_png(path, title, drawn)
        return
    picture = svg(title, drawn)
    text = picture if ending == ".svg" else html(title, picture, [_REMARK])
    Path(path).write_text(text, encoding="utf-8")


_REMARK = (
    "Stored: what a repository would have of this, without names and attributes of files. Index: bodies of index objects. "
    "Cutting and hashing: bytes in a second of one core."
)


def panels(study: Study) -> tuple[Panel, ...]:
    """What is drawn."""
    total = max(study.total, 1)
    return (
        _panel(study, "Deduplication", lambda m: m.counted.deduplication, lambda y: f"{y:.4g}x"),
        _panel(study, "Stored, of what was read", lambda m: 100 * m.stored / total, lambda y: f"{y:.4g} %"),
        _panel(
            study, "Index for 1 TiB like this", lambda m: max(m.index, 1) * 2**40 / total, format_size, logarithmic=True
        ),
        _panel(study, "Cutting and hashing, one core", lambda m: m.rate / 1e6, lambda y: f"{y:.0f} MB/s"),
    )


def _panel(
    study: Study,
    title: str,
    value: Callable[[Measurement], float],
    y_text: Callable[[float], str],
    *,
    logarithmic: bool = False,
) -> Panel:
    algorithms = dict.fromkeys(each.chunker.algorithm for each in study.measurements)
    series = tuple(
        Series(
            name,
            tuple(sorted((m.chunker.avg_size, value(m)) for m in study.measurements if m.chunker.algorithm == name)),
        )
        for name in algorithms
    )
    return Panel(title, "average chunk size asked for", series, _size_text, y_text, logarithmic)


def _size_text(size: float) -> str:
    return format_size(size).replace(".0 ", " ").replace("iB", "")
