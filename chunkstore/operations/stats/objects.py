"""What is stored, by the kinds of objects: from listings, no object is opened."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.operations.pack_listing import PackListing
from chunkstore.operations.stats.values import Objects, PackBytes
from chunkstore.operations.usage import Usage
from chunkstore.repository.index_scan import IndexScan
from chunkstore.storage import Storage

CONTENT_PACKS, TREE_PACKS, UNINDEXED_PACKS = "content packs", "tree packs", "packs in no index"
_OTHERS = (
    ("run indexes", names.RUNS),
    ("index segments", names.SEGMENTS),
    ("index generations", names.GENERATIONS),
    ("snapshots", names.SNAPSHOTS),
    ("amendments", names.AMENDMENTS),
    ("sessions", names.SESSIONS),
    ("prune plans", names.PLANS),
    ("sealed keys", names.KEYS),
    ("recipients", names.RECIPIENTS),
    ("config", names.CONFIG),
)


class StoredPacks:
    """The listed packs beside the index: by the number of each there, whether it is there; sizes; what does not fit."""

    def __init__(self, listing: PackListing, scan: IndexScan) -> None:
        self.there = bytearray(scan.highest_pack() + 1)
        self.tree = bytearray(len(self.there))
        """By number, 1 for tree packs."""
        self.wrong: list[str] = []
        self._sizes = array("Q", bytes(8 * len(self.there)))
        self._counts = dict.fromkeys((CONTENT_PACKS, TREE_PACKS, UNINDEXED_PACKS), (0, 0))
        for pack, row in listing.matched(scan):
            if row is None:
                self._count(UNINDEXED_PACKS, pack.size)
                continue
            self.there[row.no] = 1
            self._sizes[row.no] = pack.size
            self.tree[row.no] = row.plane == ObjectKind.TREE_PACK
            self._count(TREE_PACKS if self.tree[row.no] else CONTENT_PACKS, pack.size)
            if pack.size != row.size:
                self.wrong.append(f"{names.pack(pack.pack_id)}: has {pack.size:,} bytes instead of {row.size:,}")

    def _count(self, kind: str, size: int) -> None:
        count, total = self._counts[kind]
        self._counts[kind] = count + 1, total + size

    def bytes_of(self, usage: Usage, in_use: int) -> PackBytes:
        """Where they go, when the chunks in use have so many stored bytes."""
        holes, unused, around = -in_use, self._counts[UNINDEXED_PACKS][1], 0
        for no, size in enumerate(self._sizes):
            used, frames = usage.pack_used[no], usage.pack_frames[no]
            if used:
                holes += used
                unused += frames - used
                around += size - frames
            else:
                unused += size
        return PackBytes(in_use, holes, unused, around, self._counts[UNINDEXED_PACKS][1])

    def objects(self) -> Iterator[Objects]:
        """The packs by kind."""
        for kind, (count, size) in self._counts.items():
            yield Objects(kind, count, size)


def other_objects(storage: Storage) -> Iterator[Objects]:
    """All that is no pack, by kind."""
    for kind, prefix in _OTHERS:
        sizes = [0, 0]
        for info in storage.list(prefix):
            sizes[0] += 1
            sizes[1] += info.size
        yield Objects(kind, *sizes)
