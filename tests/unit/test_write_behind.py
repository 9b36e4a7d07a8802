"""Parts that a thread writes: the same files, and every failure is said before a file counts as finished."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from chunkstore.errors import TargetError
from chunkstore.tree.parts import OpenParts, PartFile
from chunkstore.tree.problems import TargetFull
from chunkstore.tree.target import Target
from tests.targets import ROOT, count_open, entry, read

BIG = 300_000


@pytest.fixture
def place(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "target")


@pytest.fixture
def smaller_files() -> Iterator[None]:
    """No file may get longer than 200,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def begun(target: Target, name: bytes, size: int) -> PartFile:
    part = target.create(name, size)
    assert part
    return part


def _fill(target: Target, part: PartFile, start: int, end: int) -> None:
    for at in range(start, end, 1 << 16):
        target.write_at(part, at, b"x" * min(1 << 16, end - at))
    target.finish(part, entry())


@pytest.mark.parametrize("limit", [2, 64])
@pytest.mark.parametrize("seed", range(4))
def test_any_pieces_of_many_files_in_any_order(place: bytes, seed: int, limit: int) -> None:
    dice = Random(seed)
    with Target.prepare(place, write_behind=True) as target:
        before = count_open()
        target._files._open = OpenParts(target._directories, limit)
        contents = {b"%d" % number: dice.randbytes(dice.choice([10, 5000, 400_000, 3_000_000])) for number in range(9)}
        parts = {name: begun(target, name, len(data)) for name, data in contents.items()}
        pieces = []
        for name, data in contents.items():
            step = dice.randrange(1 + len(data) // 40, 2 + len(data) // 3)
            pieces += [(name, at, data[at : at + step]) for at in range(0, len(data), step)]
        if seed % 2:
            dice.shuffle(pieces)  # else neighbours come one after the other, as they do from a pack
        for name, at, data in pieces:
            target.write_at(parts[name], at, memoryview(data))
        assert count_open() <= before + limit
        name = next(iter(contents))
        assert target.read_at(parts[name], 0, 1 << 22) == contents[name], "also what is not written yet"
        for part in parts.values():
            assert target.finish(part, entry())
    assert {name: read(place + b"/" + name) for name in contents} == contents


def test_what_is_not_finished_is_left(place: bytes) -> None:
    with Target.prepare(place, write_behind=True) as target:
        before = count_open()
        part = begun(target, b"f", BIG)
        target.write_at(part, 0, b"x" * BIG)
        gone = begun(target, b"g", BIG)
        target.write_at(gone, 0, b"x" * BIG)
        target.discard(gone)
        assert os.listdir(place) == [part.path]
    assert count_open() < before
    assert os.listdir(place) == [part.path]


@pytest.mark.usefixtures("smaller_files")
def test_a_failure_is_said_before_the_file_is_finished(place: bytes) -> None:
    with Target.prepare(place, write_behind=True) as target:
        bad, good = begun(target, b"bad", 1 << 23), begun(target, b"good", 5)
        target.write_at(bad, 0, b"x" * 100_000)
        with pytest.raises(TargetError, match=os.strerror(errno.EFBIG)):
            _fill(target, bad, 150_000, 1 << 23)
        target.discard(bad)
        target.write_at(good, 0, b"right")
        assert target.finish(good, entry())
    assert os.listdir(place) == [b"good"]
    assert read(place + b"/good") == b"right"


@pytest.mark.usefixtures("smaller_files")
@pytest.mark.parametrize("size", [250_000, 1 << 21])
def test_so_is_that_of_the_last_piece(place: bytes, size: int) -> None:
    """One that nobody waited for, and one that was not on its way yet."""
    with Target.prepare(place, write_behind=True) as target:
        part = begun(target, b"f", size)
        target.write_at(part, 0, b"x" * size)
        with pytest.raises(TargetError, match=os.strerror(errno.EFBIG)):
            target.finish(part, entry())
        target.discard(part)
    assert os.listdir(place) == []


@pytest.mark.skipif(not ROOT or sys.platform != "linux", reason="needs a small file system")
def test_a_full_disk_ends_the_restore(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with Target.prepare(os.fsencode(small), write_behind=True) as target:
            part = begun(target, b"g", 4 << 20)
            with pytest.raises(TargetFull):
                _fill(target, part, 0, 4 << 20)
    finally:
        subprocess.run(["umount", str(small)], check=True)
