"""Which snapshots damage hits: a second walk over the reference trees, only where there is damage.

Each damaged object has a bit; what hits a chunk, a node or a snapshot is a mask of them. Each node is read once, however many
snapshots share it. Memory does not grow with the damage: masks are in a temporary database, and beyond `NAMED` objects the
others share one bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.format.records import SnapshotRecord
from chunkstore.format.tree_nodes import NodeRef, RunRef, SegmentRef, decode_reference_node, decode_run
from chunkstore.ids import ID_SIZE, ChunkId, PackId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.check.scratch import Scratch
from chunkstore.operations.check.view import View
from chunkstore.repository.id_buckets import BUCKETS
from chunkstore.repository.index_scan import IndexScan

NAMED: Final = 1000
NO_INDEX: Final = ""
"""Stands for the object of a chunk that no index object names."""


class Bits:
    """A bit for each damaged object, by its name."""

    def __init__(self) -> None:
        self._bits = {NO_INDEX: 0}

    def of(self, name: str) -> int:
        """The bit of an object; `NAMED` for those that came too late to have their own."""
        if name not in self._bits and len(self._bits) < NAMED:
            self._bits[name] = len(self._bits)
        return self._bits.get(name, NAMED)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._bits.items())


class Hits:
    """Finds what hits what. `bits` names the objects."""

    def __init__(self, view: View, scratch: Scratch) -> None:
        self.bits = Bits()
        self.why: dict[str, str] = {}
        """Why parts of an object could not be read, of those that only this walk found."""
        self.in_no_index = 0
        """Chunks that snapshots need and that no index object names, as far as nodes could be read."""
        self.some_in_no_index: list[ChunkId] = []
        self._view = view
        self._db = scratch.db
        self._db.execute("DELETE FROM lost")
        self._db.execute("DELETE FROM below")
        self._find_lost(scratch)

    def of_snapshot(self, record: SnapshotRecord) -> int:
        """What hits a snapshot."""
        return self.of_chunk(record.content_root) | self.below(record.reference_root)

    def of_chunk(self, chunk_id: ChunkId) -> int:
        """What hits one chunk."""
        row = self._db.execute("SELECT mask FROM lost WHERE chunk=?", (chunk_id,)).fetchone()
        return int.from_bytes(row[0], "little") if row else 0

    def of_unit(self, unit: NodeRef | SegmentRef) -> int:
        """What hits a subtree or a segment of a manifest."""
        if isinstance(unit, NodeRef):
            return self.of_chunk(unit.content_id) | self.below(unit.reference_id)
        mask = self.of_chunk(unit.segment_id)
        for run in unit.runs:
            mask |= self._of_run(run)
        return mask

    def below(self, node_id: ChunkId) -> int:
        """What hits a reference node, or anything below it."""
        known = self._known(node_id)
        if known is not None:
            return known
        mask = self.of_chunk(node_id)
        try:
            node = decode_reference_node(self._view.reader.read(ChunkKind.REFERENCE, node_id))
        except Damaged as e:
            mask |= self._unreadable(node_id, e)
        else:
            for child in node.children:
                mask |= self.of_unit(child)
        return self._remember(node_id, mask)

    def _of_run(self, run: RunRef) -> int:
        known = self._known(run.run_id)
        if known is not None:
            return known
        mask = self.of_chunk(run.run_id)
        try:
            ids = decode_run(self._view.reader.read(ChunkKind.REFERENCE, run.run_id), run.count)
        except Damaged as e:
            mask |= self._unreadable(run.run_id, e)
        else:
            for at in range(0, len(ids), ID_SIZE):
                mask |= self.of_chunk(ChunkId(ids[at : at + ID_SIZE]))
        return self._remember(run.run_id, mask)

    def _unreadable(self, chunk_id: ChunkId, error: Damaged) -> int:
        """The bit of what keeps a reference chunk from being read."""
        name = self.object_of(chunk_id, error)
        if name != NO_INDEX:
            self.why.setdefault(name, error.reason)
        return 1 << self.bits.of(name)

    def object_of(self, chunk_id: ChunkId, error: Damaged) -> str:
        """The name of what is to blame for a reference chunk that can not be read: a pack, or the chunk itself."""
        if error.object_name or self._view.index.locate(chunk_id) is None:
            return error.object_name
        return f"chunk {chunk_id.hex()[:16]}"

    def _known(self, node_id: ChunkId) -> int | None:
        row = self._db.execute("SELECT mask FROM below WHERE node=?", (node_id,)).fetchone()
        return int.from_bytes(row[0], "little") if row else None

    def _remember(self, node_id: ChunkId, mask: int) -> int:
        self._db.execute("INSERT OR REPLACE INTO below VALUES(?,?)", (node_id, _stored(mask)))
        return mask

    # -- chunks that are lost

    def _find_lost(self, scratch: Scratch) -> None:
        view, scan = self._view, IndexScan(self._view.index)
        ids: dict[int, PackId] = {}
        bits: dict[int, int] = {}
        for wrong in view.compared.wrong:
            bits[wrong.no] = 1 << self.bits.of(names.pack(wrong.pack_id))
        for row in scan.packs() if scratch.any_bad() else ():
            if bad := scratch.bad(row.pack_id):
                bits[row.no] = 1 << self.bits.of(names.pack(row.pack_id))
                if not bad[1]:
                    ids[row.no] = row.pack_id
        if not view.usage.missing_count and not ids:
            return
        for number in range(BUCKETS):
            self._find_lost_in(number, scratch, scan, bits, ids)

    def _find_lost_in(
        self, number: int, scratch: Scratch, scan: IndexScan, bits: dict[int, int], partly: dict[int, PackId]
    ) -> None:
        """One bucket of ids. `bits`: of packs that are not whole; in those that are bad `partly` some chunks are fine."""
        wanted = self._view.live.ids.bucket(number)
        failed = scratch.failed_in(number) if partly else set()
        usage = self._view.usage
        fine: set[bytes] = set()
        masks: dict[bytes, int] = {}
        for chunk_id, frame, _ in scan.chunks(number):
            if chunk_id not in wanted:
                continue
            pack = usage.frame_pack[frame]
            if not usage.pack_there[pack] or (pack in partly and (chunk_id, partly[pack]) in failed):
                masks[chunk_id] = masks.get(chunk_id, 0) | bits[pack]
            else:
                fine.add(chunk_id)
        lost = wanted - fine
        nowhere = sorted(lost - masks.keys())
        self.in_no_index += len(nowhere)
        self.some_in_no_index += map(ChunkId, nowhere[: not self.some_in_no_index])
        rows = ((each, _stored(masks.get(each, 1 << self.bits.of(NO_INDEX)))) for each in lost)
        self._db.executemany("INSERT INTO lost VALUES(?,?)", rows)


def _stored(mask: int) -> bytes:
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")
