"""A repository in numbers: what is in it, what each snapshot or group alone needs, what a prune could free.

    records -> index -> reference trees, with who needs what -> packs, as listed -> frames in use -> amounts

Needs no private key, deletes nothing, waits for nobody. What a prune takes away meanwhile leads to another look.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from chunkstore.format import names
from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.catalog import Snapshot, snapshots
from chunkstore.operations.pack_listing import PackListing
from chunkstore.operations.snapshot_groups import Group, grouped
from chunkstore.operations.statistics import Statistics
from chunkstore.operations.stats.amounts import Amounts, count_amounts
from chunkstore.operations.stats.chunks import OwnedChunks
from chunkstore.operations.stats.objects import StoredPacks, other_objects
from chunkstore.operations.stats.owners import Owners
from chunkstore.operations.stats.values import GroupShare, SnapshotShare, Stats
from chunkstore.operations.usage import Usage, measure
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_scan import IndexScan
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex, open_local_index
from chunkstore.repository.repository import Repository, Surroundings

Choose = Callable[[Collection[Snapshot]], Sequence[Snapshot]]
"""From all snapshots to those that are asked about, each once."""
_LOOKS = 3
_SHOWN = 20
"""So many things that can not be read are named, the others counted."""
_NAMED = 3


def stats(
    repository: Repository, choose: Choose, group_by: Collection[str], around: Surroundings, progress: Progress
) -> Stats:
    """Count everything. The totals are those of the repository, groups and shares those of the chosen snapshots.

    What is damaged or missing is told in `problems`. Raises what `choose` raises.
    """
    directory = around.places.cache_directory(repository.key.repository_id)
    with contextlib.closing(open_local_index(around.places, repository.key.repository_id)) as index:
        for left in range(_LOOKS - 1, -1, -1):
            look = _Look(repository, index, directory, progress)
            found = look.count(choose, group_by, around.workers)
            if found.complete or not left or look.is_still_so():
                return found
    raise AssertionError


class _Look:
    """One attempt."""

    def __init__(self, repository: Repository, index: LocalIndex, directory: Path, progress: Progress) -> None:
        self._repository = repository
        self._index = index
        self._directory = directory
        self._progress = progress
        self._problems: list[str] = []
        self._found: list[Snapshot] = []
        self._losses = 0

    def count(self, choose: Choose, group_by: Collection[str], workers: int) -> Stats:
        """Everything, as far as it can be read."""
        unreadable: list[str] = []
        self._found = [*snapshots(self._repository, self._progress, workers, unreadable)]
        self._problems += _some([f"{name}: the record can not be read" for name in unreadable])
        groups = grouped(choose(self._found), group_by)
        if not sync_index(self._repository, self._index, self._progress):
            self._problems.append("the newest generation of the index can not be read")
        owners = Owners([len(group.snapshots) for group in groups])
        reader = ChunkReader(self._repository, self._index, LedgerKeys(self._repository.key), self._progress)
        with OwnedChunks(reader, self._directory, owners) as needed:
            needed.mark(self._numbered(groups, owners))
            self._problems += _some([str(each) for each in needed.damaged.values()])
            packs, usage = self._packs(needed)
            by_owner, by_plane = count_amounts(needed.ids, len(owners), self._index, usage, packs.tree)
        return self._stats(groups, owners, by_owner, by_plane, usage, packs)

    def _numbered(self, groups: Sequence[Group], owners: Owners) -> Iterator[tuple[int, SnapshotRecord]]:
        """Every record with its number: those of the groups in their order, all others as others."""
        chosen = [each.record for group in groups for each in group.snapshots]
        yield from enumerate(chosen)
        known = {record.id for record in chosen}
        yield from ((owners.shared, each.record) for each in self._found if each.record.id not in known)

    def _packs(self, needed: OwnedChunks) -> tuple[StoredPacks, Usage]:
        self._index.hold_still()
        self._losses = self._index.losses
        scan = IndexScan(self._index)
        with PackListing(self._repository.storage, self._directory, self._progress) as listing:
            packs = StoredPacks(listing, scan)
        usage = measure(needed.ids, scan, packs.there, self._directory)
        if usage.missing_count:
            named = ", ".join(each.hex()[:16] for each in usage.missing[:_NAMED])
            self._problems.append(f"chunks that snapshots need and that are nowhere: {usage.missing_count:,} ({named})")
        self._problems += _some(packs.wrong)
        return packs, usage

    def is_still_so(self) -> bool:
        """Whether records and index are those that were looked at: then it is not a prune that took things away."""
        listed = {info.name for info in self._repository.storage.list(names.SNAPSHOTS)}
        sync_index(self._repository, self._index, self._progress)
        here = {names.snapshot(each.record.id) for each in self._found}
        return here <= listed and self._index.losses == self._losses

    def _stats(
        self,
        groups: Sequence[Group],
        owners: Owners,
        by_owner: Amounts,
        by_plane: Amounts,
        usage: Usage,
        packs: StoredPacks,
    ) -> Stats:
        found = self._found
        counted = [Statistics.from_record(each.record.statistics) for each in found]
        of_groups, of_snapshots = _shares(groups, owners, by_owner)
        selected = sum((each.unique for each in of_groups), by_owner[owners.selected])
        return Stats(
            snapshots=len(found),
            partial=sum(each.record.partial for each in found),
            hosts=len({each.record.host for each in found}),
            files=sum(each.files for each in counted),
            size=sum(each.bytes for each in counted),
            content=by_plane[0],
            trees=by_plane[1],
            copies=usage.copies,
            copies_raw=usage.copies_raw,
            packs=packs.bytes_of(usage, by_plane[0].stored + by_plane[1].stored),
            objects=(*packs.objects(), *other_objects(self._repository.storage)),
            groups=of_groups,
            shares=of_snapshots,
            selected=None if len(of_snapshots) == len(found) else selected,
            problems=tuple(self._problems),
        )


def _shares(
    groups: Sequence[Group], owners: Owners, by_owner: Amounts
) -> tuple[tuple[GroupShare, ...], tuple[SnapshotShare, ...]]:
    numbers = iter(range(owners.snapshots))
    of_groups, of_snapshots = [], []
    for at, group in enumerate(groups):
        shares = [SnapshotShare(each, by_owner[number]) for each, number in zip(group.snapshots, numbers, strict=False)]
        of_snapshots += shares
        of_groups.append(GroupShare(group, sum((each.unique for each in shares), by_owner[owners.group(at)])))
    return tuple(of_groups), tuple(of_snapshots)


def _some(problems: Sequence[str]) -> list[str]:
    more = len(problems) - _SHOWN
    return [*problems[:_SHOWN], *([f"and {more:,} more like these"] if more > 0 else [])]
