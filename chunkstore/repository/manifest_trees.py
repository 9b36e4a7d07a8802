"""The two trees over the segments of a manifest, of content and of references, which have the same shape.

Nodes end by the bits of what they hold, so that they come back in the same places.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from chunkstore.format.tree_nodes import (
    ContentNode,
    NodeRef,
    PathKey,
    ReferenceNode,
    SegmentRef,
    encode_content_node,
    encode_reference_node,
)
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind

NODE_MIN, NODE_MAX = 16, 256
_NODE_MASK = 63
_NODE_BYTES = 256 << 10


class ChunkSink(Protocol):
    """Where manifest and reference chunks go."""

    def add(self, kind: ChunkKind, data: bytes | memoryview) -> ChunkId: ...


@dataclass(frozen=True, slots=True)
class Roots:
    """The ids of the two top nodes: what a record refers to."""

    content: ChunkId
    reference: ChunkId


@dataclass(slots=True)
class _OpenNode:
    keys: list[PathKey] = field(default_factory=list)
    children: list[SegmentRef | NodeRef] = field(default_factory=list)
    size: int = 0
    emitted: int = 0


class Trees:
    """The content tree and the reference tree, which have the same shape."""

    def __init__(self, sink: ChunkSink) -> None:
        self._sink = sink
        self._levels: list[_OpenNode] = []

    def copy(self) -> Trees:
        """Trees of the same segments that can be finished while these grow."""
        copy = Trees(self._sink)
        copy._levels = [replace(node, keys=[*node.keys], children=[*node.children]) for node in self._levels]
        return copy

    def add(self, first: PathKey, ref: SegmentRef) -> None:
        """The next segment, which begins with this entry."""
        self._add_child(0, first, ref, 40 * len(ref.runs))

    def _add_child(self, level: int, key: PathKey, child: SegmentRef | NodeRef, extra: int) -> None:
        if level == len(self._levels):
            self._levels.append(_OpenNode())
        node = self._levels[level]
        node.keys.append(key)
        node.children.append(child)
        node.size += len(key[0]) + len(key[1]) + 80 + extra
        count = len(node.keys)
        bits = child.segment_id[0] if isinstance(child, SegmentRef) else child.content_id[0]
        cut = count >= NODE_MIN and bits & _NODE_MASK == 0
        if cut or count >= NODE_MAX or (count > 1 and node.size >= _NODE_BYTES):
            self._end_node(level)

    def _end_node(self, level: int) -> None:
        pair = self._store_node(level)
        node = self._levels[level]
        first = node.keys[0]
        self._levels[level] = _OpenNode(emitted=node.emitted + 1)
        self._add_child(level + 1, first, pair, 0)

    def _store_node(self, level: int) -> NodeRef:
        node = self._levels[level]
        content = encode_content_node(ContentNode(level, tuple(node.keys)))
        reference = encode_reference_node(ReferenceNode(level, tuple(node.children)))  # type: ignore[arg-type]
        return NodeRef(self._sink.add(ChunkKind.MANIFEST, content), self._sink.add(ChunkKind.REFERENCE, reference))

    def finish(self) -> Roots:
        """End all nodes; the roots of trees with at least one segment."""
        level = 0
        while True:
            node = self._levels[level]
            if level == len(self._levels) - 1 and not node.emitted:
                top = self._store_node(level)
                return Roots(top.content_id, top.reference_id)
            if node.keys:
                self._end_node(level)
            level += 1
