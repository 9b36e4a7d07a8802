"""tree/link_groups.py: which names are of one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chunkstore.tree.link_groups import LinkGroups
from tests.targets import count_open


def test_the_first_name_with_the_same_fingerprint(tmp_path: Path) -> None:
    groups = LinkGroups(str(tmp_path))
    inode = (1 << 64) - 1
    assert groups.first((0, inode), b"a/\xff\n", b"same") is None
    assert groups.first((0, inode), b"b", b"same") == b"a/\xff\n"
    assert groups.first((0, inode), b"c", b"other") is None
    assert groups.first((0, inode), b"d", b"other") == b"c"
    assert groups.first((1, inode), b"e", b"same") is None
    groups.move((0, inode), b"f", b"same")
    assert groups.first((0, inode), b"g", b"same") == b"f"
    groups.close()


def test_values(tmp_path: Path) -> None:
    groups = LinkGroups(str(tmp_path))
    assert groups.get((1, 2)) is None
    groups.put((1, 2), b"one")
    groups.put((1, 2), b"two")
    assert groups.first((1, 2), b"path", b"") is None
    assert groups.get((1, 2)) == b"two"
    assert groups.get((1, 21)) is None
    groups.close()


def test_the_file_has_no_name_and_is_made_late(tmp_path: Path) -> None:
    before = count_open()
    groups = LinkGroups(str(tmp_path))
    assert groups.get((0, 0)) is None
    assert count_open() == before
    for number in range(20_000):
        groups.put((0, number), b"x" * 50)
    assert os.listdir(tmp_path) == []
    assert groups.get((0, 19_999)) == b"x" * 50
    groups.close()
    groups.close()
    assert count_open() == before


def test_no_place_for_the_file(tmp_path: Path) -> None:
    groups = LinkGroups(str(tmp_path / "gone"))
    with pytest.raises(OSError):
        groups.put((0, 0), b"x")
