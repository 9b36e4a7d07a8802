"""Carrying out a prune plan, from the moment it is there to the moment it is done. Every step can be done again by anybody.

    sessions end -> look again -> copy live frames -> generation N -> delete plan N minus generation N -> done N

The generation is the decision: it is put once, and whoever loses that goes by the winner's. What it names stays, and only what
the plan names and it does not is deleted: no index names a pack any more when it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from chunkstore.errors import Damaged, ObjectMissing, PruneRefused, StorageError, StorageFull
from chunkstore.format import names
from chunkstore.format.index import Generation, SparseFrames
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import PackInfo, read_pack
from chunkstore.format.records import stored_time
from chunkstore.format.runs import Plan, PlanDone, encode_plan_done
from chunkstore.ids import PackId
from chunkstore.operations.pack_listing import PackListing
from chunkstore.operations.prune.deleting import Deleting
from chunkstore.operations.prune.generation import Overtaken, newest_generation, newest_number
from chunkstore.operations.prune.spare import Verdict, judge
from chunkstore.operations.prune.sparse import sparse_frames
from chunkstore.operations.prune.survey import Survey, sync_strictly
from chunkstore.operations.prune.values import PruneResult, Share
from chunkstore.operations.usage import Usage
from chunkstore.parallel import ordered_map
from chunkstore.repository.generations import SegmentWriter, copy_rows, publish
from chunkstore.repository.repacking import Repacker
from chunkstore.repository.repository import Repository, Surroundings

_SMALL_SEGMENT = 1 << 20
"""Stored bytes: smaller segments are written anew together with what is new."""


@dataclass(slots=True)
class _Copies:
    """Packs that were written while a generation was prepared."""

    packs: list[PackId]
    size: int = 0


class CarryingOut:
    """One plan."""

    def __init__(self, survey: Survey, plan: Plan, around: Surroundings, result: PruneResult) -> None:
        self._survey = survey
        self._repository: Repository = survey.repository
        self._storage = survey.repository.storage
        self._plan = plan
        self._around = around
        self._result = result

    def run(self) -> None:
        """Everything after the sessions have ended. Raises `Overtaken` and `PruneRefused`."""
        if names.generation(self._plan.number) not in self._listed(names.GENERATIONS):
            self._decide()
        self._delete()
        self._mark_done()

    def _listed(self, prefix: str) -> set[str]:
        return {info.name for info in self._storage.list(prefix)}

    # -- the decision

    def _decide(self) -> None:
        """Put generation N, or find that somebody has."""
        survey = self._survey
        survey.look()
        before = survey.index.generation
        if before > self._plan.number:
            raise Overtaken
        usage = survey.usage()
        damaged: set[PackId] = set()
        # A pack that turns out to be damaged stays, and what others have of its chunks is copied from them.
        while found := self._try_to_publish(usage, judge(self._plan, usage, survey.live_bucket, damaged)) - damaged:
            damaged |= found
        if newest_number(self._repository) > self._plan.number:
            # What this one decided was never in force: a higher one was there already.
            self._storage.delete(names.generation(self._plan.number))
            raise Overtaken

    def _try_to_publish(self, usage: Usage, verdict: Verdict) -> frozenset[PackId]:
        """Put the generation that a verdict says; or return the packs that are damaged, and nothing is put."""
        try:
            return self._publish(usage, verdict)
        except StorageFull:
            if not any(map(verdict.is_repacked, range(len(verdict.fate)))):
                raise
            # There is no room to copy to. What is dead goes without; the next plan finds room.
            self._survey.progress.warn("no room to repack now; what is unused as a whole is deleted first")
            return self._publish(usage, self._without_repacking(usage, verdict))

    def _without_repacking(self, usage: Usage, verdict: Verdict) -> Verdict:
        repacked = {pack.pack_id for pack in usage.packs() if verdict.is_repacked(pack.no)}
        return Verdict(verdict.spared | repacked, bytearray(len(verdict.copied)), bytearray(len(verdict.fate)))

    def _publish(self, usage: Usage, verdict: Verdict) -> frozenset[PackId]:
        segments = SegmentWriter(self._repository, self._around.random_bytes)
        copies = _Copies([])
        try:
            if damaged := self._repack(usage, verdict, segments, copies):
                self._take_back(copies, segments)
                return damaged
            self._result.spared += len(verdict.spared)
            generation = self._generation(usage, segments, verdict.spared)
            won = publish(self._repository, generation, self._around.random_bytes)
        except (StorageFull, PruneRefused):
            self._take_back(copies, segments)
            raise
        if won:
            self._result.written = Share(
                self._result.written.packs + len(copies.packs), self._result.written.size + copies.size
            )
        else:
            self._take_back(copies, segments)
        return frozenset()

    def _take_back(self, copies: _Copies, segments: SegmentWriter) -> None:
        """Delete what only a generation that is not there would name."""
        # Should that fail: the next prune finds them as orphans.
        for name in (*map(names.pack, copies.packs), *map(names.segment, segments.digests)):
            with suppress(StorageError):
                self._storage.delete(name)

    def _generation(self, usage: Usage, segments: SegmentWriter, spared: frozenset[PackId]) -> Generation:
        """What remains; its rows are stored when this returns."""
        plan, repository = self._plan, self._repository
        gone = plan.condemned - spared
        previous = newest_generation(repository)
        kept, rewritten = self._sources(usage, gone, previous, segments)
        try:
            copy_rows(repository, rewritten, gone, segments)
        except ObjectMissing as e:
            raise Overtaken from e
        segments.flush()
        digests = sorted({*(bytes.fromhex(name[len(names.SEGMENTS) :]) for name in kept), *segments.digests})
        absorbed = frozenset(name for name in self._survey.index.sources() if name.startswith(names.RUNS))
        dropped = previous.dropped | (plan.orphans - spared) | (gone & previous.recovered)
        # A run index that an older generation absorbed and nobody has deleted yet must stay absorbed.
        still = previous.absorbed & self._listed(names.RUNS)
        sparse = tuple(SparseFrames(*each) for each in sparse_frames(usage, gone))
        return Generation(plan.number, tuple(digests), absorbed | still, dropped, sparse, previous.recovered - gone)

    def _sources(
        self, usage: Usage, gone: frozenset[PackId], previous: Generation, segments: SegmentWriter
    ) -> tuple[list[str], list[str]]:
        """(segments that stay as they are, index objects whose rows are written anew)."""
        marked = bytearray(len(usage.pack_there))
        for pack in usage.packs():
            marked[pack.no] = pack.pack_id in gone
        touched = usage.scan.sources_of(marked)
        sources = sorted(self._survey.index.sources())
        sizes = {info.name: info.size for info in self._storage.list(names.SEGMENTS)}
        runs = [name for name in sources if name.startswith(names.RUNS)]
        whole = [name for name in sources if not name.startswith(names.RUNS) and name not in touched]
        small = [name for name in whole if sizes.get(name, 0) < _SMALL_SEGMENT]
        if not runs and not touched and not segments.digests and len(small) < 2:
            small = []
        rewritten = runs + sorted(touched - set(runs)) + small
        return [name for name in whole if name not in small], rewritten

    # -- repacking

    def _repack(self, usage: Usage, verdict: Verdict, segments: SegmentWriter, copies: _Copies) -> frozenset[PackId]:
        """Copy what is live in packs that go. Returns those that are damaged, which stay as they are."""

        def stored(info: PackInfo) -> None:
            copies.packs.append(info.pack_id)
            copies.size += info.size
            segments.add(info)

        damaged: set[PackId] = set()
        repacker = Repacker(self._repository, self._around.random_bytes, stored)
        workers = self._around.workers
        for pack_id, offsets, found in ordered_map(
            self._read, self._to_copy(usage, verdict), workers, workers + 1, "repack"
        ):
            if isinstance(found, Damaged):
                self._survey.progress.warn(f"not repacked: {found}. `chunkstore check --read-data` says what is hit")
                self._result.damaged.append(names.pack(pack_id))
                damaged.add(pack_id)
            else:
                self._survey.progress.advance(1, found[0].size)
                repacker.take(*found, offsets)
        repacker.flush()
        return frozenset(damaged)

    def _to_copy(self, usage: Usage, verdict: Verdict) -> Iterator[tuple[PackId, set[int]]]:
        """Packs that something has to be copied from, with the offsets of the frames."""
        ids = {pack.no: pack.pack_id for pack in usage.packs() if verdict.is_repacked(pack.no)}
        pack, offsets = -1, set[int]()
        for frame in usage.frames():
            if verdict.copied[frame.no]:
                if frame.pack != pack and offsets:
                    yield ids[pack], offsets
                    offsets = set()
                pack = frame.pack
                offsets.add(frame.offset)
        if offsets:
            yield ids[pack], offsets

    def _read(self, wanted: tuple[PackId, set[int]]) -> tuple[PackId, set[int], tuple[PackInfo, bytes] | Damaged]:
        """A whole pack, compared with its name: what is copied is what was written (I-6)."""
        pack_id, offsets = wanted
        name = names.pack(pack_id)
        try:
            data = self._storage.get(name)
            return pack_id, offsets, (read_pack(data, pack_id, name, self._repository.key), data)
        except ObjectMissing:
            return pack_id, offsets, Damaged("has gone", name)
        except Damaged as e:
            return pack_id, offsets, e

    # -- deleting

    def _delete(self) -> None:
        """Delete exactly plan N minus generation N, whoever put that generation."""
        index = self._survey.index
        sync_strictly(self._repository, index)
        if index.generation != self._plan.number:
            raise Overtaken
        kept = {pack.pack_id for pack in self._survey.scan.packs() if pack.pack_id in self._plan.condemned}
        gone = self._plan.condemned - kept
        with PackListing(self._storage, self._survey.directory, self._survey.progress) as listed:
            deleting = Deleting(self._storage, self._around, self._result, self._survey.progress)
            deleting.packs(pack for pack in listed if pack.pack_id in gone)

    def _mark_done(self) -> None:
        plan, around = self._plan, self._around
        if names.plan(plan.number) not in self._listed(names.PLANS):
            raise Overtaken  # it was done and tidied up by somebody else
        body = encode_plan_done(PlanDone(plan.number, stored_time(around.clock())))
        self._repository.create(ObjectKind.PLAN_DONE, names.plan_done(plan.number), body, around.random_bytes)
