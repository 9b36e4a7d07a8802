"""Which packs a prune deletes and which it repacks, from what is in use. Nothing is changed here.

Dead packs hold nothing that is in use. Others are repacked when too much of them is unused, those with the largest unused share
first, until what stays unused is within the limit; and small ones are merged once there are several of about one size, so
that each byte is copied a few times at most however many small runs there are.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chunkstore.ids import PackId
from chunkstore.operations.prune.values import PruneOptions, Share
from chunkstore.operations.usage import Usage
from chunkstore.repository.index_scan import PackRow

MAX_PACKS = 100_000
"""Packs of each kind in one plan: it is held in memory, and so are the ids in it. What is left is for the next plan."""
_MERGED_AT_ONCE = 8
_SIZE_CLASS_BITS = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """What a plan would condemn."""

    dead: frozenset[PackId]
    repack: frozenset[PackId]
    orphans: frozenset[PackId]
    dead_share: Share
    repack_share: Share
    repack_used: int
    orphan_share: Share
    used: int
    unused: int
    copies: int

    @staticmethod
    def nothing() -> Choice:
        """Condemns nothing."""
        none: frozenset[PackId] = frozenset()
        return Choice(none, none, none, Share(), Share(), 0, Share(), 0, 0, 0)

    def __bool__(self) -> bool:
        return bool(self.dead or self.repack or self.orphans)


def choose(usage: Usage, orphans: Iterable[tuple[PackId, int]], pack_size: int, options: PruneOptions) -> Choice:
    """Decide. `orphans`: (id, size) of packs that are stored and in no index; `pack_size`: that of a full pack."""
    dead, dead_size = _some((p.pack_id, p.size) for p in usage.packs() if not usage.pack_used[p.no])
    orphan, orphan_size = _some(orphans)
    repack = _Repacking(usage, pack_size, options)
    return Choice(
        dead,
        repack.chosen,
        orphan,
        Share(len(dead), dead_size),
        Share(len(repack.chosen), repack.size),
        repack.used,
        Share(len(orphan), orphan_size),
        used=sum(usage.pack_used),
        unused=sum(usage.pack_frames) - sum(usage.pack_used),
        copies=usage.copies,
    )


def _some(packs: Iterable[tuple[PackId, int]]) -> tuple[frozenset[PackId], int]:
    """As many as fit a plan, and their size."""
    ids, size = set[PackId](), 0
    for pack_id, stored in packs:
        if len(ids) == MAX_PACKS:
            break
        ids.add(pack_id)
        size += stored
    return frozenset(ids), size


class _Repacking:
    """Packs that are worth being copied: the rest of what is in use in them goes into new packs."""

    def __init__(self, usage: Usage, pack_size: int, options: PruneOptions) -> None:
        self.size = self.used = 0
        self._usage = usage
        self._left = options.max_repack
        self._chosen: set[PackId] = set()
        self._shed(options)
        self._merge(pack_size)

    @property
    def chosen(self) -> frozenset[PackId]:
        return frozenset(self._chosen)

    def _living(self) -> Iterator[PackRow]:
        usage = self._usage
        return (p for p in usage.packs() if usage.pack_used[p.no] and usage.pack_there[p.no])

    def _take(self, pack: PackRow) -> bool:
        """Whether there is room for one more."""
        used = self._usage.pack_used[pack.no]
        if len(self._chosen) >= MAX_PACKS or (self._left is not None and used > self._left):
            return False
        if self._left is not None:
            self._left -= used
        self._chosen.add(pack.pack_id)
        self.size += pack.size
        self.used += used
        return True

    def _shed(self, options: PruneOptions) -> None:
        """Packs with much that is unused, as many as it takes."""
        usage = self._usage
        unused = sum(usage.pack_frames[p.no] - usage.pack_used[p.no] for p in self._living())
        allowed = options.max_unused_size
        too_much = unused - (options.max_unused * sum(usage.pack_used) if allowed is None else allowed)
        worst = heapq.nlargest(MAX_PACKS, self._living(), key=self._unused_share) if too_much > 0 else ()
        for pack in worst:
            free = usage.pack_frames[pack.no] - usage.pack_used[pack.no]
            if too_much <= 0 or not free:
                return
            if self._take(pack):
                too_much -= free

    def _unused_share(self, pack: PackRow) -> float:
        return 1 - self._usage.pack_used[pack.no] / self._usage.pack_frames[pack.no]

    def _merge(self, pack_size: int) -> None:
        """Small packs of one kind and about one size, once there are several of them."""
        classes: dict[tuple[int, int], list[PackRow]] = {}
        for pack in self._living():
            if pack.size < pack_size // 2 and pack.pack_id not in self._chosen:
                size_class = pack.size.bit_length() // _SIZE_CLASS_BITS
                classes.setdefault((pack.plane, size_class), []).append(pack)
        for _, packs in sorted(classes.items()):
            if len(packs) >= _MERGED_AT_ONCE:
                for pack in packs:
                    self._take(pack)
