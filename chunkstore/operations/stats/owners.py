"""Who needs a chunk, as a number: one snapshot alone, one group of snapshots, those that were asked about, or others too.

| numbers | who |
|---|---|
| 0 ... | one of the snapshots that were asked about, alone |
| behind them | several snapshots of one group, and nobody else |
| `selected` | snapshots of several groups, and nobody who was not asked about |
| `shared` | also snapshots that were not asked about |

Each step goes up, so that what several need is looked at four times at most, however many they are.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from chunkstore.ids import ID_SIZE
from chunkstore.repository.id_buckets import IdBuckets

_OWNER = struct.Struct(">I")


class Owners:
    """The numbers, for groups of so many snapshots each; snapshots are counted through all groups."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.snapshots = sum(sizes)
        self.selected = self.snapshots + len(sizes)
        self.shared = self.selected + 1
        self._above = array("I")
        for number, size in enumerate(sizes):
            self._above.extend([self.snapshots + number] * size)
        self._above.extend(range(self.snapshots, self.shared + 1))

    def __len__(self) -> int:
        return self.shared + 1

    def group(self, number: int) -> int:
        """What stands for the group of this number."""
        return self.snapshots + number

    def joined(self, one: int, other: int) -> int:
        """Who needs what both of these need."""
        if one == other:
            return one
        one, other = self._above[one], self._above[other]
        return one if one == other else max(one, other, self.selected)


class OwnedIds(IdBuckets):
    """Ids in buckets, each with the number of who needs it. See `IdBuckets`."""

    def __init__(self, directory: Path, owners: Owners) -> None:
        super().__init__(directory, _OWNER.size)
        self._owners = owners

    def add_for(self, owner: int, ids: bytes) -> None:
        """Some ids, joined, that `owner` needs."""
        beside = _OWNER.pack(owner)
        self.add(b"".join([ids[at : at + ID_SIZE] + beside for at in range(0, len(ids), ID_SIZE)]))

    def owners(self, number: int) -> dict[bytes, int]:
        """The ids whose first byte is `number`, and who needs each."""
        found: dict[bytes, int] = {}
        for data in self.pieces(number):
            for chunk_id, owner in _pairs(data):
                known = found.setdefault(chunk_id, owner)
                if known != owner:
                    found[chunk_id] = self._owners.joined(known, owner)
        return found


def _pairs(data: bytes) -> Iterable[tuple[bytes, int]]:
    return struct.iter_unpack(f">{ID_SIZE}sI", data)
