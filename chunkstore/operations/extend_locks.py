"""Extending the locks of what snapshots use, so that nobody deletes it before a time that is always ahead.

    records -> index -> reference trees -> packs in use --.
    config, keys, recipients, records, amendments, index --+-> locked until the end of a day

Safe beside writers and prunes: what a prune moved meanwhile is looked for again, and locked where it is then. What no
chosen snapshot uses gets no longer lock, and can go when the one it has ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from chunkstore.errors import Interrupted, InvalidArgument, ObjectMissing
from chunkstore.format import names
from chunkstore.operations.catalog import Snapshot, listed_amendments, snapshots
from chunkstore.operations.live import LiveChunks
from chunkstore.operations.pack_listing import PackListing
from chunkstore.operations.usage import measure
from chunkstore.parallel import ordered_map
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_scan import IndexScan
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex, open_local_index
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.storage import ObjectInfo, extend_retention, locked_until, may_lock
from chunkstore.storage.protocol import connections

Choose = Callable[[Collection[Snapshot]], Sequence[Snapshot]]
"""From all snapshots to those whose locks are to be extended."""
DAY_S = 24 * 3600
_ROUNDS = 5
_INDEX = "index/"
_ALWAYS = (names.CONFIG, names.RECIPIENTS, names.KEYS)
"""What is needed whatever is used."""
_NAMED = 20
"""So many problems are told, the others counted."""
_SHOWN = 3


class Outcome(Enum):
    """What became of the lock of an object."""

    EXTENDED = "extended"
    ENOUGH = "enough"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Extended:
    """What was done, or with `dry_run` would be. `until`: seconds since 1970. Numbers of objects, and bytes.

    `enough`: were locked for as long already. `gone`: a prune took them away meanwhile, and nothing names them any more.
    With `problems` something that is needed is not locked, or it could not be told what is needed.
    """

    until: int
    snapshots: int
    extended: int
    extended_bytes: int
    enough: int
    enough_bytes: int
    gone: int
    problems: tuple[str, ...]


def end_of_day(time_ns: int, days: int) -> int:
    """Seconds since 1970: the end, in UTC, of the day that is so many days later.

    Whoever does it twice on one day finds that the locks are long enough.
    """
    later = time_ns // 10**9 + days * DAY_S
    return -(-later // DAY_S) * DAY_S


def extend_locks(
    repository: Repository, choose: Choose, days: int, dry_run: bool, around: Surroundings, progress: Progress
) -> Extended:
    """Lock all that the chosen snapshots use, at least for so many days from now.

    Raises `InvalidArgument` where the storage has no locks, what `choose` raises, and `Interrupted`.
    """
    if not may_lock(repository.storage):
        raise InvalidArgument(
            f"{repository.storage.location} has no locks: they need S3 and a bucket that was made with object lock"
        )
    unreadable: list[str] = []
    chosen = choose([*snapshots(repository, progress, around.workers, unreadable)])
    with contextlib.closing(open_local_index(around.places, repository.key.repository_id)) as index:
        until = end_of_day(around.clock(), days)
        run = _Run(repository, index, around, progress, until, dry_run)
        run.problems += [f"{name}: the record can not be read" for name in unreadable]
        run.lock_small(chosen)
        run.lock_packs(chosen)
        return run.result(len(chosen))


class _Run:
    """Counts what becomes of the locks."""

    def __init__(
        self,
        repository: Repository,
        index: LocalIndex,
        around: Surroundings,
        progress: Progress,
        until: int,
        dry_run: bool,
    ) -> None:
        self.problems: list[str] = []
        self._repository = repository
        self._storage = repository.storage
        self._index = index
        self._around = around
        self._progress = progress
        self._until = until
        self._dry_run = dry_run
        self._counts = dict.fromkeys(Outcome, 0)
        self._bytes = dict.fromkeys(Outcome, 0)
        self._locked = bytearray()
        self._index_objects: set[str] = set()

    def result(self, chosen: int) -> Extended:
        more = len(self.problems) - _NAMED
        return Extended(
            until=self._until,
            snapshots=chosen,
            extended=self._counts[Outcome.EXTENDED],
            extended_bytes=self._bytes[Outcome.EXTENDED],
            enough=self._counts[Outcome.ENOUGH],
            enough_bytes=self._bytes[Outcome.ENOUGH],
            gone=self._counts[Outcome.GONE],
            problems=(*self.problems[:_NAMED], *([f"and {more:,} more like these"] if more > 0 else [])),
        )

    # -- small objects

    def lock_small(self, chosen: Sequence[Snapshot]) -> None:
        """What is always needed, then records and amendments: who has forgotten one meanwhile meant it."""
        for prefix in _ALWAYS:
            self.problems += [f"{info.name}: is gone" for info in self._lock(self._storage.list(prefix))]
        wanted = {names.snapshot(each.record.id): each.record.id for each in chosen}
        self._lock(info for info in self._storage.list(names.SNAPSHOTS) if info.name in wanted)
        ids = frozenset(wanted.values())
        said = listed_amendments(self._repository, self._progress, self._around.workers)
        self._lock(info for info, amendment in said if amendment.snapshot in ids)

    # -- packs and the index

    def lock_packs(self, chosen: Sequence[Snapshot]) -> None:
        """The packs in use and the index, and again for what a prune moved meanwhile."""
        sync_index(self._repository, self._index, self._progress)
        directory = self._around.places.cache_directory(self._repository.key.repository_id)
        reader = ChunkReader(self._repository, self._index, LedgerKeys(self._repository.key), self._progress)
        with LiveChunks(reader, directory) as live:
            live.mark(each.record for each in chosen)
            self.problems += map(str, live.damaged.values())
            for _ in range(_ROUNDS):
                before, wrong = self._round(live, directory)
                certain = sync_index(self._repository, self._index, self._progress)
                if self._state() == before:
                    break
            else:
                wrong = ["the index changes faster than packs can be locked: run it again when no prune is under way"]
        if not certain:
            wrong.append("the newest generation of the index can not be read")
        self.problems += wrong

    def _state(self) -> tuple[int, int]:
        """Changes whenever the index does not name something any more; what it names besides does no harm."""
        return self._index.generation, self._index.losses

    def _round(self, live: LiveChunks, directory: Path) -> tuple[tuple[int, int], list[str]]:
        """Lock what is in use as the index has it now: (its state, what is wrong if it still is in that state)."""
        self._index.hold_still()
        scan, state, wrong = IndexScan(self._index), self._state(), list[str]()
        with PackListing(self._storage, directory, self._progress) as listing:
            there, _ = listing.compared(scan)
            usage = measure(live.ids, scan, there, directory)
            self._locked.extend(bytes(max(len(there) - len(self._locked), 0)))
            gone = self._lock(self._in_use(listing, scan, usage.pack_used, wrong))
        gone += self._lock_index(wrong)
        if usage.missing_count:
            named = ", ".join(each.hex()[:16] for each in usage.missing[:_SHOWN])
            wrong.append(f"chunks that snapshots need and that are nowhere: {usage.missing_count:,} ({named})")
        return state, wrong + [f"{info.name}: is gone, and the index needs it" for info in gone]

    def _in_use(
        self, listing: PackListing, scan: IndexScan, used: Sequence[int], wrong: list[str]
    ) -> Iterator[ObjectInfo]:
        """The packs that have to be locked and are not yet."""
        for pack, row in listing.matched(scan):
            if row is None or not used[row.no] or self._locked[row.no]:
                continue
            name = names.pack(pack.pack_id)
            if pack.size != row.size:
                wrong.append(f"{name}: has {pack.size:,} bytes instead of {row.size:,}; it is not locked")
                continue
            self._locked[row.no] = 1
            yield ObjectInfo(name, pack.size)

    def _lock_index(self, wrong: list[str]) -> list[ObjectInfo]:
        """The generation, what it names, and the runs beside it, none of it twice; those that are gone."""
        number = self._index.generation
        wanted = self._index.sources() | ({names.generation(number)} if number else set())
        found = {info.name: info for info in self._storage.list(_INDEX) if info.name in wanted}
        wrong += [f"{name}: is missing" for name in sorted(wanted - found.keys())]
        fresh = sorted(found.keys() - self._index_objects)
        self._index_objects.update(fresh)
        return self._lock(found[name] for name in fresh)

    # -- one object

    def _lock(self, objects: Iterable[ObjectInfo]) -> list[ObjectInfo]:
        """Extend the locks of these, several at once; those that are gone."""
        gone = []
        workers = connections(self._storage)
        for info, outcome in ordered_map(self._extended, objects, workers, 2 * workers, "locks"):
            if self._around.stop():
                raise Interrupted("interrupted; the locks that were extended stay so")
            self._counts[outcome] += 1
            self._bytes[outcome] += info.size
            self._progress.advance(1, info.size)
            if outcome == Outcome.GONE:
                gone.append(info)
        return gone

    def _extended(self, info: ObjectInfo) -> tuple[ObjectInfo, Outcome]:
        """Runs in a worker."""
        try:
            if self._dry_run:
                until = locked_until(self._storage, info.name)
                changed = until is None or until < self._until
            else:
                changed = extend_retention(self._storage, info.name, self._until)
        except ObjectMissing:
            return info, Outcome.GONE
        return info, Outcome.EXTENDED if changed else Outcome.ENOUGH
