"""`[SNAPSHOT...]` and the options that choose, for commands that are about all snapshots unless something else is said."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.snapshot_choice import SnapshotFilter, all_that_fit, pick


def chooser(which: Sequence[str], selection: SnapshotFilter) -> Callable[[Collection[Snapshot]], Sequence[Snapshot]]:
    """What picks the snapshots that are meant, each once: those that are named, those that fit, or all."""

    def choose(among: Collection[Snapshot]) -> Sequence[Snapshot]:
        if not which:
            return all_that_fit(among, selection) if selection else [*among]
        found = [pick(among, name, selection) for name in which]
        return list({each.record.id: each for each in found}.values())

    return choose
