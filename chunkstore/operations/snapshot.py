"""Make a snapshot of some paths.

    walk (sorted, streaming) -> merge with the last manifest -> read, cut, hash, decide -> frames -> packs -> index -> record

One thread runs the chain; the chunk writer's pools compress, encrypt and store. gpg is not used, no process is started.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from chunkstore.errors import Fenced, SourceError
from chunkstore.operations.snapshot_run import Run, SnapshotOptions, SnapshotResult
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
    """Store `paths` as one snapshot; it exists when this returns.

    Raises `SourceError` when none of the paths is there, `Interrupted` when `around.stop` asked for it, and what the
    storage raises. In every case earlier snapshots are whole, and what was stored is used again by the next run.
    """
    roots = normalise_roots(paths, cwd)
    missing = [root for root in roots if not os.path.lexists(root)]
    if len(missing) == len(roots):
        raise SourceError(f"nothing to snapshot: {', '.join(map(display_path, missing))} does not exist")
    for attempt in range(_ATTEMPTS):
        with contextlib.closing(open_local_index(around.places, repository.key.repository_id)) as index:
            try:
                return Run(repository, index, roots, options, around, progress).run()
            except Fenced:  # a prune took this run for dead: again, under a new id; what is stored is found again
                if attempt == _ATTEMPTS - 1:
                    raise
    raise AssertionError
