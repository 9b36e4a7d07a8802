"""The two small trees over a manifest: the content tree (names, content plane) and the reference tree (ids, ledger plane).

Both have the same shape, node for node and child for child. A content node holds, for each child, the first path below
it and nothing else; a reference node holds the ids. So every id stands in one place only, the prune's view of what is
live can not differ from the reader's, and one path is found by bisecting content nodes.

Content node (chunk of kind manifest), msgpack array: `["C", level, [[parent, name], ...]]`.

Reference node (chunk of kind reference), msgpack array: `["R", level, [child, ...]]` where a child is
- at level 0, one manifest segment: `[segment id, segment length, [[run id, ids in the run], ...]]`
- above: `[content node id, reference node id]`.

Reference run (chunk of kind reference): `b"I"` and 32 bytes for each content chunk id, in the order of the entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chunkstore.errors import Damaged
from chunkstore.format.entries import MAX_NAME, MAX_PATH, MAX_SEGMENT
from chunkstore.format.wire import Buffer, pack, unpack
from chunkstore.ids import ID_SIZE, ChunkId

MAX_RUN = 16384
"""Ids in one reference run, at most."""
MAX_CHILDREN = 4096
MAX_LEVEL = 16

PathKey = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class RunRef:
    """A reference run and how many chunk ids are in it."""

    run_id: ChunkId
    count: int


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A manifest segment: its id, its length in bytes, and the runs with the ids of its entries' chunks."""

    segment_id: ChunkId
    length: int
    runs: tuple[RunRef, ...]


@dataclass(frozen=True, slots=True)
class NodeRef:
    """A pair of inner nodes, one of each tree."""

    content_id: ChunkId
    reference_id: ChunkId


@dataclass(frozen=True, slots=True)
class ContentNode:
    """`keys[i]` is the (parent, name) of the first entry below child i."""

    level: int
    keys: tuple[PathKey, ...]


@dataclass(frozen=True, slots=True)
class ReferenceNode:
    """`children[i]` belongs to `keys[i]` of the content node beside it."""

    level: int
    children: tuple[SegmentRef, ...] | tuple[NodeRef, ...]


def encode_content_node(node: ContentNode) -> bytes:
    return pack(["C", node.level, [list(key) for key in node.keys]])


def decode_content_node(data: Buffer) -> ContentNode:
    level, children = _node(data, "C")
    keys = []
    for child in children:
        if type(child) is not list or [type(x) for x in child] != [bytes, bytes]:
            raise Damaged("content node is malformed")
        if len(child[0]) > MAX_PATH or len(child[1]) > MAX_NAME:
            raise Damaged("content node is malformed")
        keys.append((child[0], child[1]))
    return ContentNode(level, tuple(keys))


def encode_reference_node(node: ReferenceNode) -> bytes:
    children: list[Any] = []
    for child in node.children:
        if isinstance(child, SegmentRef):
            children.append([child.segment_id, child.length, [[r.run_id, r.count] for r in child.runs]])
        else:
            children.append([child.content_id, child.reference_id])
    return pack(["R", node.level, children])


def decode_reference_node(data: Buffer) -> ReferenceNode:
    level, children = _node(data, "R")
    if level == 0:
        return ReferenceNode(level, tuple(_segment(child) for child in children))
    return ReferenceNode(level, tuple(_inner(child) for child in children))


def encode_run(ids: Sequence[bytes]) -> bytes:
    """One reference run; `ids` may be ids or already joined pieces of them."""
    return b"I" + b"".join(ids)


def decode_run(data: Buffer, count: int) -> bytes:
    """The joined ids of a run, which must be `count`."""
    data = bytes(data)
    if data[:1] != b"I" or len(data) != 1 + count * ID_SIZE:
        raise Damaged("reference run is malformed")
    return data[1:]


def _node(data: Buffer, tag: str) -> tuple[int, list[Any]]:
    value = unpack(data)
    if type(value) is not list or len(value) != 3 or value[0] != tag:
        raise Damaged("tree node is malformed")
    _, level, children = value
    if type(level) is not int or not 0 <= level <= MAX_LEVEL or type(children) is not list:
        raise Damaged("tree node is malformed")
    if not 0 < len(children) <= MAX_CHILDREN:
        raise Damaged("tree node without children, or with too many")
    return level, children


def _id(value: object) -> ChunkId:
    if type(value) is not bytes or len(value) != ID_SIZE:
        raise Damaged("malformed chunk id")
    return ChunkId(value)


def _segment(child: object) -> SegmentRef:
    if type(child) is not list or len(child) != 3 or type(child[1]) is not int or type(child[2]) is not list:
        raise Damaged("reference node is malformed")
    if not 0 < child[1] <= MAX_SEGMENT:
        raise Damaged("manifest segment of an impossible length")
    return SegmentRef(_id(child[0]), child[1], tuple(_run(run) for run in child[2]))


def _run(run: object) -> RunRef:
    if type(run) is not list or len(run) != 2 or type(run[1]) is not int or not 0 < run[1] <= MAX_RUN:
        raise Damaged("reference node is malformed")
    return RunRef(_id(run[0]), run[1])


def _inner(child: object) -> NodeRef:
    if type(child) is not list or len(child) != 2:
        raise Damaged("reference node is malformed")
    return NodeRef(_id(child[0]), _id(child[1]))
