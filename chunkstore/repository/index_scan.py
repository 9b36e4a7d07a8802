"""Going through the whole local index, for those who ask what is in use: rows stream, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from chunkstore.ids import PackId
from chunkstore.repository.id_buckets import BUCKETS
from chunkstore.repository.local_index import LocalIndex


class PackRow(NamedTuple):
    """A pack: its number here, its id, its kind (a content or a tree pack) and its size in bytes."""

    no: int
    pack_id: PackId
    plane: int
    size: int


class FrameRow(NamedTuple):
    """A frame: its number here, the number of its pack, its length in the pack and its raw length in bytes."""

    no: int
    pack: int
    offset: int
    stored: int
    raw: int


class IndexScan:
    """Reads what the local index holds; it must not be changed while an iteration goes on."""

    def __init__(self, index: LocalIndex) -> None:
        self._file = index.file
        self._db = index.file.db

    def highest_frame(self) -> int:
        """The highest number of a frame; 0 when there is none."""
        with self._file.guarded():
            return self._db.execute("SELECT coalesce(max(no), 0) FROM frames").fetchone()[0]  # type: ignore[no-any-return]

    def highest_pack(self) -> int:
        """The highest number of a pack; 0 when there is none."""
        with self._file.guarded():
            return self._db.execute("SELECT coalesce(max(no), 0) FROM packs").fetchone()[0]  # type: ignore[no-any-return]

    def chunks(self, bucket: int) -> Iterator[tuple[bytes, int, int]]:
        """(id, frame, length) of the chunks whose id begins with this byte, in the order of ids, then of frames."""
        end = bytes([bucket + 1]) if bucket + 1 < BUCKETS else b"\xff" * 33
        query = "SELECT id, frame, length FROM chunks WHERE id>=? AND id<? ORDER BY id, frame"
        with self._file.guarded():
            yield from self._db.execute(query, (bytes([bucket]), end))

    def frames(self) -> Iterator[FrameRow]:
        """All frames, in the order of their numbers; those of one pack stand together."""
        with self._file.guarded():
            query = "SELECT no, pack, offset, stored, raw FROM frames ORDER BY no"
            yield from map(FrameRow._make, self._db.execute(query))

    def packs(self) -> Iterator[PackRow]:
        """All packs, in the order of their ids, as a storage lists them."""
        with self._file.guarded():
            query = "SELECT no, id, plane, size FROM packs ORDER BY id"
            yield from map(PackRow._make, self._db.execute(query))

    def sources_of(self, marked: bytearray) -> set[str]:
        """The names of the index objects that name a pack whose number is marked with something but 0."""
        found: set[str] = set()
        with self._file.guarded():
            query = "SELECT s.name, n.pack FROM sources s JOIN named n ON n.source=s.no"
            found.update(name for name, pack in self._db.execute(query) if marked[pack])
        return found
