"""The local copy of the index: chunk id -> where it is, in sqlite, so that memory stays constant.

It is a cache: everything in it comes from index objects, by name, and can be fetched again. It equals the newest
generation plus the run indexes that generation has not absorbed.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from chunkstore.format.pack import PackInfo, Slot, SlotType
from chunkstore.ids import ChunkId, PackId, RepositoryId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.repository.index_file import IndexFile
from chunkstore.repository.places import Places

_FRAME = (
    "SELECT p.id, p.size, s.type, s.key_id, s.opener, s.sealed, f.kind, f.offset, f.stored, f.raw FROM frames f "
    "JOIN packs p ON p.no=f.pack JOIN slots s ON s.pack=f.pack AND s.no=f.slot WHERE f.no=?"
)


_AT_ONCE = 500
"""Ids in one query; sqlite may have been built to take no more than 999."""


class FrameAt(NamedTuple):
    """A frame: its number here, the pack it is in, how it opens and where it stands (bytes)."""

    no: int
    pack_id: PackId
    pack_size: int
    slot: Slot
    kind: ChunkKind
    offset: int
    stored: int
    raw: int


class ChunkAt(NamedTuple):
    """A chunk: the number of its frame, and where it is in the frame's raw bytes."""

    frame: int
    offset: int
    length: int


class LocalIndex:
    """Used by one thread. A file that sqlite can not read is thrown away and built anew."""

    def __init__(self, path: Path) -> None:
        self._file = IndexFile(path)
        self._db = self._file.db
        self._guarded = self._file.guarded
        self._lookup = self._db.cursor()
        self._condemned = self._everything = False
        self._reading = False

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._end_reading()
        self._file.close()

    # -- what is in it

    @property
    def file(self) -> IndexFile:
        """The database, for who goes through all of it."""
        return self._file

    def sources(self) -> set[str]:
        """Names of the index objects whose rows are here."""
        with self._guarded():
            return {name for (name,) in self._db.execute("SELECT name FROM sources")}

    @property
    def generation(self) -> int:
        """Number of the generation it was last brought in line with; 0 before the first."""
        return self._fact("generation")

    @property
    def losses(self) -> int:
        """A number that is another one whenever rows have gone since, or the whole index was built anew."""
        return self._fact("losses")

    def _fact(self, name: str) -> int:
        with self._guarded():
            row = self._db.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
            return row[0] if row else 0

    def chunk_count(self) -> int:
        """Rows; counts them all, so not for hot paths."""
        return self._db.execute("SELECT count(*) FROM chunks").fetchone()[0]  # type: ignore[no-any-return]

    def is_empty(self) -> bool:
        return self._db.execute("SELECT 1 FROM chunks LIMIT 1").fetchone() is None

    def packs(self) -> Iterator[tuple[PackId, int]]:
        """(id, size) of every pack."""
        yield from self._db.execute("SELECT id, size FROM packs")

    # -- bringing it in line

    def change(self, work: Callable[[], None]) -> None:
        """Run `work` in one transaction: readers see all of it or nothing."""
        with self._guarded():
            self._end_reading()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                work()
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _begin_reading(self) -> None:
        """Look-ups between two changes share one transaction: on its own each would lock and unlock files."""
        self._reading = True
        self._db.execute("BEGIN")

    def hold_still(self) -> None:
        """What is read from now on is of one moment, whatever other processes add, until this one changes something."""
        with self._guarded():
            if not self._reading:
                self._begin_reading()
            self._lookup.execute("SELECT value FROM facts WHERE name='version'").fetchone()

    def _end_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._db.execute("COMMIT")

    def set_generation(self, number: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES('generation', ?)", (number,))

    def add_own(self, name: str, packs: Sequence[PackInfo], generation: int) -> bool:
        """Rows of an index object that this process has just stored in a session which synced `generation`.

        False, and nothing is added, when another process has moved the index to another generation: that may have
        dropped these very packs, if a prune took this session for dead.
        """
        if self.generation != generation:
            return False
        self.add_source(name, packs)
        self._db.executemany("INSERT OR IGNORE INTO trusted VALUES(?)", [(each.pack_id,) for each in packs])
        return True

    def has_any(self, packs: Iterable[PackId]) -> bool:
        """Whether rows of one of these packs are here."""
        with self._guarded():
            query = "SELECT 1 FROM packs WHERE id=?"
            return any(self._db.execute(query, (each,)).fetchone() is not None for each in packs)

    def add_source(self, name: str, packs: Iterable[PackInfo]) -> None:
        """Rows of one index object. A pack that is known already is named by one more."""
        self._db.execute("INSERT OR IGNORE INTO sources(name) VALUES(?)", (name,))
        source = self._db.execute("SELECT no FROM sources WHERE name=?", (name,)).fetchone()[0]
        for info in packs:
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO packs(id, plane, size) VALUES(?,?,?)",
                (info.pack_id, int(info.plane), info.size),
            )
            if cursor.rowcount:
                self._add_pack(cursor.lastrowid or 0, info)
            self._db.execute("INSERT OR IGNORE INTO named SELECT ?, no FROM packs WHERE id=?", (source, info.pack_id))

    def _add_pack(self, pack: int, info: PackInfo) -> None:
        self._db.executemany(
            "INSERT INTO slots VALUES(?,?,?,?,?,?)",
            [(pack, no, int(s.type), s.key_id, s.opener, s.sealed) for no, s in enumerate(info.slots)],
        )
        rows = []
        for frame in info.frames:
            cursor = self._db.execute(
                "INSERT INTO frames(pack, slot, kind, offset, stored, raw) VALUES(?,?,?,?,?,?)",
                (pack, frame.slot, int(frame.kind), frame.offset, frame.stored, frame.raw),
            )
            at, no = 0, cursor.lastrowid
            for chunk_id, length in zip(frame.ids, frame.lengths, strict=True):
                rows.append((chunk_id, no, at, length))
                at += length
        rows.sort()
        self._db.executemany("INSERT OR IGNORE INTO chunks VALUES(?,?,?,?)", rows)

    def keep_sources(self, wanted: set[str]) -> None:
        """Drop every other source, and the rows of packs that no source names any more."""
        self.drop_sources(self.sources() - wanted)

    def drop_sources(self, gone: Iterable[str]) -> None:
        """Drop these sources, and the rows of packs that no other source names."""
        names = [(name,) for name in gone]
        if not names:
            return
        self._db.executemany("DELETE FROM sources WHERE name=?", names)
        self._db.execute("DELETE FROM named WHERE source NOT IN (SELECT no FROM sources)")
        self._drop_packs("no NOT IN (SELECT pack FROM named)")

    def drop_packs(self, ids: Iterable[PackId]) -> None:
        """Drop these packs, whatever index object names them."""
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS gone(id BLOB PRIMARY KEY)")
        self._db.execute("DELETE FROM gone")
        self._db.executemany("INSERT OR IGNORE INTO gone VALUES(?)", [(each,) for each in ids])
        self._drop_packs("id IN (SELECT id FROM gone)")

    def _drop_packs(self, which: str) -> None:
        dead = f"SELECT no FROM packs WHERE {which}"  # noqa: S608  a constant of this module
        if self._db.execute(f"{dead} LIMIT 1").fetchone() is None:
            return
        frames = f"SELECT no FROM frames WHERE pack IN ({dead})"  # noqa: S608
        self._db.execute(f"DELETE FROM chunks WHERE frame IN ({frames})")  # noqa: S608
        for table in ("frames", "slots", "named"):
            self._db.execute(f"DELETE FROM {table} WHERE pack IN ({dead})")  # noqa: S608
        self._db.execute(f"DELETE FROM packs WHERE {which}")  # noqa: S608
        self._db.execute("UPDATE facts SET value=value+1 WHERE name='losses'")

    # -- asking

    def condemn(self, packs: Iterable[PackId], *, everything: bool = False) -> None:
        """From now on `knows` does not count chunks in these packs (I-4), whenever their rows come; with `everything` it
        counts those in packs that `add_own` was told about alone.
        """
        with self._guarded():
            self._end_reading()
            self._condemn(packs, everything)

    def _condemn(self, packs: Iterable[PackId], everything: bool) -> None:
        self._db.execute("DELETE FROM condemned")
        self._db.execute("DELETE FROM trusted")
        self._db.executemany("INSERT OR IGNORE INTO condemned VALUES(?)", [(each,) for each in packs])
        self._everything = everything
        self._condemned = everything or self._db.execute("SELECT 1 FROM condemned LIMIT 1").fetchone() is not None

    def knows(self, chunk_id: ChunkId) -> bool:
        """Whether the chunk is in a pack that may be relied on."""
        try:
            return self._knows(chunk_id)
        except sqlite3.DatabaseError as e:  # `_guarded` would cost more than the look-up
            self._file.failed(e)

    def _knows(self, chunk_id: ChunkId) -> bool:
        if not self._reading:
            self._begin_reading()
        if not self._condemned:
            return self._lookup.execute("SELECT 1 FROM chunks WHERE id=?", (chunk_id,)).fetchone() is not None
        relied = "IN (SELECT id FROM trusted)" if self._everything else "NOT IN (SELECT id FROM condemned)"
        query = (
            "SELECT 1 FROM chunks c JOIN frames f ON f.no=c.frame JOIN packs p ON p.no=f.pack "  # noqa: S608
            f"WHERE c.id=? AND p.id {relied} LIMIT 1"
        )
        return self._db.execute(query, (chunk_id,)).fetchone() is not None

    def locate(self, chunk_id: ChunkId) -> ChunkAt | None:
        """One place of the chunk."""
        with self._guarded():
            if not self._reading:
                self._begin_reading()
            row = self._lookup.execute("SELECT frame, offset, length FROM chunks WHERE id=?", (chunk_id,)).fetchone()
        return ChunkAt._make(row) if row else None

    def locate_all(self, ids: Sequence[ChunkId]) -> dict[ChunkId, ChunkAt]:
        """One place of each of the chunks that are there: quicker than one by one."""
        found: dict[ChunkId, ChunkAt] = {}
        with self._guarded():
            if not self._reading:
                self._begin_reading()
            for start in range(0, len(ids), _AT_ONCE):
                some = ids[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT id, frame, offset, length FROM chunks WHERE id IN ({marks})"  # noqa: S608
                for chunk_id, *place in self._db.execute(query, some):
                    found.setdefault(chunk_id, ChunkAt._make(place))
        return found

    def places(self, chunk_id: ChunkId) -> list[ChunkAt]:
        """All places of the chunk: clients that write at the same time may have stored it more than once."""
        with self._guarded():
            rows = self._db.execute("SELECT frame, offset, length FROM chunks WHERE id=? ORDER BY frame", (chunk_id,))
            return [ChunkAt._make(row) for row in rows]

    def frame(self, no: int) -> FrameAt | None:
        """The frame of this number; None when its pack has gone from the index since."""
        with self._guarded():
            row = self._db.execute(_FRAME, (no,)).fetchone()
        if row is None:
            return None
        slot = Slot(SlotType(row[2]), row[3], row[4], row[5])
        return FrameAt(no, PackId(row[0]), row[1], slot, ChunkKind(row[6]), row[7], row[8], row[9])

    def chunks_of(self, no: int) -> Sequence[tuple[ChunkId, int, int]]:
        """(id, offset, length) of the chunks of a frame; scans the table, so not for hot paths."""
        return self._db.execute("SELECT id, offset, length FROM chunks WHERE frame=? ORDER BY offset", (no,)).fetchall()


def open_local_index(places: Places, repository_id: RepositoryId) -> LocalIndex:
    """The local index of a repository; made if there is none."""
    return LocalIndex(places.cache_directory(repository_id) / "index.sqlite")
