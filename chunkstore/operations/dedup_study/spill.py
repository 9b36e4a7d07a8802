"""Where a study keeps what does not fit into memory: records of chunks and names of files, in unnamed temporary files."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import TypeAlias

from chunkstore.errors import StorageFull

DIGEST = 12
"""Bytes of a BLAKE3 hash that are kept: among 20 million chunks two are mistaken for one in 1 of 10**14 studies."""
RECORD = struct.Struct(f">{DIGEST}sQI")
"""Digest, length, number of the file."""
_NUMBERED = struct.Struct(f">{DIGEST}sQIQ")
_AT = struct.Struct(">QI")
_BLOCK = 64 << 10

Numbered: TypeAlias = tuple[bytes, int, int, int]
"""Digest, length, number of the file, place in the stream."""


class _Temporary:
    """An unnamed file that grows at its end. `StorageFull` where it can not: that must not pass for an error of a source."""

    def __init__(self, scratch: str | None) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch, buffering=0)  # noqa: SIM115  closed in close
        self.end = 0

    def append(self, data: bytes | bytearray) -> None:
        rest = bytes(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as e:
            raise StorageFull(f"can not write a temporary file: {e.strerror}. TMPDIR says where it is") from e
        self.end += len(data)

    def read(self, start: int, length: int) -> bytes:
        data = os.pread(self._file.fileno(), length, start)
        if len(data) != length:
            raise StorageFull("a temporary file was cut short")
        return data

    def close(self) -> None:
        self._file.close()


class Records:
    """The chunks that one chunker made, in the order of the walk: `RECORD` each, 24 bytes on disk and none in memory."""

    def __init__(self, scratch: str | None) -> None:
        self._scratch = scratch
        self._file = _Temporary(scratch)
        self._open = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, records: bytes) -> None:
        """Some records, joined."""
        self._open += records
        self._count += len(records) // RECORD.size
        if len(self._open) >= _BLOCK:
            self._file.append(self._open)
            self._open.clear()

    def __iter__(self) -> Iterator[tuple[bytes, int, int]]:
        for start in range(0, self._file.end, RECORD.size * 4096):
            length = min(RECORD.size * 4096, self._file.end - start)
            yield from RECORD.iter_unpack(self._file.read(start, length))
        yield from RECORD.iter_unpack(bytes(self._open))

    def apart(self, at_most: int) -> Iterator[Iterator[Numbered]]:
        """The records in parts of about `at_most`; records of one digest are in one part, in the order of the stream."""
        parts = -(-self._count // at_most)
        if parts <= 1:
            yield ((*record, number) for number, record in enumerate(self))
            return
        buckets = _Buckets(parts, self._scratch)
        try:
            for number, record in enumerate(self):
                buckets.add(int.from_bytes(record[0][:4], "big") % parts, _NUMBERED.pack(*record, number))
            for part in range(parts):
                yield buckets.records(part)
        finally:
            buckets.close()

    def close(self) -> None:
        self._file.close()


class _Buckets:
    """Numbered records, apart, in one temporary file."""

    def __init__(self, parts: int, scratch: str | None) -> None:
        self._file = _Temporary(scratch)
        self._open = [bytearray() for _ in range(parts)]
        self._blocks: list[list[tuple[int, int]]] = [[] for _ in range(parts)]

    def add(self, part: int, record: bytes) -> None:
        bucket = self._open[part]
        bucket += record
        if len(bucket) >= _BLOCK // 4:
            self._blocks[part].append((self._file.end, len(bucket)))
            self._file.append(bucket)
            bucket.clear()

    def records(self, part: int) -> Iterator[Numbered]:
        for start, length in self._blocks[part]:
            yield from _NUMBERED.iter_unpack(self._file.read(start, length))
        yield from _NUMBERED.iter_unpack(bytes(self._open[part]))

    def close(self) -> None:
        self._file.close()


class Paths:
    """The paths of the files that were read, by their numbers, which begin at 0."""

    def __init__(self, scratch: str | None) -> None:
        self._names = _Temporary(scratch)
        self._places = _Temporary(scratch)
        self._open_names = bytearray()
        self._open_places = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, path: bytes) -> int:
        """Keep a path; its number."""
        self._open_places += _AT.pack(self._names.end + len(self._open_names), len(path))
        self._open_names += path
        if len(self._open_names) >= _BLOCK:
            self._write()
        self._count += 1
        return self._count - 1

    def __getitem__(self, number: int) -> bytes:
        self._write()
        return self._names.read(*_AT.unpack(self._places.read(number * _AT.size, _AT.size)))

    def _write(self) -> None:
        for file, pending in ((self._names, self._open_names), (self._places, self._open_places)):
            if pending:
                file.append(pending)
                pending.clear()

    def close(self) -> None:
        self._names.close()
        self._places.close()

    def __enter__(self) -> Paths:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Bits:
    """Yes or no for each of so many numbers: 1 bit each."""

    def __init__(self, count: int) -> None:
        self._bits = bytearray(-(-count // 8))

    def set(self, number: int) -> None:
        self._bits[number >> 3] |= 1 << (number & 7)

    def __getitem__(self, number: int) -> bool:
        return bool(self._bits[number >> 3] >> (number & 7) & 1)
