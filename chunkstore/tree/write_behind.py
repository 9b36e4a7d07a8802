"""Parts of files written by a thread of their own, neighbours at once: copying into the page cache takes as long as all else.

What can not be written is said later: when more is to be written to the same file, or it is to be finished.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import NamedTuple

from chunkstore.parallel import OrderedPool
from chunkstore.tree.parts import PartFile
from chunkstore.tree.writing import Data, write_fully_at

_RUN = 1 << 20
_PIECES = 64
_AHEAD = 3
"""Runs on their way: so many MiB are held, and the frames they are parts of."""


class _Run(NamedTuple):
    """Pieces that follow each other in a file."""

    part: PartFile
    fd: int
    offset: int
    pieces: list[Data]


class WriteBehind:
    """Takes pieces, and writes them soon. Before a descriptor is used for anything else, or closed: `settle`."""

    def __init__(self) -> None:
        self._pool = OrderedPool[_Run, tuple[PartFile, OSError | None]](_write, 1, _AHEAD, "write")
        self._run: _Run | None = None
        self._end = self._size = 0
        self._queued: Counter[PartFile] = Counter()
        self._failed: dict[PartFile, OSError] = {}

    def add(self, part: PartFile, fd: int, offset: int, data: Data) -> None:
        """Write `data`, which must stay as it is, at `offset`. An `OSError` is of an earlier piece of this file."""
        self._raise(part)
        run = self._run
        if run is None or run.part is not part or offset != self._end:
            self._send()
            run = self._run = _Run(part, fd, offset, [])
            self._end, self._size = offset, 0
        run.pieces.append(data)
        self._end += len(data)
        self._size += len(data)
        if self._size >= _RUN or len(run.pieces) == _PIECES:
            self._send()

    def settle(self, part: PartFile) -> None:
        """All of this file has been written; raises the first `OSError`, once."""
        if self._run is not None and self._run.part is part:  # a little one: quicker than to ask somebody
            run, self._run = self._run, None
            self._note(*_write(run))
        while self._queued[part]:
            self._take()
        del self._queued[part]
        self._raise(part)

    def settle_all(self) -> None:
        """Everything that was taken has been written, or has failed, which `add` and `settle` say."""
        self._send()
        while not self._pool.is_idle():
            self._take()

    def close(self) -> None:
        """Leave out what has not begun, and wait for what has."""
        self._run = None
        self._pool.close()

    def _send(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            self._queued[run.part] += 1
            for part, error in self._pool.submit(run):
                self._written(part, error)

    def _take(self) -> None:
        self._written(*self._pool.take())

    def _written(self, part: PartFile, error: OSError | None) -> None:
        self._queued[part] -= 1
        self._note(part, error)

    def _note(self, part: PartFile, error: OSError | None) -> None:
        if error is not None:
            self._failed.setdefault(part, error)

    def _raise(self, part: PartFile) -> None:
        if (error := self._failed.pop(part, None)) is not None:
            raise error


def _write(run: _Run) -> tuple[PartFile, OSError | None]:
    try:
        _write_run(run)
    except OSError as e:
        return run.part, e
    return run.part, None


def _write_run(run: _Run) -> None:
    written = os.pwritev(run.fd, run.pieces, run.offset)
    offset = run.offset
    for piece in run.pieces:  # rare that something is left: a quota about to be reached
        if written < len(piece):
            write_fully_at(run.fd, memoryview(piece)[max(written, 0) :], offset + max(written, 0))
        written -= len(piece)
        offset += len(piece)
