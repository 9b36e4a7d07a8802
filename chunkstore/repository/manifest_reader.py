"""From the two roots of a record to entries and their chunk ids, streaming."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

from chunkstore.errors import Damaged
from chunkstore.format.entries import Components, Entry, components, decode_segment, sort_key
from chunkstore.format.owners import NO_OWNERS, Owners
from chunkstore.format.tree_nodes import (
    NodeRef,
    SegmentRef,
    decode_content_node,
    decode_reference_node,
    decode_run,
)
from chunkstore.ids import ID_SIZE, ChunkId
from chunkstore.keys.derivation import ChunkKind

Key = tuple[Components, bytes]
_START: Key = ((), b"")


class ChunkSource(Protocol):
    """Where manifest and reference chunks come from."""

    def read(self, kind: ChunkKind, chunk_id: ChunkId) -> bytes: ...


class ManifestEntry(NamedTuple):
    """An entry, where it is, where its chunk ids begin among those of its segment, and the segment's names of owners."""

    parent: bytes
    entry: Entry
    segment: SegmentRef
    first_id: int
    owners: Owners = NO_OWNERS

    @property
    def path(self) -> bytes:
        name = self.entry.name
        if not name:
            return self.parent
        return self.parent + name if self.parent == b"/" else self.parent + b"/" + name


class Node(NamedTuple):
    """A pair of nodes, read: the first keys of the children, and the children."""

    level: int
    keys: list[Key]
    children: tuple[SegmentRef, ...] | tuple[NodeRef, ...]


class ManifestReader:
    """One snapshot's manifest. Everything is checked while it is read; `Damaged` where it is not whole."""

    def __init__(self, source: ChunkSource, content_root: ChunkId, reference_root: ChunkId) -> None:
        self._source = source
        self.root = NodeRef(content_root, reference_root)
        self._last_run: tuple[ChunkId, bytes] = (ChunkId(b""), b"")

    def entries(self) -> Iterator[ManifestEntry]:
        """All entries, in order."""
        return self._from(_START)

    def find(self, path: bytes) -> ManifestEntry | None:
        """The entry of this absolute path, read without the rest of the manifest."""
        parts = components(path)
        key: Key = (parts[:-1], parts[-1]) if parts else _START
        for found in self._from(key):
            return found if sort_key(found.parent, found.entry.name) == key else None
        return None

    def below(self, path: bytes) -> Iterator[ManifestEntry]:
        """All entries inside the directory `path`, at any depth, in order; not the directory itself."""
        parts = components(path)
        inside = b"/" if path == b"/" else path + b"/"
        for found in self._from((parts, b"")):
            if found.parent != path and not found.parent.startswith(inside):
                return
            if found.entry.name:
                yield found

    def children(self, path: bytes) -> Iterator[ManifestEntry]:
        """The entries directly in `path`."""
        for found in self._from((components(path), b"")):
            if found.parent != path:
                return
            if found.entry.name:
                yield found

    def ids(self, found: ManifestEntry) -> Iterator[bytes]:
        """The chunk ids of an entry, joined, in pieces of bounded size."""
        start, left = found.first_id, found.entry.chunks
        for run in found.segment.runs:
            if not left:
                return
            if start >= run.count:
                start -= run.count
                continue
            ids = self._run(run.run_id, run.count)
            piece = ids[start * ID_SIZE : (start + left) * ID_SIZE]
            left -= len(piece) // ID_SIZE
            start = 0
            yield piece
        if left:
            raise Damaged("the manifest's references end too early")

    def _run(self, run_id: ChunkId, count: int) -> bytes:
        if self._last_run[0] != run_id:
            self._last_run = run_id, decode_run(self._source.read(ChunkKind.REFERENCE, run_id), count)
        return self._last_run[1]

    def node(self, ref: NodeRef, level: int | None = None, first: Key | None = None) -> Node:
        """What is below a pair of nodes, which must be of this level and begin with this key where they are given."""
        content = decode_content_node(self._source.read(ChunkKind.MANIFEST, ref.content_id))
        reference = decode_reference_node(self._source.read(ChunkKind.REFERENCE, ref.reference_id))
        same = content.level == reference.level and len(content.keys) == len(reference.children)
        if not same or (level is not None and content.level != level):
            raise Damaged("the manifest's two trees differ")
        keys = [sort_key(parent, name) for parent, name in content.keys]
        if any(a >= b for a, b in pairwise(keys)) or (first is not None and keys[0] != first):
            raise Damaged("the manifest's tree is out of order")
        return Node(content.level, keys, reference.children)

    def segment(self, ref: SegmentRef, first: Key) -> Iterator[tuple[Key, ManifestEntry]]:
        """The entries of a segment, which must begin with this key, with their keys."""
        data = self._source.read(ChunkKind.MANIFEST, ref.segment_id)
        if len(data) != ref.length:
            raise Damaged("manifest segment has another length than its reference says")
        at = 0
        parent, parts = b"", first[0]
        expected: Key | None = first
        owners, entries = decode_segment(data)
        for directory, entry in entries:
            if directory is not parent:
                parent, parts = directory, components(directory)
            key = parts, entry.name
            if expected is not None and key != expected:
                raise Damaged("manifest segment begins with another path than its tree says")
            expected = None
            yield key, ManifestEntry(directory, entry, ref, at, owners)
            at += entry.chunks
        if at != sum(run.count for run in ref.runs):
            raise Damaged("the manifest and its references differ")

    def _from(self, key: Key) -> Iterator[ManifestEntry]:
        """All entries that are not before `key`."""
        last: Key | None = None
        for first, segment in self._segments(self.root, key, None, None):
            for here, found in self.segment(segment, first):
                if last is not None and here <= last:
                    raise Damaged("manifest segments are out of order")
                last = here
                if here >= key:
                    yield found

    def _segments(
        self, ref: NodeRef, key: Key, level: int | None, first: Key | None
    ) -> Iterator[tuple[Key, SegmentRef]]:
        """The segments below a pair of nodes that may hold something not before `key`."""
        node = self.node(ref, level, first)
        at = max(bisect_right(node.keys, key) - 1, 0)
        for first_below, child in zip(node.keys[at:], node.children[at:], strict=True):
            if isinstance(child, SegmentRef):
                yield first_below, child
            elif isinstance(child, NodeRef):
                yield from self._segments(child, key, node.level - 1, first_below)
