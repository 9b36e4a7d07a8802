"""Which parts of a sparse file hold data."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.format.entries import FILE, Entry
from chunkstore.format.extents import Layout
from chunkstore.format.extras import MAX_EXTENTS
from chunkstore.tree.holes import data_extents
from tests.engine import temporary_directory

BLOCK = 4096


@pytest.fixture
def place() -> Iterator[Path]:
    with temporary_directory() as path:
        yield path


def plant(path: Path, size: int, *data: tuple[int, bytes]) -> None:
    with path.open("wb") as file:
        for offset, content in data:
            file.seek(offset)
            file.write(content)
        file.truncate(size)


def extents(path: Path) -> list[list[int]] | None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return data_extents(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def joined(path: Path) -> bytes:
    """The data between the holes, which is what chunks hold."""
    with path.open("rb") as file:
        parts = []
        for offset, length in extents(path) or []:
            file.seek(offset)
            parts.append(file.read(length))
        return b"".join(parts)


def test_a_file_without_holes_has_no_extents(place: Path) -> None:
    plant(place / "full", 3 * BLOCK, (0, b"x" * 3 * BLOCK))
    assert extents(place / "full") is None


def test_nothing_but_a_hole_is_an_empty_list(place: Path) -> None:
    plant(place / "hole", 100 * BLOCK)
    assert extents(place / "hole") == []


@pytest.mark.parametrize("at", [0, 1, 5, 9])
def test_data_between_holes(place: Path, at: int) -> None:
    plant(place / "file", 10 * BLOCK, (at * BLOCK, b"data" * 1024))
    assert extents(place / "file") == [[at * BLOCK, BLOCK]]
    assert joined(place / "file") == b"data" * 1024


def test_an_end_inside_a_block_is_kept(place: Path) -> None:
    plant(place / "file", 10 * BLOCK + 7, (10 * BLOCK, b"the end"))
    assert extents(place / "file") == [[10 * BLOCK, 7]]


def test_of_too_many_extents_the_smallest_holes_are_data(place: Path) -> None:
    """Holes of one block everywhere, and one large hole: that one stays."""
    small = 2 * MAX_EXTENTS + 100
    data = [(2 * n * BLOCK, b"%8d" % n) for n in range(small)]
    end = 2 * small * BLOCK
    plant(place / "file", end + 10_000 * BLOCK, *data, (end + 9_000 * BLOCK, b"after"))
    found = extents(place / "file")
    assert found is not None
    assert len(found) <= MAX_EXTENTS
    assert found[-1] == [end + 9_000 * BLOCK, BLOCK]
    stored = dict(data)
    covered = [range(offset, offset + length) for offset, length in found]
    assert all(any(offset in each for each in covered) for offset in list(stored)[::997])


def test_a_layout_puts_pieces_where_they_were() -> None:
    dice = random.Random(3)
    for _ in range(200):
        file, parts, at = bytearray(dice.randrange(1, 400)), [], 0
        while at < len(file):
            length = min(dice.randrange(1, 40), len(file) - at)
            if dice.random() < 0.5 and not (parts and sum(parts[-1]) == at):
                file[at : at + length] = dice.randbytes(length)
                parts.append([at, length])
            at += length
        entry = Entry(b"f", FILE, 0o600, 0, 0, 0, 0, 1, len(file), 1, {"extents": parts})
        content = b"".join(file[offset : offset + length] for offset, length in parts)
        assert entry.content_size == len(content)
        layout, written, position = Layout(entry), bytearray(len(file)), 0
        while position < len(content):
            length = min(dice.randrange(1, 30), len(content) - position)
            for start, offset, size in layout.pieces(position, length):
                written[offset : offset + size] = content[position + start : position + start + size]
            position += length
        assert written == file
        holes = list(layout.holes())
        assert sum(length for _, length in holes) + len(content) == len(file)
        assert all(not any(file[offset : offset + length]) for offset, length in holes)


def test_the_layout_of_a_file_without_holes_is_one_piece() -> None:
    layout = Layout(Entry(b"f", FILE, 0o600, 0, 0, 0, 0, 1, 100, 1, None))
    assert list(layout.pieces(20, 30)) == [(0, 20, 30)]
    assert list(layout.holes()) == []
