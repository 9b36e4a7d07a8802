"""What became of content that was copied before: chunks there -> chunks here, in a file of the cache directory.

Rows are written when content has been read, cut and hashed, so that the next snapshot with the same content, and a run
that goes on after an interruption, need not read it again. It is a cache: every row carries a keyed check, and whoever
uses a row looks whether its chunks are still stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from chunkstore.ids import ID_SIZE, ChunkId, RepositoryId

_KEY_SIZE = 20
_CHECK_SIZE = 8
_LENGTH_SIZE = 4
_ROWS_AT_ONCE = 2000
_CACHE_KIB = 8 * 1024
_PATIENCE_S = 20.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS copied(key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"


class CopyMap:
    """Used by one thread. What goes wrong with the file is said once; the copy goes on and reads more."""

    def __init__(
        self, path: Path, secret: bytes, source: RepositoryId, chunker: str, warn: Callable[[str], None]
    ) -> None:
        """`secret` (at most 64 bytes) is of the destination, `chunker` says how it cuts: with another one, seed included,
        rows mean nothing.
        """
        self._path = path
        self._warn = warn
        self._bound = hashlib.blake2b(b"copy 1\0" + source + chunker.encode(), key=secret, digest_size=32).digest()
        self._new: dict[bytes, bytes] = {}
        self._db: sqlite3.Connection | None = None
        self._reading = False
        with self._giving_up():
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as e:
                if isinstance(e, sqlite3.OperationalError):
                    raise
                self._discard()
                self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=_PATIENCE_S, isolation_level=None)
        try:
            self._path.chmod(0o600)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            db.execute(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def close(self) -> None:
        """Keep what is new."""
        self.flush()
        if self._db is not None:
            self._db.close()

    # -- whole files

    def file(self, size: int, ids: bytes) -> bytes | None:
        """The chunks here, joined, of a file whose chunks there are `ids`; None where they are not known."""
        return self._find(self._file_key(size, ids))

    def put_file(self, size: int, ids: bytes, here: bytes) -> None:
        self._put(self._file_key(size, ids), here)

    def _file_key(self, size: int, ids: bytes) -> bytes:
        return self._key(b"F" + size.to_bytes(8, "big") + ids)

    # -- pieces of large files

    def piece(self, skipped: int, ids: bytes, final: bool) -> tuple[ChunkId, int] | None:
        """The chunk here, and its length, that begins `skipped` bytes into the first of these chunks there.

        `ids` hold all that its end can depend on; `final` says that the file ends with them.
        """
        value = self._find(self._piece_key(skipped, ids, final))
        if value is None:
            return None
        return ChunkId(value[:ID_SIZE]), int.from_bytes(value[ID_SIZE:], "big")

    def put_piece(self, skipped: int, ids: bytes, final: bool, here: ChunkId, length: int) -> None:
        self._put(self._piece_key(skipped, ids, final), here + length.to_bytes(_LENGTH_SIZE, "big"))

    def _piece_key(self, skipped: int, ids: bytes, final: bool) -> bytes:
        return self._key((b"E" if final else b"P") + skipped.to_bytes(8, "big") + ids)

    # -- rows

    def _key(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self._bound, digest_size=_KEY_SIZE).digest()

    def _check(self, key: bytes, value: bytes) -> bytes:
        return hashlib.blake2b(key + value, key=self._bound, digest_size=_CHECK_SIZE).digest()

    def _find(self, key: bytes) -> bytes | None:
        if (value := self._new.get(key)) is not None:
            return value
        if self._db is None:
            return None
        row = None
        with self._giving_up():
            if not self._reading:  # look-ups share a transaction: on its own each would lock and unlock files
                self._db.execute("BEGIN")
                self._reading = True
            row = self._db.execute("SELECT value FROM copied WHERE key=?", (key,)).fetchone()
        if row is None or type(row[0]) is not bytes:
            return None
        value, check = row[0][:-_CHECK_SIZE], row[0][-_CHECK_SIZE:]
        return value if check == self._check(key, value) else None

    def _put(self, key: bytes, value: bytes) -> None:
        if self._db is not None:
            self._new[key] = value
            if len(self._new) >= _ROWS_AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Write what is new: in one go, so that another copy that uses the file never waits for long."""
        rows = sorted((key, value + self._check(key, value)) for key, value in self._new.items())
        self._new.clear()
        if self._db is None or not rows:
            return
        with self._giving_up():
            if self._reading:
                self._db.execute("COMMIT")
                self._reading = False
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO copied VALUES(?,?)", rows)
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as e:
            if self._db is not None:
                self._db.close()
            self._db = None
            if isinstance(e, sqlite3.DatabaseError) and not isinstance(e, sqlite3.OperationalError):
                self._discard()
            self._warn(f"the next copy may have to read more than it need: {self._path}: {e}")

    def _discard(self) -> None:
        """Remove a file that is damaged, or not ours."""
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
