"""Records of chunks -> what is new, where the rest was before, and what is there most.

Each digest is seen in one part of the records, in the order of the stream. In memory are the digests of one part, and a
bit for each record: is it new?
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from chunkstore.operations.dedup_study.spill import Bits, Numbered, Records
from chunkstore.operations.dedup_study.values import Counted

AT_ONCE = 128 * 1024
"""Records of a part: about 40 MiB, however many there are in all."""


@dataclass(slots=True)
class Group:
    """A chunk that is there more than once: its length, how often, in how many files, and the last of those."""

    length: int
    count: int
    files: int
    last: int


@dataclass(slots=True)
class Found:
    """The totals, the new records, and the groups that waste most: (wasted, digest, group), most first."""

    counted: Counted
    new: Bits
    top: list[tuple[int, bytes, Group]]


@dataclass(slots=True)
class _Sums:
    total: int = 0
    unique_chunks: int = 0
    unique: int = 0
    copied: int = 0
    within: int = 0
    across: int = 0
    groups: dict[bytes, Group] = field(default_factory=dict)


def count(records: Records, copies: Bits | None, top: int, at_once: int = AT_ONCE) -> Found:
    """Count the chunks. `copies`: files that are the same as an earlier one; groups do not count what is in them."""
    sums, new = _Sums(), Bits(len(records))
    found: list[tuple[int, bytes, Group]] = []
    for part in records.apart(at_once):
        _count_part(part, copies, sums, new)
        wasted = ((group.length * (group.count - 1), digest, group) for digest, group in sums.groups.items())
        found = heapq.nlargest(top, [*found, *wasted], key=lambda each: each[:2])
        sums.groups.clear()
    counted = Counted(len(records), sums.total, sums.unique_chunks, sums.unique, sums.copied, sums.within, sums.across)
    return Found(counted, new, found)


def _count_part(part: Iterable[Numbered], copies: Bits | None, sums: _Sums, new: Bits) -> None:
    """The hot loop. A digest leads to the number of the file it was first in, or has a group from its second time on."""
    first: dict[bytes, int] = {}
    groups = sums.groups
    for digest, length, file, number in part:
        sums.total += length
        before = first.setdefault(digest, -1)
        if before < 0:
            first[digest] = file
            new.set(number)
            sums.unique_chunks += 1
            sums.unique += length
        elif copies is not None and copies[file]:
            sums.copied += length
        else:
            group = groups.get(digest)
            if group is None:
                group = groups[digest] = Group(length, 1, 1, before)
            group.count += 1
            if group.last == file:
                sums.within += length
            else:
                sums.across += length
                group.files += 1
                group.last = file


def places(
    records: Records, copies: Bits | None, wanted: Iterable[bytes], most: int
) -> dict[bytes, list[tuple[int, int]]]:
    """(file, offset of its data) of the first `most` places of each digest that is wanted; not those in copies."""
    found: dict[bytes, list[tuple[int, int]]] = {digest: [] for digest in wanted}
    if not found:
        return found
    before, offset = -1, 0
    for digest, length, file in records:
        if file != before:
            before, offset = file, 0
        there = found.get(digest)
        if there is not None and len(there) < most and not (copies and copies[file]):
            there.append((file, offset))
        offset += length
    return found
