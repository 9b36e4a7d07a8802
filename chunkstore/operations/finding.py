"""Entries that match, over many snapshots. What snapshots share is searched once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from chunkstore.errors import Damaged
from chunkstore.format.entries import DIRECTORY, FILE
from chunkstore.format.tree_nodes import NodeRef, SegmentRef
from chunkstore.ids import ChunkId
from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.comparing import difference_of, present, same_content, state_of
from chunkstore.repository.manifest_cursor import ENTRY, WHOLE, Cursor, Span, below, exactly, inside
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.tree.patterns import Rule, Rules

_REMEMBERED = 200_000
"""Subtrees and segments known to hold nothing of interest, in about 20 MiB; what comes after them is searched each time."""
_WILDCARDS = frozenset(b"*?[\\")

Series = tuple[str, tuple[bytes, ...]]
"""Snapshots of one host and the same roots: each follows on the one before it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: paths that `rules` include, of these kinds, files of these sizes (bytes), modified (ns) after
    `newer` and not after `older`. None asks for nothing. `span` holds all paths that the rules can include.
    """

    rules: Rules
    span: Span = WHOLE
    kinds: frozenset[int] | None = None
    newer: int | None = None
    older: int | None = None
    larger: int | None = None
    smaller: int | None = None

    def fits(self, found: ManifestEntry) -> bool:
        entry = found.entry
        if entry.ancestor or not self.rules.included(found.path, entry.kind == DIRECTORY):
            return False
        if self.kinds is not None and entry.kind not in self.kinds:
            return False
        if self.newer is not None and entry.mtime_ns <= self.newer:
            return False
        if self.older is not None and entry.mtime_ns > self.older:
            return False
        return self._fits_size(entry.kind, entry.size)

    def _fits_size(self, kind: int, size: int) -> bool:
        if self.larger is None and self.smaller is None:
            return True
        return kind == FILE and not (
            (self.larger is not None and size <= self.larger) or (self.smaller is not None and size >= self.smaller)
        )


class Found(NamedTuple):
    """An entry that fits, and the snapshot it is in."""

    snapshot: Snapshot
    found: ManifestEntry


Open = Callable[[Snapshot], ManifestReader]
OnDamage = Callable[[Snapshot, Damaged], None]


def find_all(snapshots: Iterable[Snapshot], manifest: Open, wanted: Wanted, on_damage: OnDamage) -> Iterator[Found]:
    """Every entry of each snapshot that fits."""
    search = _Search(wanted)
    for each in snapshots:
        try:
            yield from (Found(each, found) for found in search.all(manifest(each)))
        except Damaged as e:
            on_damage(each, e)


def find_versions(
    snapshots: Iterable[Snapshot], manifest: Open, wanted: Wanted, on_damage: OnDamage
) -> Iterator[Found]:
    """Every entry that fits, in the newest snapshot that has it so; `snapshots` come newest first.

    Left out is what is the same, but for ctime, inode and atime, in the next newer one of the same host and roots.
    """
    search = _Search(wanted)
    newer: dict[Series, ManifestReader] = {}
    for each in snapshots:
        series = each.record.host, each.record.roots
        older = manifest(each)
        following = newer.pop(series, None)
        try:
            found = search.all(older) if following is None else search.changed(older, following)
            yield from (Found(each, one) for one in found)
        except Damaged as e:
            on_damage(each, e)
        else:
            newer[series] = older


class _Search:
    """Searches manifests; remembers which subtrees and segments hold nothing that fits."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._barren: set[ChunkId] = set()
        self._entered: list[tuple[int, ChunkId, int]] = []
        self._hits = 0

    def all(self, manifest: ManifestReader) -> Iterator[ManifestEntry]:
        """What fits, in order."""
        cursor = self._begin(manifest)
        while cursor.key is not None:
            if self._passes(cursor):
                continue
            if cursor.rank != ENTRY:
                self._enter(cursor)
            elif found := self._take(cursor):
                yield found
        self._leave(None)

    def changed(self, manifest: ManifestReader, newer: ManifestReader) -> Iterator[ManifestEntry]:
        """What fits and is not the same in `newer`, of which no more is read than that takes."""
        cursor, other = self._begin(manifest), Cursor(newer, self._wanted.span)
        while (key := cursor.key) is not None:
            if self._passes(cursor):
                continue
            other.seek(key)
            beside = other.key == key
            if beside and other.rank > cursor.rank:
                other.enter()
            elif beside and cursor.rank != ENTRY and other.unit == cursor.unit:
                self._hits += 1  # perhaps: nobody looked
                cursor.skip()
                other.skip()
            elif cursor.rank != ENTRY:
                self._enter(cursor)
            elif (found := self._take(cursor)) and not (beside and _same(manifest, found, newer, other.entry)):
                yield found
        self._leave(None)

    def _begin(self, manifest: ManifestReader) -> Cursor:
        self._entered.clear()
        return Cursor(manifest, self._wanted.span)

    def _passes(self, cursor: Cursor) -> bool:
        """Go past a subtree or segment in which there is nothing."""
        self._leave(cursor.rank)
        if cursor.rank == ENTRY or _id(cursor.unit) not in self._barren:
            return False
        cursor.skip()
        return True

    def _enter(self, cursor: Cursor) -> None:
        self._entered.append((cursor.rank, _id(cursor.unit), self._hits))
        cursor.enter()

    def _leave(self, rank: int | None) -> None:
        """What was entered is complete when something of its rank follows; None: when nothing does."""
        while self._entered and (rank is None or self._entered[-1][0] <= rank):
            _, unit, hits = self._entered.pop()
            if hits == self._hits and len(self._barren) < _REMEMBERED:
                self._barren.add(unit)

    def _take(self, cursor: Cursor) -> ManifestEntry | None:
        found = cursor.entry
        cursor.skip()
        if not self._wanted.fits(found):
            return None
        self._hits += 1
        return found


def _id(unit: NodeRef | SegmentRef | ManifestEntry) -> ChunkId:
    """What stands for all that is below: ids of segments, and of nodes that hold such ids."""
    assert not isinstance(unit, ManifestEntry)
    return unit.segment_id if isinstance(unit, SegmentRef) else unit.reference_id


def _same(
    one_manifest: ManifestReader, one: ManifestEntry, other_manifest: ManifestReader, other: ManifestEntry
) -> bool:
    def same() -> bool:
        return same_content(one_manifest, one, other_manifest, other)

    return difference_of(b"", state_of(one), state_of(present(other)), same) is None


# -- where to look


def span_of(rules: Sequence[Rule]) -> Span:
    """The entries among which all that the rules include is, so that nothing else need be read."""
    if not rules or any(rule.ignore_case or not rule.pattern.startswith(b"/") for rule in rules):
        return WHOLE
    paths = [rule.pattern.strip(b"/").split(b"/") for rule in rules]
    literal = [list(takewhile(_is_literal, parts)) for parts in paths]
    if len(rules) > 1:
        directories = [part[:-1] if part == path else part for part, path in zip(literal, paths, strict=True)]
        return below(os.path.commonpath([b"/" + b"/".join(parts) for parts in directories]))
    path = b"/" + b"/".join(literal[0])
    missing = paths[0][len(literal[0]) :]
    if not missing:
        return exactly(path)
    return inside(path) if len(missing) == 1 and missing[0] != b"*" * max(len(missing[0]), 2) else below(path)


def _is_literal(part: bytes) -> bool:
    return not _WILDCARDS.intersection(part)
