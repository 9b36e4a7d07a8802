"""What processes that write files of one restore are told, and answer, through pipes; nothing of it is ever stored.

A batch is the length of its heads and of its contents (4 bytes each, big-endian), the heads (a msgpack stream: of each file
an array of path, length, mode, uid, gid, mtime and extras) and the contents, joined. The answer is a msgpack array: what
could not be set and how often; and for each file that failed its number, whether the target is full, and the error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgpack

from chunkstore.format.entries import FILE, Entry

SIZES = 8
"""Bytes that a batch begins with."""


class Failure(NamedTuple):
    """A file that could not be written. `full`: nor can any other."""

    number: int
    full: bool
    message: str


class Answer(NamedTuple):
    """What became of a batch."""

    not_set: dict[str, int]
    failures: list[Failure]


class Heads:
    """Encodes what is said of a file before its content."""

    def __init__(self) -> None:
        self._pack = msgpack.Packer().pack

    def encode(self, relative: bytes, size: int, entry: Entry) -> bytes:
        """Raises `OverflowError` for a time of more than 64 bits."""
        head = (relative, size, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.extra)
        return self._pack(head)  # type: ignore[no-any-return]


def encode_batch(heads: Iterable[bytes], contents: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """A batch of files."""
    head, content = b"".join(heads), b"".join(contents)
    return b"".join((len(head).to_bytes(4, "big"), len(content).to_bytes(4, "big"), head, content))


def decode_sizes(data: bytes) -> tuple[int, int]:
    """Of the heads and the contents that follow."""
    return int.from_bytes(data[:4], "big"), int.from_bytes(data[4:], "big")


def decode_files(heads: bytes, contents: memoryview) -> Iterator[tuple[bytes, memoryview, Entry]]:
    """Path, content and entry of each file of a batch."""
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=len(heads))
    unpacker.feed(heads)
    at = 0
    for relative, size, mode, uid, gid, mtime_ns, extra in unpacker:
        entry = Entry(relative, FILE, mode, uid, gid, mtime_ns, 0, 0, size, 1, extra)
        yield relative, contents[at : at + size], entry
        at += size


def encode_answer(not_set: dict[str, int], failures: Sequence[Failure]) -> bytes:
    """What became of a batch."""
    return msgpack.packb((not_set, failures))  # type: ignore[no-any-return]


class Answers:
    """Puts answers together again."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker()

    def feed(self, data: bytes) -> Answer | None:
        """The answer that these bytes complete; None while it is not."""
        self._unpacker.feed(data)
        for not_set, failures in self._unpacker:
            return Answer(not_set, [Failure(*each) for each in failures])
        return None
