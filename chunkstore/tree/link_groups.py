"""Which names belong to one file, for any number of files."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import suppress
from types import TracebackType


class LinkGroups:
    """A map from (device or its ordinal, inode) to bytes, in an unnamed file in the directory `scratch`.

    The file is made when something is put in. Its errors are raised as `OSError`.
    """

    def __init__(self, scratch: str | None) -> None:
        self._scratch = scratch
        self._database: sqlite3.Connection | None = None

    def first(self, link: tuple[int, int], relative: bytes, fingerprint: bytes) -> bytes | None:
        """The path that was given first for this file, with the same fingerprint; None if this is the first.

        A fingerprint says everything that makes two names of one file alike: a file that changed between the two
        times it was read is none that both can be names of.
        """
        key = _key(link) + b" " + fingerprint
        known = self._get(key)
        if known is None:
            self._put(key, relative)
        return known

    def move(self, link: tuple[int, int], relative: bytes, fingerprint: bytes) -> None:
        """From now on the file is at another path: nothing could be linked to the one given first."""
        self._put(_key(link) + b" " + fingerprint, relative)

    def get(self, key: tuple[int, int]) -> bytes | None:
        """The value that was put for a file; nothing that `first` was told."""
        return self._get(_key(key))

    def put(self, key: tuple[int, int], value: bytes) -> None:
        """Keep or replace the value of a file."""
        self._put(_key(key), value)

    def close(self) -> None:
        """Forget everything."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def __enter__(self) -> LinkGroups:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _get(self, key: bytes) -> bytes | None:
        if self._database is None:
            return None
        try:
            row = self._database.execute("SELECT value FROM link WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as e:
            raise OSError(f"temporary file of links: {e}") from e
        return None if row is None else bytes(row[0])

    def _put(self, key: bytes, value: bytes) -> None:
        try:
            if self._database is None:
                self._database = _make(self._scratch)
            self._database.execute("INSERT OR REPLACE INTO link VALUES (?, ?)", (key, value))
        except sqlite3.Error as e:
            raise OSError(f"temporary file of links: {e}") from e


def _key(pair: tuple[int, int]) -> bytes:
    """Text, because an inode number may have 64 bits, one more than the numbers of the database."""
    return b"%d %d" % pair


def _make(scratch: str | None) -> sqlite3.Connection:
    fd, path = tempfile.mkstemp(prefix="links-", dir=scratch)
    os.close(fd)
    try:
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.execute("CREATE TABLE link (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        except BaseException:
            database.close()
            raise
    finally:
        with suppress(OSError):
            os.unlink(path)
    return database
