"""Make the index anew from the packs: each carries a table of what is in it, which the index key opens.

The new generation stands above everything that is there, as that of a prune which deletes nothing would; so readers and
writers go over to it by themselves, and the next prune tidies up. Nothing is deleted but what claims a number that no
generation can have. Run it while no prune is running.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chunkstore.errors import Damaged, ObjectMissing, PruneRefused, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.index import Generation
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import TRAILER_SIZE, PackInfo, read_pack, read_table, table_place
from chunkstore.format.records import stored_time
from chunkstore.format.runs import Plan, PlanDone, encode_plan, encode_plan_done
from chunkstore.ids import PackId
from chunkstore.operations.pack_listing import ListedPack, PackListing
from chunkstore.operations.prune.generation import drop_impossible, newest_number, read_generation
from chunkstore.parallel import ordered_map
from chunkstore.progress import Progress
from chunkstore.repository.generations import SegmentWriter, publish, read_packs
from chunkstore.repository.local_index import open_local_index
from chunkstore.repository.repository import Repository, Surroundings, numbers


@dataclass(slots=True)
class Rebuilt:
    """A new index. `unreadable`: packs whose table can not be read; what is in them is in no index."""

    generation: int
    packs: int = 0
    chunks: int = 0
    unreadable: list[str] = field(default_factory=list)


def repair_index(repository: Repository, around: Surroundings, progress: Progress, *, whole: bool = False) -> Rebuilt:
    """Read the table of every pack and publish a generation with all of them. `whole`: compare each pack with its name too."""
    cache = around.places.cache_directory(repository.key.repository_id)
    with tempfile.TemporaryDirectory(prefix="repair-", dir=cache) as scratch:
        return _Rebuilding(repository, around, progress, Path(scratch), whole).run()


class _Rebuilding:
    def __init__(
        self, repository: Repository, around: Surroundings, progress: Progress, scratch: Path, whole: bool
    ) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._around = around
        self._progress = progress
        self._scratch = scratch
        self._whole = whole

    def run(self) -> Rebuilt:
        number = self._number()
        done = Rebuilt(number)
        # Runs are listed before packs: a run that comes later names packs of its own, which are there, and is not absorbed.
        runs = [info.name for info in self._storage.list(names.RUNS)]
        writer = SegmentWriter(self._repository, self._around.random_bytes)
        with PackListing(self._storage, self._scratch, self._progress) as listed:
            self._progress.total(listed.count, listed.size if self._whole else 0)
            recovered, known = set[PackId](), self._named(runs)
            for info in self._tables(listed, done):
                writer.add(info)
                if info.pack_id not in known:
                    recovered.add(info.pack_id)
                done.packs += 1
                done.chunks += sum(len(frame.ids) for frame in info.frames)
            writer.flush()
            dropped = self._gone(known, listed)
        absorbed = frozenset(runs) | self._absorbed()
        digests = tuple(sorted(writer.digests))
        generation = Generation(number, digests, absorbed, dropped, recovered=frozenset(recovered))
        if not publish(self._repository, generation, self._around.random_bytes):
            raise PruneRefused(
                "a prune has made a new index meanwhile. Look with `chunkstore check` whether it is whole now"
            )
        self._put_done(number)
        return done

    # -- which number

    def _number(self) -> int:
        """That of an open plan, which then condemns nothing; else the next one, under a plan that is empty.

        Where an older copy of the repository was brought back, it comes after what this machine has seen of the newer one,
        or else nothing could be read here again.
        """
        drop_impossible(self._repository, self._progress)
        plans = max(numbers(self._storage, names.PLANS), default=0)
        highest = max(plans, newest_number(self._repository), self._seen())
        listed = {info.name for info in self._storage.list(names.PLANS)}
        is_open = plans == highest and highest and names.plan_done(plans) not in listed
        if is_open and newest_number(self._repository) < highest:
            return highest
        if is_open:
            self._put_done(highest)
        number = highest + 1
        none: frozenset[PackId] = frozenset()
        plan = Plan(number, stored_time(self._around.clock()), none, none, none, newest_number(self._repository))
        name = names.plan(number)
        if not self._repository.create(ObjectKind.PLAN, name, encode_plan(plan), self._around.random_bytes):
            raise PruneRefused("another prune has just begun. Try again when it is done")
        return number

    def _seen(self) -> int:
        """The highest generation this machine knows of."""
        places, repository_id = self._around.places, self._repository.key.repository_id
        with contextlib.closing(open_local_index(places, repository_id)) as index:
            return max(self._repository.state.generation, index.generation)

    def _put_done(self, number: int) -> None:
        body = encode_plan_done(PlanDone(number, stored_time(self._around.clock())))
        name = names.plan_done(number)
        self._repository.create(ObjectKind.PLAN_DONE, name, body, self._around.random_bytes)

    # -- what is in it

    def _tables(self, listed: PackListing, done: Rebuilt) -> Iterator[PackInfo]:
        workers = self._around.workers
        for pack, found in ordered_map(self._read, listed, workers, 2 * workers, "tables"):
            self._progress.advance(1, pack.size if self._whole else 0)
            if isinstance(found, Damaged):
                self._progress.warn(f"left out: {found}")
                done.unreadable.append(names.pack(pack.pack_id))
            elif found is not None:
                yield found

    def _read(self, pack: ListedPack) -> tuple[ListedPack, PackInfo | Damaged | None]:
        name, key = names.pack(pack.pack_id), self._repository.key
        try:
            if self._whole:
                return pack, read_pack(self._storage.get(name), pack.pack_id, name, key)
            trailer = self._storage.get(name, max(pack.size - TRAILER_SIZE, 0), TRAILER_SIZE)
            offset, length = table_place(trailer, pack.size, name)
            return pack, read_table(self._storage.get(name, offset, length), pack.pack_id, pack.size, name, key)
        except ObjectMissing:
            return pack, None  # deleted since it was listed
        except UnsupportedFormat as e:
            return pack, Damaged(str(e), name)
        except Damaged as e:
            return pack, e

    def _absorbed(self) -> frozenset[str]:
        """What the readable generations had absorbed and is still there."""
        found: set[str] = set()
        for number in numbers(self._storage, names.GENERATIONS):
            with contextlib.suppress(Damaged, UnsupportedFormat, ObjectMissing):
                found |= read_generation(self._repository, number).absorbed
        return frozenset(found)

    def _named(self, runs: list[str]) -> set[PackId]:
        """Packs that readable run indexes name."""
        named: set[PackId] = set()
        for name in runs:
            with contextlib.suppress(Damaged, UnsupportedFormat, ObjectMissing):
                named.update(info.pack_id for info in read_packs(self._repository, name))
        return named

    def _gone(self, known: set[PackId], listed: PackListing) -> frozenset[PackId]:
        """Packs that were dropped, or that index objects name and the storage has not: places in them never count again."""
        named = set(known)
        for number in numbers(self._storage, names.GENERATIONS):
            with contextlib.suppress(Damaged, UnsupportedFormat, ObjectMissing):
                named |= read_generation(self._repository, number).dropped
        return frozenset(named.difference(pack.pack_id for pack in listed if pack.pack_id in named))
