"""Make a snapshot of some paths.

    walk (sorted, streaming) -> merge with the last manifest -> read, cut, hash, decide -> frames -> packs -> index -> record

One thread runs the chain; the chunk writer's pools compress, encrypt and store. gpg is not used, no process is started.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from chunkstore.errors import Fenced, IndexDamaged, SourceError
from chunkstore.operations.snapshot_run import Run
from chunkstore.operations.snapshot_values import SnapshotOptions, SnapshotResult
from chunkstore.progress import Progress
from chunkstore.repository.local_index import open_local_index
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.tree.display import display_path
from chunkstore.tree.walk import normalise_roots

__all__ = ["SnapshotOptions", "SnapshotResult", "snapshot"]

_ATTEMPTS = 5


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
    roots = normalise_roots(paths, cwd)
    given = sorted({each for path in paths for each in normalise_roots([path], cwd)})
    missing = [path for path in given if not os.path.lexists(path)]
    if len(missing) == len(given):
        raise SourceError(f"nothing to snapshot: {', '.join(map(display_path, missing))} does not exist")
    below_others = [path for path in missing if path not in roots]  # the walk misses the roots itself
    for attempt in range(_ATTEMPTS):
        with contextlib.closing(open_local_index(around.places, repository.key.repository_id)) as index:
            try:
                return Run(repository, index, roots, options, around, progress, missing=below_others).run()
            except (Fenced, IndexDamaged):
                # A prune took this run for dead, or its local index had to go: again, under a new id. What is stored
                # is found again.
                if attempt == _ATTEMPTS - 1:
                    raise
    raise AssertionError
