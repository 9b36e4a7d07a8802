"""Make a snapshot of some paths.

    walk (sorted, streaming) -> merge with the last manifest -> read, cut, hash, decide -> frames -> packs -> index -> record

One thread runs the chain; the chunk writer's pools compress, encrypt and store. gpg is not used, no process is started.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from chunkstore.errors import Fenced, IndexDamaged, SourceError
from chunkstore.operations.snapshot.run import Run
from chunkstore.operations.snapshot.values import SnapshotOptions, SnapshotResult
from chunkstore.progress import Progress
from chunkstore.repository.local_index import open_local_index
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.tree.display import display_path
from chunkstore.tree.roots import normalise, normalise_roots

__all__ = ["SnapshotOptions", "SnapshotResult", "snapshot"]

_ATTEMPTS = 5
_NAMED = 5
"""So many paths are named in one message."""


def snapshot(
    repository: Repository,
    paths: Sequence[bytes],
    cwd: bytes,
    options: SnapshotOptions,
    around: Surroundings,
    progress: Progress,
) -> SnapshotResult:
    """Store `paths` as one snapshot; it exists when this returns. Each of them that is not there is an error of it.

    Raises `SourceError` when none of the paths is there, `Interrupted` when `around.stop` asked for it, and what the
    storage raises. In every case earlier snapshots are whole, and what was stored is used again by the next run.
    """
    roots, missing = source_of(paths, cwd)
    for attempt in range(_ATTEMPTS):
        with contextlib.closing(open_local_index(around.places, repository.key.repository_id)) as index:
            try:
                return Run(repository, index, roots, options, around, progress, missing=missing).run()
            except (Fenced, IndexDamaged):
                # A prune took this run for dead, or its local index had to go: again, under a new id. What is stored
                # is found again.
                if attempt == _ATTEMPTS - 1:
                    raise
    raise AssertionError


def source_of(paths: Sequence[bytes], cwd: bytes) -> tuple[list[bytes], list[bytes]]:
    """The roots to walk, and those of the paths below one of them that are not there.

    That a root is not there the walk finds itself. Raises `SourceError` when none of the paths is there.
    """
    given = sorted({normalise(path, cwd) for path in paths})
    missing = [path for path in given if not os.path.lexists(path)]
    if not given:
        raise SourceError("nothing to snapshot")
    if len(missing) == len(given):
        some = ", ".join(map(display_path, missing[:_NAMED])) + (" ..." if len(missing) > _NAMED else "")
        raise SourceError(f"nothing to snapshot: {some} does not exist")
    roots = normalise_roots(given, cwd)
    return roots, sorted(set(missing).difference(roots))
