"""The sqlite file of the local index: its schema, opening it, and what happens when it is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from chunkstore.errors import IndexDamaged, StorageFull

_VERSION = 3
_CACHE_KIB = 16 * 1024
_SCHEMA = """
CREATE TABLE facts(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sources(no INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE packs(
    no INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, plane INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE named(
    source INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY(source, pack)) WITHOUT ROWID;
CREATE TABLE slots(
    pack INTEGER NOT NULL, no INTEGER NOT NULL, type INTEGER NOT NULL, key_id BLOB NOT NULL, opener BLOB NOT NULL,
    sealed BLOB NOT NULL, PRIMARY KEY(pack, no)) WITHOUT ROWID;
CREATE TABLE frames(
    no INTEGER PRIMARY KEY AUTOINCREMENT, pack INTEGER NOT NULL, slot INTEGER NOT NULL, kind INTEGER NOT NULL, offset INTEGER NOT NULL,
    stored INTEGER NOT NULL, raw INTEGER NOT NULL);
CREATE TABLE chunks(
    id BLOB NOT NULL, frame INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    PRIMARY KEY(id, frame)) WITHOUT ROWID;
CREATE TABLE sparse(frame INTEGER PRIMARY KEY);
"""


_TABLES = frozenset({"facts", "sources", "packs", "named", "slots", "frames", "chunks", "sparse"})
_UNREADABLE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""Codes of a file that is not what it must be; others (busy, full, no rights) say nothing about what is in it."""
_PATIENCE_S = 120.0


class IndexFile:
    """An open database. One that sqlite can not read, or that is not ours, is thrown away: it is a cache."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.db = self._open()
        except sqlite3.DatabaseError as e:
            self._refuse_what_passes(e)
            self._discard()
            self.db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=_PATIENCE_S, isolation_level=None)
        try:
            self._path.chmod(0o600)
            _write_ahead(db)
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._make(db)
        except BaseException:
            db.close()
            raise
        return db

    def _make(self, db: sqlite3.Connection) -> None:
        if not _is_ours(db):  # looked at without a lock first: who opens does not wait for who changes
            db.execute("BEGIN IMMEDIATE")
            if not _is_ours(db):
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO facts VALUES('version', ?), ('losses', abs(random() >> 1))", (_VERSION,))
            db.execute("COMMIT")
        # By ids, not by numbers: rows of a condemned pack may come later, from another process of this machine.
        db.execute("CREATE TEMP TABLE condemned(id BLOB PRIMARY KEY) WITHOUT ROWID")
        db.execute("CREATE TEMP TABLE trusted(id BLOB PRIMARY KEY) WITHOUT ROWID")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Around every use. `IndexDamaged` when the file is damaged: begin again, with a new one; else `StorageFull`."""
        try:
            yield
        except sqlite3.DatabaseError as e:
            self.failed(e)

    def failed(self, error: sqlite3.DatabaseError) -> NoReturn:
        """Raise what `guarded` raises for this error."""
        self._refuse_what_passes(error)
        self.db.close()
        self._discard()
        raise IndexDamaged("the local copy of the index was damaged and has been removed; run it again") from error

    def _refuse_what_passes(self, error: sqlite3.DatabaseError) -> None:
        """Raise for what says nothing about the content of the file: it is busy, or there is no room or no right."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if isinstance(error, sqlite3.OperationalError) and code & 0xFF not in _UNREADABLE:
            raise StorageFull(
                f"{self._path}: {error}. Make room for the local index, or wait for who uses it"
            ) from error

    def _discard(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(self._path.name + suffix).unlink()

    def close(self) -> None:
        self.db.close()


def _is_ours(db: sqlite3.Connection) -> bool:
    """False where none of our tables is; `DatabaseError` for those of another version, or of somebody else."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    if not tables & _TABLES:
        return False
    if not tables >= _TABLES or db.execute("SELECT value FROM facts WHERE name='version'").fetchone() != (_VERSION,):
        raise sqlite3.DatabaseError("another version, or somebody else's")
    return True


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. Of two who switch at once sqlite refuses one at once, whatever the timeout says."""
    tries = 200
    for left in range(tries, -1, -1):
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as e:
            if not left or e.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            time.sleep(_PATIENCE_S / tries)
        else:
            return
