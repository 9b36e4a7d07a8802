"""What became of content that was copied before: a cache that is never believed where it is not whole."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chunkstore.ids import ChunkId, RepositoryId
from chunkstore.operations.copy.map import CopyMap

SOURCE, OTHER = RepositoryId(b"s" * 32), RepositoryId(b"o" * 32)
A, B, C = (ChunkId(bytes([n]) * 32) for n in range(3))


def opened(path: Path, *, secret: bytes = b"k" * 32, source: RepositoryId = SOURCE, chunker: str = "x") -> CopyMap:
    return CopyMap(path, secret, source, chunker, pytest.fail)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A map with a file and a piece in it."""
    path = tmp_path / "copied.sqlite"
    with closing(opened(path)) as known:
        known.put_file(64, A + B, C)
        known.put_piece(5, A + B, False, C, 77)
        assert known.file(64, A + B) == C
    return path


def test_what_was_kept_is_found(path: Path) -> None:
    with closing(opened(path)) as known:
        assert known.file(64, A + B) == C
        assert known.piece(5, A + B, False) == (C, 77)
    assert path.stat().st_mode & 0o777 == 0o600


def test_anything_else_is_not(path: Path) -> None:
    with closing(opened(path)) as known:
        assert known.file(65, A + B) is None
        assert known.file(64, A) is None
        assert known.piece(5, A + B, True) is None
        assert known.piece(6, A + B, False) is None


@pytest.mark.parametrize("other", [{"secret": b"q" * 32}, {"source": OTHER}, {"chunker": "y"}], ids=str)
def test_it_is_of_one_source_and_one_way_to_cut(path: Path, other: dict[str, object]) -> None:
    with closing(opened(path, **other)) as known:  # type: ignore[arg-type]
        assert known.file(64, A + B) is None


def test_a_row_that_was_altered_is_not_believed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        for key, value in db.execute("SELECT key, value FROM copied").fetchall():
            db.execute("UPDATE copied SET value=? WHERE key=?", (bytes([value[0] ^ 1]) + value[1:], key))
        db.commit()
    with closing(opened(path)) as known:
        assert known.file(64, A + B) is None
        assert known.piece(5, A + B, False) is None


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000, os.urandom(9000)], ids=["empty", "text", "random"])
def test_a_file_that_is_something_else_is_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with closing(opened(path)) as known:
        assert known.file(64, A + B) is None
        known.put_file(64, A + B, C)
    with closing(opened(path)) as known:
        assert known.file(64, A + B) == C


def test_a_file_that_is_damaged_inside_is_said_and_replaced(path: Path) -> None:
    with closing(opened(path)) as known:
        for n in range(5000):
            known.put_file(n, A, B)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(path.stat().st_size - 4096))
    said: list[str] = []
    with closing(CopyMap(path, b"k" * 32, SOURCE, "x", said.append)) as known:
        for n in range(5000):
            known.file(n, A)
            known.put_file(n, B, C)
    assert len(said) <= 1
    with closing(opened(path)) as known:
        known.put_file(1, A, B)
    with closing(opened(path)) as known:
        assert known.file(1, A) == B


def test_where_it_can_not_be_kept_the_copy_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "copied.sqlite").mkdir()
    with closing(CopyMap(tmp_path / "copied.sqlite", b"k" * 32, SOURCE, "x", said.append)) as known:
        known.put_file(1, A, B)
        assert known.file(1, A) is None
    assert len(said) == 1


def test_two_copies_may_use_it_at_a_time(path: Path) -> None:
    with closing(opened(path)) as one, closing(opened(path)) as other:
        for n in range(3000):
            one.put_file(n, A, B)
            other.put_file(n, B, C)
        one.flush()
        other.flush()
        assert one.file(2999, B) == C
        assert other.file(2999, A) == B
