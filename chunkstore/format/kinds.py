"""What every stored object begins with, and which kinds of objects there are.

| bytes | what |
|---|---|
| 8 | magic `CHUNKSTO` |
| 1 | version of the object, now 1 |
| 1 | kind |
| 2 | required flags, big-endian: a reader that does not know one refuses the object |
| 32 | repository id |
"""

from __future__ import annotations

import struct
from enum import IntEnum

from chunkstore.errors import Damaged, UnsupportedFormat
from chunkstore.ids import RepositoryId

MAGIC = b"CHUNKSTO"
VERSION = 1
PREFIX = struct.Struct(">8sBBH32s")
KNOWN_FLAGS = 0


class ObjectKind(IntEnum):
    """The kinds of stored objects."""

    CONFIG = 1
    RECIPIENTS = 2
    SEALED_KEY = 3
    CONTENT_PACK = 4
    TREE_PACK = 5
    RUN_INDEX = 6
    INDEX_SEGMENT = 7
    GENERATION = 8
    SNAPSHOT = 9
    TOMBSTONE = 10
    AMENDMENT = 11
    SESSION = 12
    PLAN = 13
    PLAN_DONE = 14
    PACK_TABLE = 15


def prefix(kind: ObjectKind, repository_id: RepositoryId) -> bytes:
    """The 44 bytes an object begins with."""
    return PREFIX.pack(MAGIC, VERSION, kind, 0, repository_id)


def read_prefix(data: bytes | memoryview, name: str) -> tuple[int, RepositoryId]:
    """(kind, repository id) of the object called `name`; refuses what this version can not know."""
    if len(data) < PREFIX.size:
        raise Damaged("is cut off", name)
    magic, version, kind, flags, repository_id = PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise Damaged("is not a chunkstore object", name)
    if version != VERSION:
        raise UnsupportedFormat(
            f"{name} has format version {version}; this chunkstore knows version {VERSION}. "
            f"Install a chunkstore that knows format version {version}"
        )
    if flags & ~KNOWN_FLAGS:
        raise UnsupportedFormat(f"{name} needs features {flags & ~KNOWN_FLAGS:#06x} of a newer chunkstore")
    return kind, RepositoryId(repository_id)


def check_prefix(
    data: bytes | memoryview, name: str, kinds: tuple[ObjectKind, ...], repository_id: RepositoryId
) -> ObjectKind:
    """The kind of the object, which must be one of `kinds` and belong to this repository."""
    kind, owner = read_prefix(data, name)
    if kind not in kinds:
        raise Damaged("is an object of another kind", name)
    if owner != repository_id:
        raise Damaged("belongs to another repository", name)
    return ObjectKind(kind)
