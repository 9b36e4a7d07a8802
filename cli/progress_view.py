"""Progress on a terminal: one line that is drawn a few times a second; elsewhere nothing but warnings."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from chunkstore.progress import Silent
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_size

from .failures import say
from .options import settings

_EVERY_S = 0.2
_PATH_WIDTH = 40


class Warnings(Silent):
    """For scheduled runs: warnings on stderr, no progress. With --quiet too: they are about what is not as it must be."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__()
        self._verbose = verbose

    def stored(self, path: bytes, size: int, new: bool) -> None:
        if self._verbose:
            self.result(f"{'new' if new else 'changed':9}  {format_size(size):>10}  {display_path(path)}")

    def warn(self, message: str) -> None:
        say(message)

    def result(self, line: str) -> None:
        """Write a line of the results to stdout while the run goes on."""
        click.echo(line)

    def clear(self) -> None:
        """Leave the terminal to the results; nothing is drawn after this."""


class TerminalLine(Warnings):
    """Files, bytes, rate and, where the total is known, the time that is left."""

    def __init__(self, verbose: bool = False) -> None:
        from rich.console import Console  # not needed in cron, and slow to import
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        super().__init__(verbose)
        columns = (
            TimeElapsedColumn(),
            BarColumn(20),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TextColumn("{task.fields[files]} files", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[path]}", markup=False),
        )
        # Drawn by the thread that works, when it reports: no thread is started for it.
        console = Console(stderr=True)
        # Results go to stdout as they are, wherever that leads: rich would put them on the console.
        self._view = Progress(
            *columns, console=console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._task = self._view.add_task("", total=None, files="0", path="")
        self._files = self._size = self._all_files = 0
        self._path = b""
        self._drawn = 0.0
        self._view.start()

    def total(self, files: int, size: int) -> None:
        self._all_files = files
        self._view.update(self._task, total=size)

    def advance(self, files: int, size: int) -> None:
        self._files += files
        self._size += size
        now = time.monotonic()
        if self._view.live.is_started and now - self._drawn >= _EVERY_S:
            self._drawn = now
            self._draw()

    def current(self, path: bytes) -> None:
        self._path = path

    def warn(self, message: str) -> None:
        self._view.console.print(f"chunkstore: {message}", markup=False, highlight=False, soft_wrap=True)

    def result(self, line: str) -> None:
        if self._view.live.is_started and sys.stdout.isatty():
            self._view.stop()
            super().result(line)
            self._view.start()
        else:
            super().result(line)

    def clear(self) -> None:
        self._view.stop()

    def _draw(self) -> None:
        files = format_count(self._files)
        if self._all_files:
            files += f" of {format_count(self._all_files)}"
        shown = display_path(self._path)[-_PATH_WIDTH:]
        self._view.update(self._task, completed=self._size, files=files, path=shown, refresh=True)


def shown() -> bool:
    """Whether somebody looks: progress is for terminals, not for cron, --json or --quiet."""
    said = settings()
    return not said.quiet and not said.json and sys.stderr.isatty()


@contextmanager
def progress(verbose: bool = False) -> Iterator[Warnings]:
    """What fits this run: a line on a terminal, warnings alone in cron and with --json or --quiet.

    With `verbose` a line for each file that is stored as well.
    """
    view = TerminalLine(verbose) if shown() else Warnings(verbose)
    try:
        yield view
    finally:
        view.clear()
