"""The prune protocol of the design, written down as plainly as it goes, and with the mistakes that it warns of.

It is no pruner for anybody's repository. It shows that the exploration in `tests.exploring` finds what a mistake loses, and
what the exploration finds here it has to find in the real one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.format import pack as packs
from chunkstore.format.index import (
    Generation,
    IndexSegment,
    decode_generation,
    decode_run_index,
    decode_segment,
    encode_generation,
    encode_segment,
    segment_digest,
)
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import Frame, PackInfo
from chunkstore.format.records import Tombstone, encode_tombstone
from chunkstore.format.runs import Plan, PlanDone, decode_plan, encode_plan, encode_plan_done
from chunkstore.ids import ChunkId, PackId, SnapshotId
from chunkstore.operations.catalog import records
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.repository import Repository, numbers
from tests.engine import Client, pack_id_of, referenced


@dataclass(frozen=True)
class Mistakes:
    """What this pruner leaves out or does in the wrong order."""

    no_fencing: bool = False
    orphans_not_condemned: bool = False
    index_before_snapshots: bool = False
    """Lists the index, then the snapshots."""
    no_second_look: bool = False
    """Deletes what the plan names, without listing again."""
    by_own_listing: bool = False
    """Who loses the generation deletes what it would have dropped itself."""
    orphans_not_dropped: bool = False
    """The generation does not name packs that were dropped while in no index."""
    deletes_before_generation: bool = False
    fences_before_plan: bool = False
    new_plan_beside_open_one: bool = False


def plain_prune(client: Client, mistakes: Mistakes = Mistakes()) -> str:
    """Make one plan, or resume the open one, and carry it out; says what became of it."""
    return _Prune(client, mistakes).run()


@dataclass(frozen=True)
class _View:
    """What one look gave: packs of the index, live chunks, run objects, the newest generation."""

    index: dict[PackId, PackInfo]
    live: frozenset[ChunkId]
    runs: frozenset[str]
    newest: Generation


def _ids(info: PackInfo) -> set[ChunkId]:
    return {chunk_id for frame in info.frames for chunk_id in frame.ids}


class _Prune:
    def __init__(self, client: Client, mistakes: Mistakes) -> None:
        self._client = client
        self._repository: Repository = client.open("prune")
        self._storage = client.storage
        self._random = client.random_bytes
        self._mistakes = mistakes

    def run(self) -> str:
        number, is_open = self._number()
        if self._mistakes.fences_before_plan:
            self._fence()
        if not is_open and not self._plan(number):
            return "lost the plan"
        if not (self._mistakes.no_fencing or self._mistakes.fences_before_plan):
            self._fence()
        drop = self._generation(number)
        if drop is None:
            return "a newer generation is there"
        for pack_id in sorted(drop):
            self._storage.delete(names.pack(pack_id))
        done = encode_plan_done(PlanDone(number, 2))
        self._repository.create(ObjectKind.PLAN_DONE, names.plan_done(number), done, self._random)
        return f"plan {number} is done"

    def _number(self) -> tuple[int, bool]:
        """The number of the plan to carry out, and whether it is there."""
        listed = {info.name for info in self._storage.list(names.PLANS)}
        plans = [number for name in listed if (number := names.number(name, names.PLANS)) is not None]
        top = max(plans, default=0)
        is_open = top > 0 and names.plan_done(top) not in listed and not self._mistakes.new_plan_beside_open_one
        return (top, True) if is_open else (top + 1, False)

    # -- looking

    def _look(self) -> _View:
        if self._mistakes.index_before_snapshots:
            runs, newest, index = self._index()
            live = self._live()
        else:
            found = list(records(self._repository, Silent()))
            runs, newest, index = self._index()
            live = self._live(found)
        here = {chunk_id for info in index.values() for chunk_id in _ids(info)}
        if not live <= here:
            raise Damaged("a live chunk is in no index")
        return _View(index, live, runs, newest)

    def _index(self) -> tuple[frozenset[str], Generation, dict[PackId, PackInfo]]:
        repository = self._repository
        runs = frozenset(info.name for info in self._storage.list(names.RUNS))
        number = max(numbers(self._storage, names.GENERATIONS), default=0)
        newest, index = Generation(0, (), frozenset(), frozenset()), {}
        if number:
            newest = decode_generation(repository.read(names.generation(number), ObjectKind.GENERATION)[1], number)
        for digest in newest.segments:
            _, body = repository.read(names.segment(digest), ObjectKind.INDEX_SEGMENT)
            index |= {info.pack_id: info for info in decode_segment(body, digest).packs}
        for name in sorted(runs - newest.absorbed):
            run = decode_run_index(repository.read(name, ObjectKind.RUN_INDEX)[1])
            index |= {info.pack_id: info for info in run.packs if info.pack_id not in newest.dropped}
        return runs, newest, index

    def _live(self, found: Sequence[object] | None = None) -> frozenset[ChunkId]:
        signed = list(records(self._repository, Silent())) if found is None else found
        index = self._client.index()
        with contextlib.closing(index):
            sync_index(self._repository, index, Silent())
            reader = ChunkReader(self._repository, index, LedgerKeys(self._repository.key))
            return frozenset(each for one in signed for each in referenced(reader, one.record))  # type: ignore[attr-defined]

    # -- the plan

    def _plan(self, number: int) -> bool:
        there = {pack_id_of(info.name) for info in self._storage.list(names.PACKS)}
        view = self._look()
        keepers: dict[ChunkId, PackId] = {}
        for pack_id in sorted(view.index):
            for chunk_id in _ids(view.index[pack_id]) & view.live:
                keepers.setdefault(chunk_id, pack_id)
        dead = set(view.index) - set(keepers.values())
        repack = {p for p in set(keepers.values()) if any(keepers.get(c) != p for c in _ids(view.index[p]))}
        orphans = there - set(view.index)
        if self._mistakes.orphans_not_condemned:
            self._orphans, orphans = orphans, set()
        plan = Plan(number, 1, frozenset(dead), frozenset(repack), frozenset(orphans), view.newest.number)
        if not self._repository.create(ObjectKind.PLAN, names.plan(number), encode_plan(plan), self._random):
            return False
        if max(numbers(self._storage, names.PLANS)) > number:
            self._storage.delete(names.plan(number))
            return False
        return True

    _orphans: set[PackId] = set()  # noqa: RUF012  what is deleted without having been condemned

    # -- sessions

    def _fence(self) -> None:
        for info in list(self._storage.list(names.SESSIONS)):
            session = SnapshotId(info.name[len(names.SESSIONS) :])
            body = encode_tombstone(Tombstone(session, 1))
            if self._repository.create(ObjectKind.TOMBSTONE, names.snapshot(session), body, self._random):
                self._storage.delete(info.name)

    # -- the generation

    def _generation(self, number: int) -> set[PackId] | None:
        """Publish generation `number`: the packs to delete; None when there is a newer one."""
        plan = decode_plan(self._repository.read(names.plan(number), ObjectKind.PLAN)[1], number)
        view = self._look()
        spared = set() if self._mistakes.no_second_look else self._spared(plan, view)
        kept = {p: info for p, info in view.index.items() if p not in plan.condemned or p in spared}
        here = {chunk_id for info in kept.values() for chunk_id in _ids(info)}
        copies = self._copy(view, plan, view.live - here)
        drop = set(plan.condemned) - spared | self._orphans - set(view.index)
        if self._mistakes.deletes_before_generation:
            for pack_id in sorted(drop):
                self._storage.delete(names.pack(pack_id))
        if view.newest.number >= number:
            return None if view.newest.number > number else self._dropped(plan, number, drop)
        return self._publish(number, plan, view, [*kept.values(), *copies], drop)

    def _spared(self, plan: Plan, view: _View) -> set[PackId]:
        """What is to go and is needed now, since what is not condemned does not have it."""
        here = {c for p, info in view.index.items() if p not in plan.condemned for c in _ids(info)}
        repacked = {c for p, info in view.index.items() if p in plan.repack for c in _ids(info)}
        spared = set()
        for pack_id in sorted(plan.orphans | plan.dead):
            if pack_id in view.index and (_ids(view.index[pack_id]) & view.live) - here - repacked:
                spared.add(pack_id)
                here |= _ids(view.index[pack_id])
        return spared | (set(plan.orphans) & set(view.index))

    def _copy(self, view: _View, plan: Plan, wanted: Collection[ChunkId]) -> list[PackInfo]:
        """Copy the frames that hold wanted chunks, each plane into one new pack."""
        wanted, made = set(wanted), []
        for pack_id in sorted(plan.repack & set(view.index)):
            info = view.index[pack_id]
            frames = [frame for frame in info.frames if wanted & set(frame.ids)]
            if frames:
                wanted -= {chunk_id for frame in frames for chunk_id in frame.ids}
                made.append(self._pack(info, frames))
        return made

    def _pack(self, info: PackInfo, chosen: Sequence[Frame]) -> PackInfo:
        stored = self._storage.get(names.pack(info.pack_id))
        key = self._repository.key
        body: list[bytes] = [packs.header(info.plane, info.slots, self._repository.state.messages, key)]
        frames = []
        for frame in chosen:
            frames.append(replace(frame, offset=sum(map(len, body))))
            body.append(bytes(stored[frame.offset :][: frame.stored]))
        copy, data = packs.finish(info.plane, info.slots, frames, body, key, self._random)
        self._storage.put(names.pack(copy.pack_id), data)
        return copy

    def _publish(
        self, number: int, plan: Plan, view: _View, kept: Sequence[PackInfo], drop: set[PackId]
    ) -> set[PackId] | None:
        body = encode_segment(IndexSegment(tuple(sorted(kept, key=lambda info: info.pack_id))))
        digest = segment_digest(body)
        self._repository.create(ObjectKind.INDEX_SEGMENT, names.segment(digest), body, self._random)
        gone = view.newest.dropped | (plan.orphans & drop)
        generation = Generation(
            number,
            (digest,),
            view.newest.absorbed | view.runs,
            frozenset() if self._mistakes.orphans_not_dropped else gone,
        )
        encoded = encode_generation(generation)
        if not self._repository.create(ObjectKind.GENERATION, names.generation(number), encoded, self._random):
            return self._dropped(plan, number, drop)
        if max(numbers(self._storage, names.GENERATIONS)) > number:
            return None
        for name in sorted(generation.absorbed & view.runs):
            self._storage.delete(name)
        return drop

    def _dropped(self, plan: Plan, number: int, own: set[PackId]) -> set[PackId]:
        """What the winner's generation no longer has of the plan."""
        if self._mistakes.by_own_listing:
            return own
        generation = decode_generation(
            self._repository.read(names.generation(number), ObjectKind.GENERATION)[1], number
        )
        kept = set()
        for digest in generation.segments:
            _, body = self._repository.read(names.segment(digest), ObjectKind.INDEX_SEGMENT)
            kept |= {info.pack_id for info in decode_segment(body, digest).packs}
        return set(plan.condemned) - kept
