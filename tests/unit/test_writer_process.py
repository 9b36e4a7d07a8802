"""tree/writer_process.py: files written by another process are those that `Target` writes; nothing fails unseen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chunkstore.format.entries import Entry
from chunkstore.format.owners import NO_OWNERS
from chunkstore.tree import writer_process
from chunkstore.tree.inode_flags import SEALING
from chunkstore.tree.problems import TargetFull, WriterEnded
from chunkstore.tree.target import Ownership, Target
from chunkstore.tree.temporary_names import temporary_name
from chunkstore.tree.writer_process import Writers, Written
from tests.targets import ROOT, count_open, entry, read


@pytest.fixture
def target(place: bytes) -> Iterator[Target]:
    with Target.prepare(place) as target:
        yield target


@pytest.fixture
def writer(target: Target) -> Iterator[Writers[int]]:
    started = Writers[int].start(target)
    assert started
    with closing(started):
        yield started


def everything(writer: Writers[int], files: dict[bytes, tuple[bytes, Entry]]) -> list[Written[int]]:
    results = []
    for number, (relative, (data, each)) in enumerate(files.items()):
        assert writer.take(relative, memoryview(data), each, number)
        results += writer.results()
    return results + writer.finish()


class TestWritten:
    def test_as_the_target_writes_them(self, tmp_path: Path, target: Target, writer: Writers[int]) -> None:
        odd = {"xattrs": {b"user.a": b"\xff\0b"}, "atime": 12, "text": "\u00fc", "number": 2**63}
        files = {
            b"empty": (b"", entry()),
            b"d/some": (b"some", entry()._replace(mode=0o4751, mtime_ns=-5, uid=12345, gid=23456)),
            b"d/\xff\n": (b"name", entry()._replace(mode=0, mtime_ns=2**63 - 1)),
            b"d/extra": (b"x" * 300_000, entry()._replace(extra=odd)),
            b"large": (os.urandom(3 << 20), entry()),
            b"last": (b"last", entry()),
        }
        target.make_directory(b"d")
        results = everything(writer, files)
        assert results == [(number, len(data), None) for number, (data, _) in enumerate(files.values())]
        with Target.prepare(os.fsencode(tmp_path / "beside")) as beside:
            beside.make_directory(b"d")
            for relative, (data, each) in files.items():
                assert beside.write_whole(relative, data, each)
                written, wanted = (os.path.join(top.path, relative) for top in (target, beside))
                assert read(written) == read(wanted) == data
                one, other = os.lstat(written), os.lstat(wanted)
                assert (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)
                assert one.st_mtime_ns == other.st_mtime_ns
                assert os.listxattr(written) == os.listxattr(wanted)
            assert target.not_set == beside.not_set

    def test_thousands_in_their_order(self, target: Target, writer: Writers[int]) -> None:
        files = {b"%d" % number: (b"%d" % (number * 7), entry()) for number in range(5000)}
        assert [each.purpose for each in everything(writer, files)] == list(range(5000))
        assert all(read(os.path.join(target.path, name)) == data for name, (data, _) in files.items())

    def test_owners_are_those_of_here(self, place: bytes) -> None:
        with Target.prepare(place, ownership=Ownership.NAMES) as target:
            there = target.here(entry()._replace(uid=1, gid=1), NO_OWNERS)
            writer = Writers[int].start(target)
            assert writer
            with closing(writer):
                everything(writer, {b"f": (b"", there)})
            status = os.lstat(place + b"/f")
            assert (status.st_uid, status.st_gid) == ((1, 1) if ROOT else (os.getuid(), os.getgid()))
            assert target.not_set["owner"] == (not ROOT)

    def test_what_is_not_for_it(self, writer: Writers[int]) -> None:
        sealed = entry()._replace(extra={"flags": SEALING})
        far = entry()._replace(mtime_ns=2**70)
        for name, each in ((b"f", sealed), (b"f", far), (temporary_name(b"f"), entry())):
            assert not writer.take(name, b"", each, 0)
        assert writer.finish() == []


class TestTrouble:
    def test_a_file_that_fails_does_not_stop_others(self, target: Target, writer: Writers[int]) -> None:
        files = {name: (b"data", entry()) for name in (b"a", b"n" * 300, b"b", b"no/directory", b"../out", b"c")}
        with open(os.path.join(target.path, b"b"), "xb") as there:
            there.write(b"mine")
        results = everything(writer, files)
        assert [each.error is None for each in results] == [True, False, False, False, False, True]
        expected = ("File name too long", "File exists", "No such file", "not a path inside the target")
        said = [str(each.error) for each in results if each.error]
        assert all(text in message for text, message in zip(expected, said, strict=True))
        assert read(os.path.join(target.path, b"b")) == b"mine"
        assert sorted(os.listdir(target.path)) == [b"a", b"b", b"c"]

    @pytest.mark.skipif(not ROOT or sys.platform != "linux", reason="needs a small file system")
    def test_full(self, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], capture_output=True
        ).returncode:
            pytest.skip("mounting is not allowed here")
        try:
            with Target.prepare(os.fsencode(small)) as target:
                writer = Writers[int].start(target)
                assert writer
                with closing(writer), pytest.raises(TargetFull, match="no space is left"):
                    everything(writer, {b"%d" % number: (b"x" * 100_000, entry()) for number in range(100)})
            assert all(os.path.getsize(small / name) == 100_000 for name in os.listdir(small))
        finally:
            subprocess.run(["umount", str(small)], check=True)

    @pytest.mark.parametrize("files", [1, 10_000])
    def test_the_process_is_killed(self, writer: Writers[int], files: int) -> None:
        writer._helpers[0].process.send_signal(signal.SIGKILL)
        with pytest.raises(WriterEnded, match="ended unexpectedly"):
            everything(writer, {b"%d" % number: (b"data", entry()) for number in range(files)})

    def test_it_ends_with_its_pipe_and_not_by_an_interrupt(self, target: Target, writer: Writers[int]) -> None:
        assert len(everything(writer, {b"f": (b"", entry())})) == 1
        writer._helpers[0].process.send_signal(signal.SIGINT)
        assert len(everything(writer, {b"g": (b"", entry())})) == 1
        writer.close()
        assert writer._helpers[0].process.returncode == 0

    def test_more_errors_than_a_pipe_holds(self, writer: Writers[int]) -> None:
        files = {b"gone/" + b"n" * 200 + b"%d" % number: (b"", entry()) for number in range(5000)}
        assert all(each.error for each in everything(writer, files))

    def test_nothing_stays_open(self, target: Target) -> None:
        before = count_open()
        writer = Writers[int].start(target)
        assert writer
        writer.take(b"f", b"", entry(), 0)
        writer.close()
        writer.close()
        assert count_open() == before

    def test_no_process_to_be_had(self, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        before = count_open()
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        assert Writers[int].start(target) is None
        assert count_open() == before

    def test_a_process_that_does_not_find_the_library(self, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        before = count_open()
        monkeypatch.setattr(writer_process, "_MODULE", "chunkstore.nowhere")
        assert Writers[int].start(target) is None
        assert count_open() == before
