"""A snapshot as a tar archive: GNU tar, and Python, bring back what was stored."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.tar import RECORD
from chunkstore.operations.catalog import read_record
from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import reading
from chunkstore.operations.selection import select
from chunkstore.operations.tar_export import Exported, Stream, write_tar
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from tests.engine import KIB, Client, Taken, flip, identity, indexed_packs, make_tree
from tests.one_of_each import listing, one_of_each, rsync_differences, sparse
from tests.trees import age, noise, plant

EXTRACT = ("tar", "--xattrs", "--acls", "--xattrs-include=*", "--numeric-owner", "-xpf", "-")


@pytest.fixture
def client(tmp_path: Path) -> Client:
    client = Client(MemoryStorage(), tmp_path / "client")
    client.create()
    return client


def export(
    client: Client, taken: Taken, stream: Stream, path: bytes | None = None, workers: int = 0
) -> tuple[Exported, list[str]]:
    repository, progress = client.open(), Silent()
    signed = read_record(repository, taken.id)
    assert signed is not None
    with reading(repository, open_content(repository, identity), client.around, progress) as read:
        manifest = read.manifest(signed.record)
        entries = select(manifest, signed.record, path)
        done = write_tar(
            read.reader, manifest, entries, stream, workers, progress,
            ancestor_mtime_ns=taken.record.time, scratch=None,
        )  # fmt: skip
    return done, progress.warnings


def archive(client: Client, taken: Taken, path: bytes | None = None, workers: int = 0) -> bytes:
    stream = io.BytesIO()
    done, warnings = export(client, taken, stream, path, workers)
    assert (done.problems, warnings) == (0, [])
    return stream.getvalue()


def extract(data: bytes, target: Path) -> str:
    """With GNU tar; what it complained about."""
    target.mkdir()
    result = subprocess.run(EXTRACT, input=data, cwd=target, capture_output=True, check=True)
    return result.stderr.decode(errors="backslashreplace")


def members(data: bytes) -> dict[bytes, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {os.fsencode(member.name): member for member in tar}


@pytest.mark.parametrize("workers", [0, 2])
def test_gnu_tar_brings_everything_back(client: Client, tmp_path: Path, workers: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    one_of_each(source)
    data = archive(client, client.snapshot(source), workers=workers)
    complaints = extract(data, target)
    assert set(complaints.splitlines()) <= {"tar: Ignoring unknown extended header keyword 'hdrcharset'"}
    assert listing(target) == listing(source)
    assert rsync_differences(source, target) == ""
    for name in ("sparse", "only a hole"):
        assert (target / name).stat().st_blocks <= (source / name).stat().st_blocks
    assert len(data) % RECORD == 0


def test_python_reads_the_same(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    one_of_each(source)
    (source / "second symlink").unlink()  # Python follows the first one, and fails
    data = archive(client, client.snapshot(source))
    with tarfile.open(fileobj=io.BytesIO(data), errorlevel=2) as tar:
        tar.extraction_filter = staticmethod(lambda member, path: member)  # type: ignore[assignment]  # all of it
        tar.extractall(target)
    command = ["rsync", "-naHi", "--delete", "--checksum", "--no-times", f"{source}/", f"{target}/"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""
    found = members(data)
    for path in [Path(directory, name) for directory, below, files in os.walk(source) for name in below + files]:
        member = found[os.fsencode(path.relative_to(source))]
        sparse_of = member.pax_headers.get("GNU.sparse.realsize")
        if not path.is_symlink() and path.is_file() and not member.islnk():
            assert int(sparse_of or member.size) == path.stat().st_size
        seconds, _, fraction = member.pax_headers["mtime"].partition(".")
        assert int(seconds) * 10**9 + int(fraction) == path.lstat().st_mtime_ns


def test_a_file_of_9_gib_goes_through_as_its_holes(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    sparse(source / "large", 9 << 30)
    data = archive(client, client.snapshot(source))
    assert len(data) < 200_000
    extract(data, target)
    status = (target / "large").stat()
    assert (status.st_size, status.st_blocks < 1000) == (9 << 30, True)
    for offset in (0, 300_000, (9 << 30) - 1000):
        with (source / "large").open("rb") as one, (target / "large").open("rb") as other:
            assert one.seek(offset) == other.seek(offset)
            assert one.read(100_000) == other.read(100_000)


class Counting:
    """Takes an archive, and knows how much of it there was."""

    def __init__(self) -> None:
        self.size = 0
        self.largest = 0

    def write(self, data: bytes | memoryview, /) -> None:
        self.size += len(data)
        self.largest = max(self.largest, len(data))


def test_a_part_lands_at_the_top(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_tree(source, 1)
    taken = client.snapshot(source)
    part = members(archive(client, taken, os.fsencode(source / "a")))
    assert part.keys() == {b"."} | {os.fsencode(path.relative_to(source / "a")) for path in (source / "a").rglob("*")}
    single = members(archive(client, taken, os.fsencode(source / "b" / "large")))
    assert single.keys() == {b"large"}


def test_directories_above_roots_keep_their_modes_and_get_the_time_of_the_snapshot(
    client: Client, tmp_path: Path
) -> None:
    plant(tmp_path / "private", {b"one": {b"file": b"1"}, b"two": {b"file": b"2"}})
    (tmp_path / "private").chmod(0o700)
    taken = client.snapshot(tmp_path / "private" / "one", tmp_path / "private" / "two")
    found = members(archive(client, taken))
    above = found[os.fsencode(tmp_path / "private")[1:]]
    assert (above.mode, above.isdir(), int(above.mtime)) == (0o700, True, taken.record.time // 10**9)
    assert found[b"."].isdir()


def test_many_small_files_need_few_requests(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "source"
    plant(source, {b"%04d" % n: noise(100, n) for n in range(800)})
    taken = client.snapshot(source)
    packs = indexed_packs(client.open())
    requests: list[str] = []

    class Counted(MemoryStorage):
        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            requests.append(name)
            return super().get(name, offset, length)

    counted = Counted()
    for info in client.storage.list(""):
        counted.put(info.name, client.storage.get(info.name))
    archive(client.but(storage=counted), taken)
    of_packs = [name for name in requests if name.startswith("packs/")]
    assert len(of_packs) <= 6 * len(packs)


def _damage_frame(client: Client, plane: ObjectKind, which: int = 0) -> None:
    info = [info for info in indexed_packs(client.open()) if info.plane == plane][which]
    frame = info.frames[len(info.frames) // 2]
    flip(client.storage, names.pack(info.pack_id), frame.offset + frame.stored // 2)


def test_damaged_content_is_zeros_and_said(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    plant(source, {b"%02d" % n: noise(9_000, n) for n in range(20)})
    age(source)
    taken = client.snapshot(source)
    _damage_frame(client, ObjectKind.CONTENT_PACK)
    stream = io.BytesIO()
    done, warnings = export(client, taken, stream)
    assert 0 < done.problems == len(warnings) < 20
    assert done.files == 20
    extract(stream.getvalue(), target)
    damaged = {warning.partition(":")[0] for warning in warnings}
    for path in source.iterdir():
        data = (target / path.name).read_bytes()
        assert len(data) == 9_000
        assert (data == path.read_bytes()) == (path.name not in damaged)
        assert path.name not in damaged or b"\0" * 256 in data
    assert all("there are zeros for it" in warning for warning in warnings)


def test_content_of_lost_packs_is_zeros(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    plant(source, {b"large": noise(40_000), b"small": b"small", b"last": b"last"})
    taken = client.snapshot(source)
    for info in indexed_packs(client.open()):
        if info.plane == ObjectKind.CONTENT_PACK:
            client.storage.delete(names.pack(info.pack_id))
    stream = io.BytesIO()
    done, warnings = export(client, taken, stream)
    assert done.problems == len(warnings) > 0
    extract(stream.getvalue(), target)
    assert {path.name: path.stat().st_size for path in target.iterdir()} == {"large": 40_000, "small": 5, "last": 4}


def test_an_archive_of_a_damaged_manifest_has_no_end(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_tree(source, 1)
    taken = client.snapshot(source)
    for info in indexed_packs(client.open()):
        if info.plane == ObjectKind.TREE_PACK:
            client.storage.delete(names.pack(info.pack_id))
    stream = io.BytesIO()
    with pytest.raises(Damaged):
        export(client, taken, stream)
    assert not stream.getvalue().endswith(bytes(2 * 512))


def test_sockets_are_counted(client: Client, tmp_path: Path) -> None:
    import socket

    source = tmp_path / "source"
    source.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        previous = os.getcwd()
        os.chdir(source)  # the path of a socket must be short
        try:
            listener.bind("socket")
        finally:
            os.chdir(previous)
        stream = io.BytesIO()
        done, _ = export(client, client.snapshot(source), stream)
    assert (done.skipped_sockets, members(stream.getvalue()).keys()) == (1, {b"."})


def test_memory_does_not_depend_on_sizes(client: Client, tmp_path: Path) -> None:
    """Nothing larger than a chunk is ever written at once."""
    source = tmp_path / "source"
    plant(source, {b"large": noise(64 * KIB) * 100})
    counting = Counting()
    done, _ = export(client, client.snapshot(source), counting)
    assert (done.bytes, counting.largest <= 10 * KIB) == (6400 * KIB, True)
    assert counting.size > done.bytes
