"""Files that change while they are read: never an end of the run, and what may be torn is marked."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chunkstore.chunking import make_chunker, parse_chunker
from chunkstore.format.entries import FILE
from chunkstore.operations.snapshot.file_content import Content, FileContent
from chunkstore.progress import Silent
from chunkstore.repository.chunk_writer import ChunkWriter, WriteOptions
from chunkstore.repository.session import WriteSession
from chunkstore.storage import MemoryStorage
from tests.engine import Client, temporary_directory

KIB = 1024
SIZES = [200, 5 * KIB, 300 * KIB]
"""One chunk, some chunks, more than one frame."""


@pytest.fixture
def client() -> Iterator[Client]:
    with temporary_directory() as base:
        client = Client(MemoryStorage(), base)
        client.create(chunker="pyfastcdc:1K,4K,16K", frame_size=64 * KIB, pack_size=128 * KIB)
        yield client


class Meddled:
    """Reads one file while somebody meddles: `meddle(n)` is called in the middle of the n-th reading."""

    def __init__(self, client: Client, meddle: Callable[[int], None]) -> None:
        self._client = client
        self._meddle = meddle
        self.readings = 0

    def read(self, path: Path) -> tuple[Content, bytes]:
        """The content, and what its chunks hold in the end."""
        repository, index = self._client.open("write"), self._client.index()
        session = WriteSession(repository, index, self._client.around, Silent())
        parameters = parse_chunker(repository.config.chunker)
        options = WriteOptions(workers=0)
        with ChunkWriter(
            repository, index, session.id, self._client.random_bytes, parameters.max_size, options
        ) as writer:
            stored: dict[bytes, bytes] = {}
            add, take = writer.add, writer.take

            def remember(kind, data):  # type: ignore[no-untyped-def]
                stored[add(kind, data)] = bytes(data)
                return add(kind, data)

            def remember_small(size: int):  # type: ignore[no-untyped-def]
                data = bytes(space[0][:size])
                chunk_id = take(size)
                stored[chunk_id] = data
                return chunk_id

            space: list[memoryview] = []

            def room(size: int) -> memoryview:
                space[:] = [ChunkWriter.space(writer, size)]
                return space[0]

            writer.add, writer.take, writer.space = remember, remember_small, room  # type: ignore[method-assign,assignment]
            chunker = make_chunker(parameters, 1)
            content = FileContent(writer, chunker, str(path.parent), lambda size: None, self._extras).store(
                os.fsencode(path), os.lstat(path)
            )
            ids = b"".join(content.ids)
            index.close()
            return content, b"".join(stored[ids[at : at + 32]] for at in range(0, len(ids), 32))

    def _extras(self, descriptor: int, path: bytes, status: os.stat_result) -> None:
        """Called once for each reading, before the content of large files and after that of small ones is read."""
        self.readings += 1
        self._meddle(self.readings)


def write(path: Path, size: int, letter: bytes) -> None:
    """Every byte changes with the letter, so a mixture shows."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, letter * size)
    os.ftruncate(descriptor, size)
    os.close(descriptor)
    status = os.stat(path)  # clocks of file systems may be slow
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + random.Random(letter).randrange(1, 10**6)))


@pytest.mark.parametrize("size", SIZES)
def test_what_holds_still_is_read_once(client: Client, tmp_path: Path, size: int) -> None:
    write(tmp_path / "file", size, b"a")
    meddled = Meddled(client, lambda n: None)
    content, data = meddled.read(tmp_path / "file")
    assert data == b"a" * size
    assert meddled.readings == 1
    assert not content.extra


@pytest.mark.parametrize("size", SIZES)
def test_what_changes_once_is_read_again_and_is_whole(client: Client, tmp_path: Path, size: int) -> None:
    write(tmp_path / "file", size, b"a")

    def meddle(reading: int) -> None:
        if reading == 1:
            write(tmp_path / "file", size, b"b")

    meddled = Meddled(client, meddle)
    content, data = meddled.read(tmp_path / "file")
    assert data == b"b" * size
    assert meddled.readings == 2
    assert not content.extra
    assert content.status.st_mtime_ns == (tmp_path / "file").stat().st_mtime_ns


@pytest.mark.parametrize("size", SIZES)
def test_what_keeps_changing_is_stored_and_marked(client: Client, tmp_path: Path, size: int) -> None:
    write(tmp_path / "file", size, b"a")
    meddled = Meddled(client, lambda n: write(tmp_path / "file", size, b"abcdefghij"[n : n + 1]))
    content, data = meddled.read(tmp_path / "file")
    assert len(data) == size == content.size
    assert 3 <= meddled.readings <= 4
    assert content.extra == {"changed": True}


@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_is_cut_short_meanwhile_is_as_long_as_what_was_read(
    client: Client, tmp_path: Path, size: int
) -> None:
    write(tmp_path / "file", size, b"a")
    lengths = iter([size // 2, size // 3, size // 4, size // 5])
    meddled = Meddled(client, lambda n: os.truncate(tmp_path / "file", next(lengths)))
    content, data = meddled.read(tmp_path / "file")
    assert content.size == len(data) < size
    assert content.extra == {"changed": True}


@pytest.mark.parametrize("size", SIZES)
def test_of_a_file_that_only_grows_the_beginning_is_stored_as_it_was(client: Client, tmp_path: Path, size: int) -> None:
    """A log: what is stored ends where the log ended when its reading began."""
    write(tmp_path / "file", size, b"a")

    def meddle(reading: int) -> None:
        with (tmp_path / "file").open("ab") as file:
            file.write(b"more" * 100)

    content, data = Meddled(client, meddle).read(tmp_path / "file")
    assert content.size == len(data) == content.status.st_size
    assert data == (tmp_path / "file").read_bytes()[: len(data)]
    assert content.extra == {"changed": True}


def test_a_sparse_file_that_is_cut_short_meanwhile(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for at in range(0, 100, 10):
            file.seek(at * 4096)
            file.write(b"%4096d" % at)
    sizes = iter([55 * 4096, 41 * 4096 - 100, 40 * 4096 + 100, 12])
    content, data = Meddled(client, lambda n: os.truncate(path, next(sizes))).read(path)
    assert content.extra is not None
    assert content.extra["changed"] is True
    assert sum(length for _, length in content.extra.get("extents", [[0, content.size]])) == len(data)


def test_a_file_that_another_one_replaces_is_whole(client: Client, tmp_path: Path) -> None:
    """Editors rename: either the old or the new content is fine, a mixture is not."""
    write(tmp_path / "file", 5 * KIB, b"a")
    write(tmp_path / "new", 5 * KIB, b"b")

    def meddle(reading: int) -> None:
        if reading == 1:
            os.replace(tmp_path / "new", tmp_path / "file")

    content, data = Meddled(client, meddle).read(tmp_path / "file")
    assert data in (b"a" * 5 * KIB, b"b" * 5 * KIB)
    assert not content.extra


MEDDLER = """
    import os, random, sys, threading

    root, dice = sys.argv[1], random.Random(5)
    sizes = {f"f{n:02}": size for n, size in enumerate([300, 3000, 40_000, 900_000] * 6)}
    letters = b"abcdefghijklmnopqrstuvwxyz"

    def write(path, size, how):
        letter = bytes([dice.choice(letters)])
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if how == "truncate" else 0)
        descriptor = os.open(path, flags, 0o600)
        try:
            for at in range(0, size, 4096):  # in pieces, so that it can be seen half done
                os.pwrite(descriptor, letter * min(4096, size - at), at)
        finally:
            os.close(descriptor)

    def keep_busy():  # a file that is never left alone
        while True:
            write(os.path.join(root, "busy"), 4_000_000, "overwrite")

    write(os.path.join(root, "busy"), 4_000_000, "overwrite")
    threading.Thread(target=keep_busy, daemon=True).start()
    print("ready", flush=True)
    while True:
        name = dice.choice(list(sizes))
        path = os.path.join(root, dice.choice(["a", "b", "."]), name)
        match dice.randrange(6):
            case 0 | 1:
                write(path, sizes[name], "overwrite")
            case 2:
                write(path, sizes[name], "truncate")
            case 3:
                try:
                    os.truncate(path, sizes[name] // 2)
                except FileNotFoundError:
                    pass
            case 4:
                try:
                    os.rename(path, os.path.join(root, dice.choice(["a", "b", "."]), name))
                except FileNotFoundError:
                    pass
            case _:
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    pass
"""


def test_ten_snapshots_of_a_tree_that_never_holds_still(client: Client, tmp_path: Path) -> None:
    """Writers write one letter all over a file, from front to back. So what stands on the disk at any one time has two
    letters at most (or zeros behind them), and what was torn and not marked would show as more changes of the letter.
    """
    tree = tmp_path / "tree"
    for name in ("", "a", "b"):
        (tree / name).mkdir()
    for number, size in enumerate([300, 3000, 40_000, 900_000] * 6):
        (tree / "a" / f"f{number:02}").write_bytes(b"z" * size)
    client = client.but(workers=2, clock=time.time_ns)
    arguments = [sys.executable, "-c", textwrap.dedent(MEDDLER), str(tree)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as meddler:
        try:
            assert meddler.stdout is not None
            assert meddler.stdout.readline() == b"ready\n"
            taken = [client.snapshot(tree) for _ in range(10)]
        finally:
            meddler.kill()
    marked = files = 0
    for each in taken:
        assert not each.result.problems
        stored = client.stored(each.id)
        torn = [path for path, one in stored.items() if one.entry.changed]
        assert each.result.statistics.changed_while_read == len(torn)
        assert sum("changed while it was read" in line for line in each.warnings) == len(torn)
        for path, one in stored.items():
            if one.entry.kind == FILE:
                files += 1
                marked += one.entry.changed
                assert len(one.content) == one.entry.size
                assert one.entry.changed or is_of_one_moment(one.content), path
        assert client.restored(each.id)
    assert files > 50
    assert marked, "the busy file at least"


def is_of_one_moment(content: bytes) -> bool:
    """The letters change at most once from front to back, where a writer stood; or the tail is zeros, not written yet."""
    changes = sum(1 for one, other in zip(content[::4096], content[4096::4096], strict=False) if one != other)
    return changes <= 2
