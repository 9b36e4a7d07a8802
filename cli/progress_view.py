"""Progress on a terminal: one line that is drawn a few times a second; elsewhere nothing but warnings."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chunkstore.progress import Progress
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_duration, format_rate, format_size

from .options import settings

_EVERY_S = 0.2
_CLEAR = "\r\x1b[K"


class Warnings:
    """For scheduled runs: warnings on stderr, no progress."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def total(self, files: int, size: int) -> None:
        pass

    def advance(self, files: int, size: int) -> None:
        pass

    def current(self, path: bytes) -> None:
        pass

    def warn(self, message: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"chunkstore: {message}\n")


class TerminalLine(Warnings):
    """Files, bytes, rate and, where the total is known, the time that is left."""

    def __init__(self) -> None:
        super().__init__(quiet=False)
        self._files = self._size = self._all_files = self._all_size = 0
        self._path = b""
        self._began = self._drawn = time.monotonic()

    def total(self, files: int, size: int) -> None:
        self._all_files, self._all_size = files, size

    def advance(self, files: int, size: int) -> None:
        self._files += files
        self._size += size
        now = time.monotonic()
        if now - self._drawn >= _EVERY_S:
            self._drawn = now
            self._draw(now - self._began)

    def current(self, path: bytes) -> None:
        self._path = path

    def warn(self, message: str) -> None:
        sys.stderr.write(_CLEAR)
        super().warn(message)

    def clear(self) -> None:
        """Leave no trace of the line."""
        sys.stderr.write(_CLEAR)
        sys.stderr.flush()

    def _draw(self, seconds: float) -> None:
        rate = self._size / seconds if seconds else 0.0
        parts = [format_duration(seconds), self._of(), format_rate(rate)]
        if self._all_size and rate:
            left = max(self._all_size - self._size, 0) / rate
            parts.insert(0, f"{min(self._size / self._all_size, 1):4.0%}")
            parts.append(f"{format_duration(left)} left")
        line = "  ".join(parts)
        room = max(_width() - len(line) - 3, 0)
        shown = display_path(self._path)
        sys.stderr.write(f"{_CLEAR}{line}  {shown[-room:] if room else ''}")
        sys.stderr.flush()

    def _of(self) -> str:
        files = format_count(self._files)
        if self._all_files:
            files += f" of {format_count(self._all_files)}"
        return f"{files} files  {format_size(self._size)}"


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


@contextmanager
def progress() -> Iterator[Progress]:
    """What fits this run: a line on a terminal, warnings alone in cron and with --json or --quiet."""
    said = settings()
    if said.quiet or said.json or not sys.stderr.isatty():
        yield Warnings(said.quiet)
        return
    line = TerminalLine()
    try:
        yield line
    finally:
        line.clear()
