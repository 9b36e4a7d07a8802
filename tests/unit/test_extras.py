"""What is on disk and not in a selection, against a model, and names in order."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from chunkstore.format.entries import DIRECTORY, FILE, Entry, sort_key
from chunkstore.operations.extras import Extras
from chunkstore.tree.listing import sorted_names
from chunkstore.tree.reading import list_directory, lstat_source

NAMES = [b"a", b"a-b", b"a.b", b"b", b"\xff", b"a b", b"c"]


def entry(kind: int, ancestor: bool = False) -> Entry:
    return Entry(b"", kind, 0, 0, 0, 0, 0, 0, 0, 0, {"ancestor": True} if ancestor else None)


def plant_randomly(random: Random, root: bytes) -> dict[bytes, int]:
    """Path -> kind."""
    made, directories = {root: DIRECTORY}, [root]
    os.mkdir(root)
    for _ in range(60):
        path = os.path.join(random.choice(directories), random.choice(NAMES))
        if path in made:
            continue
        if random.random() < 0.5:
            os.mkdir(path)
            made[path] = DIRECTORY
            directories.append(path)
        else:
            os.close(os.open(path, os.O_CREAT))
            made[path] = FILE
    return made


def found(entries: dict[bytes, Entry]) -> list[bytes]:
    reported: list[bytes] = []
    extras = Extras(lambda path, how: reported.append(path))
    for path in sorted(entries, key=lambda each: sort_key(os.path.dirname(each), os.path.basename(each))):
        extras.follow(path, entries[path])
    extras.end()
    extras.close()
    return sorted(reported)


@pytest.mark.parametrize("seed", range(40))
def test_extras_are_the_rest_of_directories_that_are_entries(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    root = os.fsencode(tmp_path / "root")
    made = plant_randomly(random, root)
    several = seed % 2
    kept: dict[bytes, Entry] = {}
    for path in sorted(made):
        parent = os.path.dirname(path)
        is_root = path == root or (several and parent in kept and kept[parent].ancestor)
        if path != root and (parent not in kept or random.random() < 0.3):
            continue
        ancestor = bool(several and is_root and made[path] == DIRECTORY and (path == root or random.random() < 0.4))
        kept[path] = entry(made[path], ancestor)
    looked_into = {path for path, each in kept.items() if each.kind == DIRECTORY and not each.ancestor}
    assert found(kept) == sorted(path for path in made if os.path.dirname(path) in looked_into and path not in kept)


def test_the_root_of_the_file_system() -> None:
    assert b"/proc" in found({b"/": entry(DIRECTORY)})
    assert found({b"/": entry(DIRECTORY, ancestor=True)}) == []
    assert b"/proc" not in found({b"/": entry(DIRECTORY), b"/proc": entry(FILE)})


def test_directories_that_are_gone_or_none_are_not_reported_twice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/")
    root = os.fsencode(tmp_path)
    inside = {root + name: entry(DIRECTORY) for name in (b"/gone", b"/file", b"/link")}
    assert found({root: entry(DIRECTORY), **inside}) == []


@pytest.mark.parametrize("spill_after", [1, 3, 50, 100])
def test_names_are_sorted_however_many_wait_in_a_file(tmp_path: Path, spill_after: int) -> None:
    names = sorted(b"%x\xff" % (number * 7919 % 50) for number in range(50))
    for name in names:
        os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT))
    before = len(os.listdir("/dev/fd"))
    assert list(sorted_names(os.fsencode(tmp_path), spill_after=spill_after)) == names
    one = sorted_names(os.fsencode(tmp_path), spill_after=spill_after)
    assert next(one) == names[0]
    del one
    assert len(os.listdir("/dev/fd")) == before


def test_directories_whose_paths_are_longer_than_the_system_takes(tmp_path: Path) -> None:
    path, here = os.fsencode(tmp_path), os.open(tmp_path, os.O_RDONLY)
    for _ in range(50):
        os.mkdir(b"d" * 100, dir_fd=here)
        below, path = os.open(b"d" * 100, os.O_RDONLY, dir_fd=here), path + b"/" + b"d" * 100
        os.close(here)
        here = below
    os.symlink(b"nowhere", b"link", dir_fd=here)
    try:
        assert list(list_directory(path)) == [b"link"]
        assert list(sorted_names(path)) == [b"link"]
        assert lstat_source(path + b"/link") == os.stat(b"link", dir_fd=here, follow_symlinks=False)
        assert lstat_source(path).st_ino == os.fstat(here).st_ino
        with pytest.raises(FileNotFoundError):
            lstat_source(path + b"/gone")
        with pytest.raises(OSError):
            next(list_directory(path + b"/link"))
    finally:
        os.close(here)
