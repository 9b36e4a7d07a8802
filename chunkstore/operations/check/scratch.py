"""What a check has to remember, in a temporary database: it may be as much as the repository has packs, or chunks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from chunkstore.format.index import IndexSegment, encode_segment, segment_digest
from chunkstore.format.pack import PackInfo
from chunkstore.ids import ChunkId, PackId

_SCHEMA = """
CREATE TABLE expected(id BLOB PRIMARY KEY, size INTEGER NOT NULL, digest BLOB NOT NULL, source TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE bad(id BLOB PRIMARY KEY, reason TEXT NOT NULL, whole INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE failed(chunk BLOB NOT NULL, pack BLOB NOT NULL, PRIMARY KEY(chunk, pack)) WITHOUT ROWID;
CREATE TABLE lost(chunk BLOB PRIMARY KEY, mask BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE below(node BLOB PRIMARY KEY, mask BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE files(bit INTEGER NOT NULL, path BLOB NOT NULL, PRIMARY KEY(bit, path)) WITHOUT ROWID;
"""
_CACHE_KIB = 8 * 1024


def pack_digest(info: PackInfo) -> bytes:
    """A digest of all that the index says of a pack; the pack's own table must give the same."""
    return segment_digest(encode_segment(IndexSegment((info,))))


class Scratch:
    """`expected`: packs that the index names. `bad`: packs that are not what they must be, and chunks that failed in them.

    `lost`, `below` and `files` belong to `check_hits`: which damage hits a chunk, a reference chunk and what is below it,
    and a path.
    """

    def __init__(self, directory: Path) -> None:
        self.db = sqlite3.connect(directory / "check.sqlite", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{_CACHE_KIB}"):
            self.db.execute(f"PRAGMA {pragma}")
        self.db.executescript(_SCHEMA)
        self.db.execute("BEGIN")  # never ended: nobody else reads it, and a commit for each row would cost a write

    # -- what the index says

    def forget_expected(self) -> None:
        self.db.execute("DELETE FROM expected")

    def expect(self, info: PackInfo, source: str) -> str | None:
        """Note a pack that an index object names; the name of another one that says something else of it."""
        digest = pack_digest(info)
        cursor = self.db.execute(
            "INSERT OR IGNORE INTO expected VALUES(?,?,?,?)", (info.pack_id, info.size, digest, source)
        )
        if cursor.rowcount:
            return None
        known = self.expected(info.pack_id)
        assert known is not None
        return None if known[1] == digest else known[2]

    def expected(self, pack_id: PackId) -> tuple[int, bytes, str] | None:
        """(size, digest, index object) of a pack."""
        row = self.db.execute("SELECT size, digest, source FROM expected WHERE id=?", (pack_id,)).fetchone()
        return tuple(row) if row else None

    # -- what reading said

    def spoil(self, pack_id: PackId, reason: str, failed: list[ChunkId] | None) -> None:
        """A pack is damaged; `failed`: the chunks that are, None where nobody knows."""
        self.db.execute("INSERT OR REPLACE INTO bad VALUES(?,?,?)", (pack_id, reason, failed is None))
        self.db.executemany("INSERT OR IGNORE INTO failed VALUES(?,?)", [(each, pack_id) for each in failed or ()])

    def bad(self, pack_id: PackId) -> tuple[str, bool] | None:
        """(why, whether nothing in it can be relied on) of a pack that is damaged."""
        row = self.db.execute("SELECT reason, whole FROM bad WHERE id=?", (pack_id,)).fetchone()
        return (row[0], bool(row[1])) if row else None

    def all_bad(self) -> Iterator[tuple[PackId, str, bool]]:
        for pack_id, reason, whole in self.db.execute("SELECT id, reason, whole FROM bad ORDER BY id"):
            yield PackId(pack_id), reason, bool(whole)

    def any_bad(self) -> bool:
        return self.db.execute("SELECT 1 FROM bad LIMIT 1").fetchone() is not None

    def failed_in(self, first: int) -> set[tuple[bytes, bytes]]:
        """(chunk, pack) of the chunks that failed and whose id begins with this byte."""
        end = bytes([first + 1]) if first < 255 else b"\xff" * 33
        return set(self.db.execute("SELECT chunk, pack FROM failed WHERE chunk>=? AND chunk<?", (bytes([first]), end)))

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
