"""What processes that write files of one restore are told, and answer, through pipes; nothing of it is ever stored.

A batch is the length of its heads (4 bytes, big-endian), the heads (a msgpack stream: of each file an array of path, length,
mode, uid, gid, mtime and extras) and the contents of the files, joined. The answer is a msgpack array: what
could not be set and how often; and for each file that failed its number, whether the target is full, and the error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgpack

from chunkstore.format.entries import FILE, Entry


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


def encode_heads(heads: Iterable[bytes]) -> tuple[bytes, bytes]:
    """A batch, but for the contents that follow."""
    joined = b"".join(heads)
    return len(joined).to_bytes(4, "big"), joined


def decode_batch(batch: memoryview) -> Iterator[tuple[bytes, memoryview, Entry]]:
    """Path, content and entry of each file."""
    at = 4 + int.from_bytes(batch[:4], "big")
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=at)
    unpacker.feed(batch[4:at])
    for relative, size, mode, uid, gid, mtime_ns, extra in unpacker:
        entry = Entry(relative, FILE, mode, uid, gid, mtime_ns, 0, 0, size, 1, extra)
        yield relative, batch[at : at + size], entry
        at += size


def encode_answer(not_set: dict[str, int], failures: Sequence[Failure]) -> bytes:
    """What became of a batch."""
    return msgpack.packb((not_set, failures))  # type: ignore[no-any-return]


def decode_answer(data: bytes | bytearray) -> Answer:
    """What was said of a batch."""
    not_set, failures = msgpack.unpackb(data)
    return Answer(not_set, [Failure(*each) for each in failures])
