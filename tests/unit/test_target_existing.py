"""A target that is not empty: what is replaced, changed in place, gone on with, refreshed, removed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chunkstore.errors import TargetError
from chunkstore.format.entries import FIFO, Entry
from chunkstore.tree import punching
from chunkstore.tree.problems import NoLink, TargetFull
from chunkstore.tree.target import Overwrite, Ownership, Target
from chunkstore.tree.temporary_names import temporary_name
from tests.targets import MTIME, ROOT, as_nobody, count_open, directory, entry, link, read

REPLACING = [Overwrite.ALWAYS, Overwrite.IF_CHANGED, Overwrite.IF_NEWER]
root_only = pytest.mark.skipif(not ROOT, reason="only root may")


@pytest.fixture
def full(place: bytes) -> bytes:
    """A target with a file `f`, a link `l`, and a directory `d` with a file in it, all of them old."""
    with Target.prepare(place) as target:
        for name in (b"f", b"big"):
            target.write_whole(name, b"old", entry(mtime_ns=5))
        target.make_symlink(b"l", link(b"f", mtime_ns=5))
        target.make_directory(b"d")
        target.make_directory(b"d/e")
        target.write_whole(b"d/e/f", b"old", entry(mtime_ns=5))
    return place


def write_parts(target: Target, relative: bytes, data: bytes, said: Entry) -> bool:
    part = target.create(relative, len(data), said)
    if part is None:
        return False
    target.write_at(part, 0, data)
    return target.finish(part, said)


class TestReplacing:
    @pytest.mark.parametrize("overwrite", REPLACING)
    def test_files_links_and_pipes_are_replaced(self, full: bytes, overwrite: Overwrite) -> None:
        new = entry(mtime_ns=6)
        with Target.prepare(full, overwrite=overwrite) as target:
            assert target.write_whole(b"f", b"new", new)
            assert write_parts(target, b"big", b"new", new)
            assert target.write_whole(b"l", b"new", new)
            assert target.make_symlink(b"d/e/f", link(b"new", mtime_ns=6))
        for name in (b"/f", b"/big", b"/l"):
            assert read(full + name) == b"new"
            assert os.lstat(full + name).st_mtime_ns == 6
        assert os.readlink(full + b"/d/e/f") == b"new"
        assert sorted(os.listdir(full)) == [b"big", b"d", b"f", b"l"]

    @pytest.mark.parametrize("age", [5, 4])
    def test_if_newer_keeps_what_is_as_new(self, full: bytes, age: int) -> None:
        with Target.prepare(full, overwrite=Overwrite.IF_NEWER, delete=True) as target:
            said = entry(mtime_ns=age)
            assert not target.write_whole(b"f", b"new", said)
            assert not write_parts(target, b"big", b"new", said)
            assert not target.make_symlink(b"l", link(b"new", mtime_ns=age))
            assert target.make_special(b"f", entry(FIFO, mtime_ns=age)) is False
            assert target.write_whole(b"new", b"new", said)
            assert not target.make_link(b"f", b"new", said)
        assert read(full + b"/f") == read(full + b"/big") == b"old"

    @pytest.mark.parametrize("overwrite", REPLACING)
    def test_directories_in_the_way_go_only_if_told(self, full: bytes, overwrite: Overwrite) -> None:
        new = entry()
        with Target.prepare(full, overwrite=overwrite) as target:
            for attempt in (
                lambda: target.write_whole(b"d", b"new", new),
                lambda: target.create(b"d", 3, new),
                lambda: target.make_link(b"d", b"f", new),
            ):
                with pytest.raises(TargetError, match="a directory is in the way"):
                    attempt()
        with Target.prepare(full, overwrite=overwrite, delete=True) as target:
            target.make_directory(b"d")
            target.make_directory(b"d/e")  # both are open now
            target.write_whole(b"d/e/g", b"new", new)
            assert target.make_symlink(b"d", link(b"x"))
            with pytest.raises(TargetError):
                target.write_whole(b"d/e/h", b"new", new)
        assert os.readlink(full + b"/d") == b"x"

    def test_a_directory_gives_way_to_a_file_in_parts(self, full: bytes) -> None:
        with Target.prepare(full, overwrite=Overwrite.ALWAYS, delete=True) as target:
            assert write_parts(target, b"d", b"new", entry())
        assert read(full + b"/d") == b"new"

    @pytest.mark.parametrize("overwrite", [Overwrite.NEVER, Overwrite.REFUSE])
    def test_what_comes_to_be_there_meanwhile_stays(self, place: bytes, overwrite: Overwrite) -> None:
        with Target.prepare(place, overwrite=overwrite) as target:
            part = target.create(b"f", 3)
            assert part
            Path(os.fsdecode(place + b"/f")).write_bytes(b"somebody else's")
            if overwrite is Overwrite.NEVER:
                assert not target.finish(part, entry())
            else:
                with pytest.raises(TargetError):
                    target.finish(part, entry())
                target.discard(part)
            assert os.listdir(place) == [b"f"]
        assert read(place + b"/f") == b"somebody else's"

    def test_somebody_who_looks_sees_one_of_both(self, full: bytes) -> None:
        seen: set[bytes] = set()
        going = True

        def look() -> None:
            while going:
                seen.add(read(full + b"/f"))

        looking = threading.Thread(target=look)
        looking.start()
        with Target.prepare(full, overwrite=Overwrite.ALWAYS) as target:
            for _ in range(200):
                target.write_whole(b"f", b"new", entry())
                write_parts(target, b"f", b"old", entry())
        going = False
        looking.join()
        assert seen <= {b"old", b"new"}

    @pytest.mark.skipif(not ROOT or sys.platform != "linux", reason="needs a small file system")
    def test_on_a_full_disk_the_old_file_stays(self, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], capture_output=True)
        if mounted.returncode:
            pytest.skip("mounting is not allowed here")
        try:
            (small / "f").write_bytes(b"old")
            with Target.prepare(os.fsencode(small), overwrite=Overwrite.ALWAYS) as target:
                with pytest.raises(TargetFull):
                    target.write_whole(b"f", b"x" * 100_000, entry())
                part = target.create(b"f", 100_000, entry())
                assert part
                with pytest.raises(TargetFull):
                    target.write_at(part, 0, b"x" * 100_000)
                target.discard(part)
            assert os.listdir(small) == ["f"]
            assert (small / "f").read_bytes() == b"old"
        finally:
            subprocess.run(["umount", str(small)], check=True)

    def test_an_entry_with_a_temporary_name_is_kept_apart(self, place: bytes) -> None:
        odd = temporary_name(b"f")
        with Target.prepare(place) as target:
            target.write_whole(odd, b"odd", entry())
            assert write_parts(target, b"f", b"data", entry())
            part = target.create(b"g", 1)
            assert part
            with pytest.raises(TargetError, match="in use"):
                target.write_whole(temporary_name(b"g"), b"odd", entry())
            target.finish(part, entry())
        assert read(place + b"/" + odd) == b"odd"
        assert read(place + b"/f") == b"data"


class TestLinks:
    def test_a_link_that_is_one_already_is_left_alone(self, full: bytes) -> None:
        with Target.prepare(full, overwrite=Overwrite.ALWAYS) as target:
            for name in (b"l", b"new", b"new"):
                assert target.make_link(name, b"f")
        assert os.path.samefile(full + b"/l", full + b"/f")
        assert os.lstat(full + b"/f").st_nlink == 3
        assert sorted(os.listdir(full)) == [b"big", b"d", b"f", b"l", b"new"]

    def test_where_there_can_be_none(self, full: bytes) -> None:
        with Target.prepare(full, overwrite=Overwrite.ALWAYS) as target:
            for existing in (b"gone", b"d"):
                with pytest.raises(NoLink):
                    target.make_link(b"new", existing)
                with pytest.raises(NoLink):
                    target.make_link(b"f", existing)
        assert read(full + b"/f") == b"old"
        assert sorted(os.listdir(full)) == [b"big", b"d", b"f", b"l"]

    @pytest.mark.skipif(not ROOT or sys.platform != "linux", reason="needs another file system")
    def test_not_across_file_systems(self, tmp_path: Path) -> None:
        os.makedirs(tmp_path / "t" / "m")
        if subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path / "t" / "m")], capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        try:
            with Target.prepare(os.fsencode(tmp_path / "t"), overwrite=Overwrite.ALWAYS, delete=True) as target:
                target.write_whole(b"f", b"", entry())
                with pytest.raises(NoLink):
                    target.make_link(b"m/g", b"f")
                target.write_whole(b"m/g", b"there", entry())
                for attempt in (lambda: target.remove(b"m"), lambda: target.write_whole(b"m", b"", entry())):
                    with pytest.raises(TargetError, match="t/m: another file system is mounted there"):
                        attempt()
                assert read(os.fsencode(tmp_path) + b"/t/m/g") == b"there"
        finally:
            subprocess.run(["umount", str(tmp_path / "t" / "m")], check=True)


class TestGoingOn:
    def test_a_file_is_found_as_it_was_left(self, place: bytes) -> None:
        data = os.urandom(100_000)
        with Target.prepare(place) as target:
            part = target.create(b"f", len(data))
            assert part
            assert part.there == 0
            target.write_at(part, 1000, data[1000:50_000])
        assert os.listdir(place) == [temporary_name(b"f")]
        with Target.prepare(place, overwrite=Overwrite.NEVER) as target:
            part = target.create(b"f", len(data))
            assert part
            assert part.there == 50_000
            assert target.read_at(part, 1000, 60_000) == data[1000:50_000]
            assert target.read_at(part, 70_000, 10) == b""
            target.write_at(part, 0, data[:1000])
            target.write_at(part, 50_000, data[50_000:])
            assert target.finish(part, entry(mode=0o444))
        assert os.listdir(place) == [b"f"]
        assert read(place + b"/f") == data
        assert stat.S_IMODE(os.lstat(place + b"/f").st_mode) == 0o444

    def test_a_longer_rest_is_cut_and_holes_are_made(self, place: bytes) -> None:
        with Target.prepare(place) as target:
            part = target.create(b"f", 300_000)
            assert part
            target.write_at(part, 0, b"x" * 300_000)
        with Target.prepare(place, overwrite=Overwrite.NEVER) as target:
            part = target.create(b"f", 200_000)
            assert part
            target.make_hole(part, 50_000, 100_000)
            target.finish(part, entry())
        assert read(place + b"/f") == b"x" * 50_000 + bytes(100_000) + b"x" * 50_000

    @pytest.mark.parametrize("trap", ["link", "hard link", "directory", "pipe", "open to others", "others"])
    def test_what_could_be_somebody_elses_is_not_used(self, place: bytes, tmp_path: Path, trap: str) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        os.mkdir(place)
        temporary = place + b"/" + temporary_name(b"f")
        if trap == "link":
            os.symlink(b"../victim", temporary)
        elif trap == "hard link":
            victim.chmod(0o600)
            os.link(victim, temporary)
        elif trap == "directory":
            os.mkdir(temporary)
        elif trap == "pipe":
            os.mkfifo(temporary)
        else:
            Path(os.fsdecode(temporary)).write_bytes(b"theirs")
            os.chmod(temporary, 0o600 if trap == "others" else 0o622)
            if trap == "others":
                if not ROOT:
                    pytest.skip("needs somebody else")
                os.chown(temporary, 1234, 1234)
        with Target.prepare(place, overwrite=Overwrite.ALWAYS) as target:
            if trap == "directory":
                with pytest.raises(TargetError):
                    target.create(b"f", 4)
            else:
                assert write_parts(target, b"f", b"data", entry())
                assert read(place + b"/f") == b"data"
                assert os.listdir(place) == [b"f"]
        assert victim.read_bytes() == b"precious"


class TestInPlace:
    def test_only_what_is_written_changes(self, full: bytes) -> None:
        before = os.lstat(full + b"/f")
        with Target.prepare(full, overwrite=Overwrite.IF_CHANGED) as target:
            said = entry(size=6, mode=0o644)
            part = target.open_existing(b"f", said)
            assert part
            assert (part.there, part.in_place) == (3, True)
            assert target.read_at(part, 0, 10) == b"old"
            target._files._open.close_all()
            target.write_at(part, 3, b"er!")
            assert target.finish(part, said)
            assert not target.not_set
        after = os.lstat(full + b"/f")
        assert read(full + b"/f") == b"older!"
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, MTIME)

    def test_a_shorter_one_and_one_that_fails(self, full: bytes) -> None:
        with Target.prepare(full, overwrite=Overwrite.ALWAYS) as target:
            part = target.open_existing(b"f", entry(size=1))
            assert part
            target.finish(part, entry(size=1))
            part = target.open_existing(b"big", entry(size=3))
            assert part
            target.write_at(part, 0, b"n")
            target.discard(part)
        assert read(full + b"/f") == b"o"
        assert read(full + b"/big") == b"nld"

    @pytest.mark.parametrize("what", ["gone", "l", "pipe", "linked", "wide", "set-id"])
    def test_what_is_not_safe_is_not_opened(self, full: bytes, tmp_path: Path, what: str) -> None:
        path = full + b"/" + what.encode()
        outside = tmp_path / "outside"
        outside.write_bytes(b"precious")
        if what == "pipe":
            os.mkfifo(path)
        elif what == "linked":
            os.link(outside, path)
        elif what in ("wide", "set-id"):
            Path(os.fsdecode(path)).write_bytes(b"old")
            os.chmod(path, 0o4755 if what == "set-id" else 0o666)
        before = count_open()
        with Target.prepare(full, overwrite=Overwrite.ALWAYS) as target:
            part = target.open_existing(what.encode(), entry(mode=0o755))
            assert bool(part) == (what == "set-id")
            if part:  # while it is neither the old nor the new program it must not be one of its owner's rights
                assert stat.S_IMODE(os.lstat(path).st_mode) == 0o755
                target.finish(part, entry(mode=0o4755))
                assert stat.S_IMODE(os.lstat(path).st_mode) == 0o4755
        assert count_open() == before
        assert outside.read_bytes() == b"precious"

    def test_names_outside_keep_their_content(self, full: bytes, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.write_bytes(b"precious")
        outside.chmod(0o640)
        os.link(outside, full + b"/linked")
        with Target.prepare(full, overwrite=Overwrite.IF_CHANGED) as target:
            old = target.read_existing(b"linked")
            assert old
            assert (old.size, old.read_at(3, 100)) == (8, b"cious")
            assert write_parts(target, b"linked", b"new" + old.read_at(3, 5), entry())
            old.close()
            old.close()
        assert read(full + b"/linked") == b"newcious"
        assert outside.read_bytes() == b"precious"
        assert stat.S_IMODE(outside.stat().st_mode) == 0o640

    @root_only
    def test_others_files_are_not_changed_in_place(self, full: bytes) -> None:
        os.chown(full + b"/f", 1234, os.getegid())
        os.chown(full + b"/big", 1234, os.getegid())
        with Target.prepare(full, overwrite=Overwrite.ALWAYS, ownership=Ownership.NUMBERS) as target:
            assert target.open_existing(b"f", entry(uid=77)) is None
            assert target.open_existing(b"f", entry(uid=0)) is None
            assert target.open_existing(b"f", entry(uid=1234, gid=77)) is None
            assert target.open_existing(b"f", entry(uid=1234))
        with Target.prepare(full, overwrite=Overwrite.ALWAYS, ownership=Ownership.NONE) as target:
            assert target.open_existing(b"big", entry(uid=1234)) is None

    @pytest.mark.skipif(sys.platform != "linux", reason="lists of Linux")
    def test_an_acl_that_lets_others_in(self, full: bytes) -> None:
        subprocess.run(["setfacl", "-m", "u:1234:r", full + b"/f"], check=True)
        acl = os.getxattr(full + b"/f", "system.posix_acl_access")
        with Target.prepare(full, overwrite=Overwrite.ALWAYS) as target:
            assert target.open_existing(b"f", entry()) is None
            assert target.open_existing(b"f", entry(extra={"xattrs": {b"system.posix_acl_access": acl}}))

    def test_without_the_right_to_write(self, open_place: bytes) -> None:
        def restore() -> None:
            with Target.prepare(open_place, overwrite=Overwrite.ALWAYS) as target:
                target.write_whole(b"f", b"old", entry(mode=0o400))
                assert target.open_existing(b"f", entry(mode=0o400)) is None
                assert write_parts(target, b"f", b"new", entry(mode=0o400))
            assert read(open_place + b"/f") == b"new"

        as_nobody(restore)

    @pytest.mark.parametrize("can_punch", [True, False])
    def test_holes(self, full: bytes, monkeypatch: pytest.MonkeyPatch, can_punch: bool) -> None:
        if not can_punch:
            monkeypatch.setattr(punching, "_punch", lambda: None)
        size = 5 << 20
        with Target.prepare(full, overwrite=Overwrite.ALWAYS) as target:
            said = entry(size=size)
            target.write_whole(b"f", b"x" * size, said)
            part = target.open_existing(b"f", said)
            assert part
            target.make_hole(part, 1000, size - 2000)
            target.make_hole(part, size - 10, 1 << 40)
            target.make_hole(part, size + 10, 1 << 40)
            target.finish(part, said)
        assert read(full + b"/f") == b"x" * 1000 + bytes(size - 2000) + b"x" * 990 + bytes(10)
        assert not can_punch or sys.platform != "linux" or os.lstat(full + b"/f").st_blocks * 512 < 100_000

    def test_nothing_is_opened_that_is_to_be_kept(self, full: bytes, tmp_path: Path) -> None:
        with Target.prepare(os.fsencode(tmp_path / "new")) as target:
            target.write_whole(b"f", b"", entry())
            for attempt in (lambda: target.create(b"f", 1), lambda: target.open_existing(b"f", entry())):
                with pytest.raises(TargetError):
                    attempt()
        with Target.prepare(full, overwrite=Overwrite.NEVER) as target:
            assert target.open_existing(b"f", entry()) is None
        with Target.prepare(full, overwrite=Overwrite.IF_NEWER) as target:
            assert target.open_existing(b"f", entry(mtime_ns=5)) is None
            assert target.open_existing(b"f", entry(mtime_ns=6))
            with pytest.raises(TargetError, match="a directory is in the way"):
                target.open_existing(b"d", entry())


class TestRefreshing:
    def test_attributes_alone(self, full: bytes) -> None:
        with Target.prepare(full, overwrite=Overwrite.IF_CHANGED) as target:
            assert target.refresh(b"f", entry(mode=0o600))
            assert not target.refresh(b"d", entry())
            assert not target.refresh(b"l", entry())
            assert not target.refresh(b"gone", entry())
        status = os.lstat(full + b"/f")
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o600, MTIME)
        assert read(full + b"/f") == b"old"

    def test_not_what_has_names_elsewhere_or_other_writers(self, full: bytes, tmp_path: Path) -> None:
        os.link(full + b"/f", tmp_path / "outside")
        os.chmod(full + b"/big", 0o622)
        with Target.prepare(full, overwrite=Overwrite.IF_CHANGED) as target:
            assert not target.refresh(b"f", entry(mode=0o600))
            assert target.refresh(b"f", entry(mode=0o644, mtime_ns=5))  # nothing is to be done
            assert not target.refresh(b"big", entry(mode=0o600))
        assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o644

    @root_only
    def test_not_somebody_elses(self, full: bytes) -> None:
        os.chown(full + b"/f", 1234, os.getegid())
        with Target.prepare(full, overwrite=Overwrite.IF_CHANGED) as target:
            assert not target.refresh(b"f", entry(mode=0o4755))
        assert stat.S_IMODE(os.lstat(full + b"/f").st_mode) == 0o644

    def test_what_is_there(self, full: bytes) -> None:
        with Target.prepare(full, overwrite=Overwrite.IF_CHANGED) as target:
            status = target.status(b"f")
            assert status
            assert status.st_size == 3
            assert target.status(b"gone") is None
            assert (target.status(b"") or status).st_ino == os.lstat(full).st_ino
            assert (target.link_target(b"l"), target.link_target(b"f")) == (b"f", None)
            assert [target.read_existing(name) for name in (b"gone", b"d", b"l")] == [None] * 3
            with pytest.raises(TargetError):
                target.status(b"../f")


class TestRemoving:
    def test_trees_go_and_links_are_not_followed(self, full: bytes, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "f").write_bytes(b"precious")
        os.symlink(outside, full + b"/d/e/link")
        os.symlink(outside, full + b"/top")
        removed: list[bytes] = []
        with Target.prepare(full, overwrite=Overwrite.ALWAYS) as target:
            for name in (b"d", b"top", b"f", b"gone"):
                target.remove(name, removed.append)
            for bad in (b"", b"..", b"../outside", b"top/f"):
                with pytest.raises(TargetError):
                    target.remove(bad)
            target.make_directory(b"d")
            target.write_whole(b"d/f", b"new", entry())
        assert sorted(removed) == [b"d", b"d/e", b"d/e/f", b"d/e/link", b"f", b"top"]
        assert removed.index(b"d/e") < removed.index(b"d")
        assert (outside / "f").read_bytes() == b"precious"
        assert sorted(os.listdir(full)) == [b"big", b"d", b"l"]

    def test_deeper_than_files_may_be_open(self, place: bytes) -> None:
        with Target.prepare(place) as target:
            path = b"d"
            for _ in range(300):
                target.make_directory(path)
                target.write_whole(path + b"/f", b"", entry())
                path += b"/" + b"n" * 30
        removed: list[bytes] = []
        before = count_open()
        with Target.prepare(place, overwrite=Overwrite.ALWAYS) as target:
            target.remove(b"d", removed.append)
        assert count_open() == before
        assert os.listdir(place) == []
        assert len(removed) == len(set(removed)) == 600
        assert not [path for path in removed if b"chunkstore" in path]

    def test_many_names(self, place: bytes) -> None:
        with Target.prepare(place) as target:
            target.make_directory(b"d")
            for number in range(2500):
                target.write_whole(b"d/%d" % number, b"", entry())
            target.remove(b"d")
        assert os.listdir(place) == []

    def test_directories_without_rights_are_opened_first(self, open_place: bytes) -> None:
        def restore() -> None:
            with Target.prepare(open_place) as target:
                path = b""
                for number in range(60):
                    path += b"/d" if path else b"d"
                    target.make_directory(path)
                    target.write_whole(path + b"/f", b"", entry(mode=0))
                    target.note_directory(path, directory(0o500 if number % 2 else 0))
                target.finish_directories()
            with Target.prepare(open_place, overwrite=Overwrite.ALWAYS) as target:
                target.remove(b"d")
            assert os.listdir(open_place) == []

        as_nobody(restore)

    @root_only
    def test_not_what_is_mounted_from_the_same_file_system(self, place: bytes, tmp_path: Path) -> None:
        (tmp_path / "precious").mkdir()
        (tmp_path / "precious" / "f").touch()
        os.makedirs(place + b"/d/m")
        mount = ["mount", "--bind", str(tmp_path / "precious"), os.fsdecode(place) + "/d/m"]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        try:
            with (
                Target.prepare(place, overwrite=Overwrite.ALWAYS) as target,
                pytest.raises(TargetError, match="d/m: another file system is mounted there"),
            ):
                target.remove(b"d")
            assert (tmp_path / "precious" / "f").exists()
        finally:
            subprocess.run(["umount", mount[-1]], check=True)
