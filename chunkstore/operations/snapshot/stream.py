"""Make a snapshot of what comes out of a stream: standard input, or what another program writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Protocol

from chunkstore.errors import Fenced, SourceError
from chunkstore.format.entries import DIRECTORY, FILE, Entry, components
from chunkstore.operations.snapshot.run import Run
from chunkstore.operations.snapshot.source_entries import SourceEntries
from chunkstore.operations.snapshot.values import SnapshotOptions, SnapshotResult
from chunkstore.progress import Progress
from chunkstore.repository.local_index import open_local_index
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.tree.roots import normalise_roots
from chunkstore.tree.special_reading import wait_readable


class Stream(Protocol):
    """Where the content comes from."""

    def fileno(self) -> int:
        """What can be waited for, so that a run that waits can be ended."""
        ...

    def readinto(self, view: memoryview) -> int:
        """The next bytes; 0 at the end."""
        ...

    def end(self) -> None:
        """All was read, nothing is committed yet; raises `SourceError` when it must not be."""
        ...


def snapshot_stream(
    repository: Repository,
    name: bytes,
    stream: Stream,
    options: SnapshotOptions,
    around: Surroundings,
    progress: Progress,
) -> SnapshotResult:
    """Store all that `stream` gives as the one file `/name` of a new snapshot.

    Raises `SourceError` where the stream says that its content must not be kept, or when it would have to be read a
    second time because a prune took this run for dead; else as `snapshot` does.
    """
    path = normalise_roots([name], b"/")[0]
    source = _StreamSource(path, stream, around)
    with contextlib.closing(open_local_index(around.places, repository.key.repository_id)) as index:
        try:
            return Run(repository, index, [path], options, around, progress, source=source).run()
        except Fenced as e:
            raise SourceError(
                "a prune took this run for dead, and what it read can not be read again: run it once more; "
                "what was stored so far will be used"
            ) from e


class _StreamSource:
    def __init__(self, path: bytes, stream: Stream, around: Surroundings) -> None:
        self._path = path
        self._stream = stream
        self._around = around

    def feed(self, entries: SourceEntries, check: Callable[[], None]) -> None:
        """The file, for its owner alone, and the directories above it."""

        def readinto(view: memoryview) -> int:
            wait_readable(self._stream.fileno(), check)
            return self._stream.readinto(view)

        *directories, name = components(self._path)
        parent, above = b"/", b""
        entries.add_above(b"/", self._directory(b""))
        for directory in directories:
            entries.add_above(parent, self._directory(directory))
            above += b"/" + directory
            parent = above
        now = self._around.clock()
        entries.add_stream(
            parent, Entry(name, FILE, 0o600, os.geteuid(), os.getegid(), now, now, 0, 0, 0, None), readinto
        )
        self._stream.end()

    def _directory(self, name: bytes) -> Entry:
        return Entry(name, DIRECTORY, 0o755, os.geteuid(), os.getegid(), 0, 0, 0, 0, 0, {"ancestor": True})
