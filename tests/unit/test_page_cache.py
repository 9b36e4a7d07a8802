"""Reading large files leaves the page cache as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.operations.snapshot.file_content import _WholeReader
from chunkstore.tree.page_cache import LARGE, forget, is_cold

SIZE = LARGE + 12_345


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A large file that is not cached; skipped where the file system can not tell or does not forget."""
    files = []
    for name in ("asked", "file"):
        (tmp_path / name).write_bytes(os.urandom(SIZE))
        files.append(os.open(tmp_path / name, os.O_RDWR))
        os.fsync(files[-1])
        forget(files[-1], 0)
    try:
        if not is_cold(files[0], SIZE):
            pytest.skip("this file system can not tell what is cached")
        yield files[1]
    finally:
        for fd in files:
            os.close(fd)


def read(fd: int) -> bytes:
    reader, buffer, content = _WholeReader(fd, SIZE), bytearray(1 << 20), b""
    while count := reader(memoryview(buffer)):
        content += buffer[:count]
    return content


def test_a_file_that_was_not_cached_is_not_after_it_was_read(descriptor: int) -> None:
    """A system may keep a page that is just being read ahead, on a busy machine: so not each single time."""
    for _ in range(5):
        forget(descriptor, 0)
        content = read(descriptor)
        assert len(content) == SIZE
        if is_cold(descriptor, SIZE):
            break
    else:
        pytest.fail("it stays cached")
    assert os.pread(descriptor, SIZE, 0) == content


def test_a_file_that_is_in_use_stays_cached(descriptor: int) -> None:
    at = SIZE // 7 * 3
    os.pread(descriptor, 4096, 3 * (SIZE - 1) // 7)
    assert not is_cold(descriptor, SIZE)
    read(descriptor)
    for part in range(0, SIZE, 1 << 20):
        assert not is_cold(descriptor, part + 4096)
    assert os.preadv(descriptor, [bytearray(1)], at, os.RWF_NOWAIT) == 1


def test_a_file_that_can_not_be_asked_is_not_forgotten() -> None:
    reading, writing = os.pipe()
    try:
        assert not is_cold(reading, SIZE)
        forget(reading, 0)
    finally:
        os.close(reading)
        os.close(writing)
