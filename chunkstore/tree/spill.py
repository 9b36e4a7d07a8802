"""Names that wait in a temporary file, for directories too large to hold in memory."""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from types import TracebackType

_BLOCK = 16 * 1024
"""Bytes read at once from each run: a directory of 100 million names is merged from 1,000 runs in 16 MiB."""


class Runs:
    """Runs of names, one after the other in an unnamed temporary file in the directory `scratch`.

    A name holds no NUL, as no file name does. An `OSError` of the temporary file is raised as it is.
    """

    def __init__(self, scratch: str | None) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch, buffering=0)  # noqa: SIM115 (closed in close)
        self._ends = [0]

    def add(self, names: Sequence[bytes]) -> None:
        """Append one run; an empty one leaves no trace."""
        if not names:
            return
        data = memoryview(b"\0".join(names) + b"\0")
        self._ends.append(self._ends[-1] + len(data))
        while data:
            data = data[self._file.write(data) :]

    def in_order(self) -> Iterator[bytes]:
        """All names, in the order they were added."""
        return chain.from_iterable(self._each())

    def merged(self) -> Iterator[bytes]:
        """All names in ascending order, each once, provided that every run is sorted."""
        last = None
        for name in heapq.merge(*self._each()):
            if name != last:
                yield name
            last = name

    def _each(self) -> Iterator[Iterator[bytes]]:
        return map(self._run, self._ends, self._ends[1:])

    def _run(self, start: int, end: int) -> Iterator[bytes]:
        rest = b""
        while start < end:
            block = os.pread(self._file.fileno(), min(_BLOCK, end - start), start)
            if not block:
                raise OSError("a temporary file was cut short")
            start += len(block)
            *names, rest = (rest + block).split(b"\0")
            yield from names

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Runs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Queue:
    """Names that leave in the order they came; beyond `limit` of them they wait in a temporary file."""

    __slots__ = ("_leaving", "_limit", "_names", "_runs", "_scratch")

    def __init__(self, limit: int, scratch: str | None) -> None:
        self._names: list[bytes] = []
        self._leaving: Iterator[bytes] | None = None
        self._runs: Runs | None = None
        self._limit = limit
        self._scratch = scratch

    def extend(self, names: list[bytes]) -> None:
        """Append `names`; not any more once the first name has left."""
        self._names += names
        if len(self._names) > self._limit:
            self._runs = self._runs or Runs(self._scratch)
            self._runs.add(self._names)
            self._names = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._leaving is None:
            self._leaving = chain(self._runs.in_order(), self._names) if self._runs else iter(self._names)
        return next(self._leaving)

    def close(self) -> None:
        if self._runs:
            self._runs.close()
