"""The packs that the index names, compared with those that the storage lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from chunkstore.format import names
from chunkstore.ids import PackId
from chunkstore.operations.check.looking import Looking
from chunkstore.operations.check.values import Share
from chunkstore.operations.pack_listing import ListedPack, PackListing
from chunkstore.parallel import ordered_map
from chunkstore.repository.index_scan import IndexScan, PackRow

_ASKED: Final = 1000
"""So many missing packs are asked for one by one. If the storage has none of them, the others are missing too."""

_Pair = tuple[PackRow | None, ListedPack | None]


class Wrong(NamedTuple):
    """A pack that is not in the storage as the index has it."""

    no: int
    pack_id: PackId
    reason: str
    unlisted: bool = False


class Compared:
    """`there`: by the number of a pack in the index, 1 where the storage has it with the size that the index names."""

    def __init__(self, looking: Looking, scan: IndexScan, listing: PackListing) -> None:
        self.there = bytearray(scan.highest_pack() + 1)
        self.wrong: list[Wrong] = []
        self.orphans = Share()
        missing: list[PackRow] = []
        for row, listed in _joined(scan.packs(), iter(listing)):
            if row is None:
                self.orphans.add(listed.size if listed else 0)
            elif listed is None:
                missing.append(row)
            elif listed.size != row.size:
                text = f"has {listed.size} bytes, and the index says {row.size}"
                self.wrong.append(Wrong(row.no, row.pack_id, text))
            else:
                self.there[row.no] = 1
        self._ask(looking, missing)

    def _ask(self, looking: Looking, missing: list[PackRow]) -> None:
        """What is not listed may be there all the same: then it is the listing that is wrong."""

        def is_there(row: PackRow) -> bool:
            return looking.is_there(names.pack(row.pack_id))

        workers, found, asked = looking.around.workers, 0, 0
        for begin in range(0, len(missing), _ASKED):
            rows = missing[begin : begin + _ASKED]
            if asked and not found:
                self.wrong += [Wrong(row.no, row.pack_id, "the pack is missing") for row in rows]
                continue
            asked += len(rows)
            for row, there in zip(rows, ordered_map(is_there, rows, workers, 2 * workers, "ask"), strict=True):
                found += there
                self.there[row.no] = there
                text = "the storage has it and does not list it" if there else "the pack is missing"
                self.wrong.append(Wrong(row.no, row.pack_id, text, unlisted=there))


def _joined(rows: Iterator[PackRow], listed: Iterator[ListedPack]) -> Iterator[_Pair]:
    """Both in the order of ids -> what is on both sides as a pair, what is on one side with None."""
    row, pack = next(rows, None), next(listed, None)
    while row is not None or pack is not None:
        if pack is None or (row is not None and row.pack_id < pack.pack_id):
            yield row, None
            row = next(rows, None)
        elif row is None or pack.pack_id < row.pack_id:
            yield None, pack
            pack = next(listed, None)
        else:
            yield row, pack
            row, pack = next(rows, None), next(listed, None)
