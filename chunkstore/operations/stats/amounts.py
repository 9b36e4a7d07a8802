"""How much is needed by whom: the ids that are needed against the rows of the index, bucket by bucket.

A chunk that is stored more than once counts once, in the first place that is in a frame in use. Memory: 4 bytes for each
frame of the index besides those of `usage`, and 1/256 of the ids.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from chunkstore.operations.stats.owners import OwnedIds
from chunkstore.operations.stats.values import Amount
from chunkstore.operations.usage import Usage
from chunkstore.repository.id_buckets import BUCKETS
from chunkstore.repository.local_index import LocalIndex


class Amounts:
    """Amounts by number, counted one chunk at a time."""

    def __init__(self, size: int) -> None:
        self._chunks = array("Q", bytes(8 * size))
        self._raw = array("Q", bytes(8 * size))
        self._stored = array("Q", bytes(8 * size))

    def add(self, number: int, raw: int, stored: int) -> None:
        self._chunks[number] += 1
        self._raw[number] += raw
        self._stored[number] += stored

    def __getitem__(self, number: int) -> Amount:
        return Amount(self._chunks[number], self._raw[number], self._stored[number])

    def __iter__(self) -> Iterator[Amount]:
        return map(Amount, self._chunks, self._raw, self._stored)


def count_amounts(
    ids: OwnedIds, owners: int, index: LocalIndex, usage: Usage, tree: bytearray
) -> tuple[Amounts, Amounts]:
    """(amounts by who needs it, amounts of content and of trees). `owners`: how many numbers; `tree`: by pack, 1 or 0."""
    by_owner, by_plane = Amounts(owners), Amounts(2)
    raw = array("I", bytes(4 * len(usage.frame_stored)))
    for frame in usage.frames():
        raw[frame.no] = frame.raw
    for number in range(BUCKETS):
        needed = ids.owners(number)
        for chunk_id, no, offset, length in _places(index, number):
            if chunk_id not in needed or not usage.is_live(no):
                continue
            stored = _share(offset, length, raw[no], usage.frame_stored[no])
            by_owner.add(needed.pop(chunk_id), length, stored)
            by_plane.add(tree[usage.frame_pack[no]], length, stored)
    return by_owner, by_plane


def _share(offset: int, length: int, raw: int, stored: int) -> int:
    """Of a frame's stored bytes, so that the shares of its chunks add up to them."""
    if not raw:
        return 0
    return (offset + length) * stored // raw - offset * stored // raw


def _places(index: LocalIndex, bucket: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(id, frame, offset, length) of the chunks whose id begins with this byte, in the order of ids, then of frames."""
    end = bytes([bucket + 1]) if bucket + 1 < BUCKETS else b"\xff" * 33
    query = "SELECT id, frame, offset, length FROM chunks WHERE id>=? AND id<? ORDER BY id, frame"
    with index.file.guarded():
        yield from index.file.db.execute(query, (bytes([bucket]), end))
