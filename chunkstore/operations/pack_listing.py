"""Which packs the storage has, kept in a temporary file in the order of their ids, to be compared with the index later."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from chunkstore.errors import StorageError
from chunkstore.format import names
from chunkstore.ids import PackId
from chunkstore.progress import Progress
from chunkstore.repository.index_scan import IndexScan, PackRow
from chunkstore.storage import Storage

_ROW = struct.Struct(">32sQ")
_AT_ONCE = 4096


class ListedPack(NamedTuple):
    """A pack in the storage, and its size in bytes."""

    pack_id: PackId
    size: int


class PackListing:
    """One listing of all packs. Objects below `packs/` with other names are reported and left alone."""

    def __init__(self, storage: Storage, directory: Path, progress: Progress) -> None:
        """Lists now. `StorageError` when the listing is not in order: then nothing may be concluded from it."""
        self.count = 0
        self.size = 0
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 (closed in close)
        try:
            self._list(storage, progress)
        except BaseException:
            self._file.close()
            raise

    def _list(self, storage: Storage, progress: Progress) -> None:
        last = b""
        for info in storage.list(names.PACKS):
            pack_id = names.pack_id(info.name)
            if pack_id is None:
                progress.warn(f"not a pack, left alone: {info.name}")
                continue
            if pack_id <= last:
                raise StorageError(f"{storage.location} lists its packs out of order; nothing can be told from that")
            last = pack_id
            self._file.write(_ROW.pack(pack_id, info.size))
            self.count += 1
            self.size += info.size

    def __iter__(self) -> Iterator[ListedPack]:
        self._file.seek(0)
        while block := self._file.read(_ROW.size * _AT_ONCE):
            for pack_id, size in _ROW.iter_unpack(block):
                yield ListedPack(PackId(pack_id), size)

    def matched(self, scan: IndexScan) -> Iterator[tuple[ListedPack, PackRow | None]]:
        """Every listed pack with what the index says of it, None where it says nothing."""
        rows = scan.packs()
        row = next(rows, None)
        for pack in self:
            while row is not None and row.pack_id < pack.pack_id:
                row = next(rows, None)
            yield pack, row if row is not None and row.pack_id == pack.pack_id else None

    def compared(self, scan: IndexScan) -> tuple[bytearray, Iterator[ListedPack]]:
        """For each pack of the index, by its number, 1 where the storage has it; and the packs that are in no index."""
        there = bytearray(scan.highest_pack() + 1)
        rows = scan.packs()
        row = next(rows, None)
        for pack in self:
            while row is not None and row.pack_id < pack.pack_id:
                row = next(rows, None)
            if row is not None and row.pack_id == pack.pack_id:
                there[row.no] = 1
        return there, self._unindexed(scan)

    def _unindexed(self, scan: IndexScan) -> Iterator[ListedPack]:
        rows = scan.packs()
        row = next(rows, None)
        for pack in self:
            while row is not None and row.pack_id < pack.pack_id:
                row = next(rows, None)
            if row is None or row.pack_id != pack.pack_id:
                yield pack

    def close(self) -> None:
        """Forget the listing."""
        self._file.close()

    def __enter__(self) -> PackListing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
