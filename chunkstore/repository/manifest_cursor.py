"""A place in a manifest, from which subtrees and segments are entered or skipped without being read.

Two cursors that move together compare two manifests: what both share as a whole is skipped by its ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chunkstore.errors import Damaged
from chunkstore.format.entries import Components, components
from chunkstore.format.tree_nodes import NodeRef, SegmentRef
from chunkstore.repository.manifest_reader import Key, ManifestEntry, ManifestReader

ENTRY, SEGMENT, LOWEST_NODE = 0, 1, 2
"""Ranks: what has the higher one may hold what has the lower one."""


@dataclass(frozen=True, slots=True)
class Span:
    """The entries from `start` on and before `stop`, None for the end. `base` is taken off the keys in it."""

    start: Key = ((), b"")
    stop: Key | None = None
    base: Components = ()


WHOLE = Span()


def exactly(path: bytes) -> Span:
    """The entry of an absolute path alone."""
    *above, name = components(path) or (b"",)
    return Span((tuple(above), name), (tuple(above), name + b"\0"))


def inside(path: bytes) -> Span:
    """What is directly in the directory `path`. No name is shorter than one byte, or holds a NUL."""
    parts = components(path)
    return Span((parts, b"\0"), ((*parts, b""), b""))


def below(path: bytes, base: bytes = b"/") -> Span:
    """What is in the directory `path` at any depth, with the keys it would have if `base` were the root."""
    parts = components(path)
    stop: Key | None = ((*parts[:-1], parts[-1] + b"\0"), b"") if parts else None
    return Span((parts, b"\0"), stop, components(base))


@dataclass(slots=True)
class _Open:
    """A node that was entered, and which child is next."""

    level: int
    keys: list[Key]
    children: tuple[SegmentRef, ...] | tuple[NodeRef, ...]
    at: int = 0


class Cursor:
    """Stands before a subtree, a segment or an entry of a manifest, in order; `key` is None at the end.

    `unit` is what it stands before and `rank` what that is; `key` is the key of the first entry in it, which is all
    that has been read of a subtree or segment.
    """

    def __init__(self, manifest: ManifestReader, span: Span = WHOLE) -> None:
        self._manifest = manifest
        self._span = span
        self._drop = len(span.base)
        self._open: list[_Open] = []
        self._entries: Iterator[tuple[Key, ManifestEntry]] | None = None
        self._last: Key | None = None
        self._at: Key | None = None
        self.key: Key | None = None
        self.rank = LOWEST_NODE
        self.unit: NodeRef | SegmentRef | ManifestEntry = manifest.root
        self._push(manifest.root, None, None)
        self._seek(span.start)

    @property
    def entry(self) -> ManifestEntry:
        """The entry it stands before; only where `rank` is ENTRY."""
        assert isinstance(self.unit, ManifestEntry)
        return self.unit

    def skip(self) -> None:
        """Go on to what comes after the unit."""
        if self.rank != ENTRY:
            self._open[-1].at += 1
        self._settle()

    def enter(self) -> None:
        """Go on to the first part of the unit, which is no entry."""
        key, node = self._at, self._open[-1]
        assert key is not None
        node.at += 1
        if isinstance(self.unit, NodeRef):
            self._push(self.unit, node.level - 1, key)
            return
        assert isinstance(self.unit, SegmentRef)
        self._entries = self._manifest.segment(self.unit, key)
        self._settle()

    def seek(self, key: Key) -> None:
        """Go on to what is not before `key`, reading only what may hold it."""
        self._seek((self._span.base + key[0], key[1]))

    def _seek(self, key: Key) -> None:
        while self._at is not None and self._at < key:
            end = None if self.rank == ENTRY else self._end()
            if self.rank == ENTRY or (end is not None and end <= key):
                self.skip()
            else:
                self.enter()

    def _end(self) -> Key | None:
        """The key of what comes after the unit, which is a subtree or a segment; None where nothing does."""
        ahead = 1
        for node in reversed(self._open):
            if node.at + ahead < len(node.keys):
                return node.keys[node.at + ahead]
            ahead = 0
        return None

    def _push(self, ref: NodeRef, level: int | None, first: Key | None) -> None:
        node = self._manifest.node(ref, level, first)
        self._open.append(_Open(node.level, node.keys, node.children))
        self._settle()

    def _settle(self) -> None:
        """Find out what is next."""
        if self._entries is not None:
            for key, found in self._entries:
                self._stand(key, found, ENTRY)
                self._last = key
                return
            self._entries = None
        while self._open and self._open[-1].at == len(self._open[-1].keys):
            self._open.pop()
        if not self._open:
            self._at = self.key = None
            return
        node = self._open[-1]
        self._stand(node.keys[node.at], node.children[node.at], SEGMENT + node.level)

    def _stand(self, key: Key, unit: NodeRef | SegmentRef | ManifestEntry, rank: int) -> None:
        if self._last is not None and key <= self._last:
            raise Damaged("manifest segments are out of order")
        self.unit, self.rank = unit, rank
        stop, drop = self._span.stop, self._drop
        self._at = self.key = None if stop is not None and key >= stop else key
        if drop and self.key is not None:
            self.key = key[0][drop:], key[1]


Pair = tuple[Key, ManifestEntry | None, ManifestEntry | None]


def unequal(one: Cursor, other: Cursor) -> Iterator[Pair]:
    """The entries of both, paired by their keys, without subtrees and segments that are the same on both sides."""
    while True:
        if one.key is not None and one.key == other.key:
            if one.rank != other.rank:
                (one if one.rank > other.rank else other).enter()
            elif one.rank == ENTRY:
                yield one.key, one.entry, other.entry
                one.skip()
                other.skip()
            elif one.unit == other.unit:
                one.skip()
                other.skip()
            else:
                one.enter()
                other.enter()
        elif one.key is not None and (other.key is None or one.key < other.key):
            if one.rank == ENTRY:
                yield one.key, one.entry, None
                one.skip()
            else:
                one.enter()
        elif other.key is not None:
            if other.rank == ENTRY:
                yield other.key, None, other.entry
                other.skip()
            else:
                other.enter()
        else:
            return


def entries(cursor: Cursor) -> Iterator[tuple[Key, ManifestEntry]]:
    """Everything from where the cursor stands, with its keys."""
    while cursor.key is not None:
        if cursor.rank == ENTRY:
            yield cursor.key, cursor.entry
            cursor.skip()
        else:
            cursor.enter()
