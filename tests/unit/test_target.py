"""tree/target.py on real directories: what it writes, and that it never writes elsewhere."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chunkstore.errors import InvalidArgument, TargetError
from chunkstore.format.entries import Entry
from chunkstore.tree.directories import Directories
from chunkstore.tree.parts import OpenParts
from chunkstore.tree.problems import TargetFull
from chunkstore.tree.target import Overwrite, Ownership, Target
from chunkstore.tree.temporary_names import is_temporary
from tests.targets import MTIME, ROOT, as_nobody, count_open, directory, entry, link, read


class TestPrepare:
    def test_missing_parents_are_made(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b"
        Target.prepare(os.fsencode(path)).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o700

    def test_not_empty_is_refused_by_default(self, tmp_path: Path) -> None:
        (tmp_path / "f").touch()
        before = count_open()
        with pytest.raises(TargetError, match="not empty"):
            Target.prepare(os.fsencode(tmp_path))
        assert count_open() == before
        for overwrite in (Overwrite.ALWAYS, Overwrite.NEVER):
            Target.prepare(os.fsencode(tmp_path), overwrite=overwrite).close()

    def test_a_file_is_no_target(self, tmp_path: Path) -> None:
        (tmp_path / "f").touch()
        for name in ("f", "f/below"):
            with pytest.raises(TargetError):
                Target.prepare(os.fsencode(tmp_path / name))

    def test_missing_scratch(self, tmp_path: Path) -> None:
        before = count_open()
        with pytest.raises(OSError):
            Target.prepare(os.fsencode(tmp_path / "t"), scratch=str(tmp_path / "gone"))
        assert count_open() == before

    @pytest.mark.parametrize("limit", [1, 64])
    def test_what_is_not_finished_has_no_name_of_an_entry(self, place: bytes, limit: int) -> None:
        before = count_open()
        target = Target.prepare(place)
        target._files._open = OpenParts(target._directories, limit)
        target.make_directory(b"d")
        parts = [target.create(b"d/%d" % number, 3) for number in range(6)]
        for part in parts:
            assert part
            target.write_at(part, 0, b"a")
        assert parts[0]
        target.finish(parts[0], entry())
        assert parts[1]
        target.discard(parts[1])
        target.close()
        left = [name for name in os.listdir(place + b"/d") if name != b"0"]
        assert len(left) == 4
        assert all(map(is_temporary, left))
        assert {stat.S_IMODE(os.lstat(place + b"/d/" + name).st_mode) for name in left} == {0o600}
        assert count_open() == before

    def test_an_interrupt_leaves_no_part_of_a_file(
        self, target: Target, place: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(fd: int, entry: Entry) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(target._attributes, "set", interrupt)
        with pytest.raises(KeyboardInterrupt):
            target.write_whole(b"f", b"data", entry())
        assert os.listdir(place) == []

    def test_an_ancestor_gets_no_time(self, target: Target, place: bytes) -> None:
        for name in (b"ancestor", b"directory"):
            target.make_directory(name)
            extra = {"ancestor": True} if name == b"ancestor" else None
            target.note_directory(name, directory(0o711, mtime_ns=0, extra=extra))
        target.finish_directories()
        assert os.stat(place + b"/directory").st_mtime_ns == 0
        ancestor = os.stat(place + b"/ancestor")
        assert ancestor.st_mtime_ns > MTIME
        assert stat.S_IMODE(ancestor.st_mode) == 0o711

    def test_close_twice(self, place: bytes) -> None:
        before = count_open()
        target = Target.prepare(place)
        target.make_directory(b"d")
        target.write_whole(b"d/f", b"", entry())
        target.create(b"d/g", 3)
        target.close()
        target.close()
        assert count_open() == before


class TestEscape:
    BAD = (b"..", b".", b"../x", b"/x", b"//x", b"d/../x", b"d/./x", b"d//x", b"d/", b"/", b"a\0b", b"d/..", b"a\0/b")

    @pytest.mark.parametrize("path", BAD)
    def test_paths_that_are_not_plain(self, target: Target, place: bytes, path: bytes) -> None:
        target.make_directory(b"d")
        before = sorted(os.listdir(os.path.dirname(place)))
        for attempt in (
            lambda: target.write_whole(path, b"data", entry()),
            lambda: target.make_directory(path),
            lambda: target.make_symlink(path, link(b"x")),
            lambda: target.create(path, 1),
            lambda: target.make_link(b"new", path),
            lambda: target.make_link(path, b"d/old"),
        ):
            with pytest.raises(TargetError):
                attempt()
        target.note_directory(path, directory(0o500))
        target.finish_directories()
        assert target.not_set["mode"] == 1
        assert sorted(os.listdir(os.path.dirname(place))) == before
        assert os.listdir(place) == [b"d"]
        assert os.listdir(place + b"/d") == []

    def test_the_empty_path_is_no_file(self, target: Target) -> None:
        target.make_directory(b"")
        for attempt in (
            lambda: target.write_whole(b"", b"", entry()),
            lambda: target.create(b"", 1),
            lambda: target.make_symlink(b"", link(b"x")),
        ):
            with pytest.raises(TargetError):
                attempt()

    @pytest.mark.parametrize("overwrite", list(Overwrite))
    @pytest.mark.parametrize("leads", [b"../outside", b"/tmp", b".", b"inside"])
    def test_a_planted_link_is_no_directory(
        self, place: bytes, tmp_path: Path, overwrite: Overwrite, leads: bytes
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        with Target.prepare(place, overwrite=overwrite) as target:
            target.make_directory(b"inside")
            target.make_symlink(b"trap", link(leads))
            for attempt in (
                lambda: target.write_whole(b"trap/f", b"data", entry()),
                lambda: target.make_directory(b"trap/d"),
                lambda: target.make_directory(b"trap/d/e"),
                lambda: target.make_symlink(b"trap/l", link(b"x")),
                lambda: target.create(b"trap/p", 10),
                lambda: target.make_link(b"trap/h", b"inside"),
            ):
                with pytest.raises(TargetError):
                    attempt()
            target.note_directory(b"trap", directory(0o777, mtime_ns=5))
            target.finish_directories()
            assert target.not_set["mode"] == 1
        assert list(outside.iterdir()) == []
        assert os.listdir(place + b"/inside") == []
        assert outside.stat().st_mtime_ns != 5

    def test_make_directory_does_not_share_a_link_to_one(self, place: bytes, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        for overwrite in (Overwrite.REFUSE, Overwrite.NEVER):
            with Target.prepare(place + overwrite.name.encode(), overwrite=overwrite) as target:
                target.make_symlink(b"trap", link(b"../outside"))
                with pytest.raises(TargetError, match="in the way"):
                    target.make_directory(b"trap")
        with Target.prepare(place, overwrite=Overwrite.ALWAYS) as target:
            target.make_symlink(b"trap", link(b"../outside"))
            target.make_directory(b"trap")
            target.write_whole(b"trap/f", b"data", entry())
        assert read(place + b"/trap/f") == b"data"
        assert list(outside.iterdir()) == []

    def test_a_cached_directory_swapped_for_a_link(self, target: Target, place: bytes, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        target.make_directory(b"d")
        target.write_whole(b"d/one", b"1", entry())
        os.rename(place + b"/d", place + b"/moved")
        os.symlink(b"../outside", place + b"/d")
        target.write_whole(b"d/two", b"2", entry())  # into the directory that was opened, wherever it is now
        assert list(outside.iterdir()) == []
        assert read(place + b"/moved/two") == b"2"

    def test_a_file_is_not_followed_either(self, place: bytes, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        with Target.prepare(place, overwrite=Overwrite.ALWAYS) as target:
            target.make_symlink(b"f", link(os.fsencode(victim)))
            target.write_whole(b"f", b"data", entry())
            target.make_symlink(b"g", link(os.fsencode(victim)))
            part = target.create(b"g", 4)
            assert part
            target.write_at(part, 0, b"part")
            target.finish(part, entry())
        assert victim.read_bytes() == b"precious"
        assert read(place + b"/f") == b"data"
        assert read(place + b"/g") == b"part"

    @pytest.mark.parametrize("trap", ["link", "file", "fifo", "gone"])
    def test_a_part_file_swapped_while_it_is_closed(
        self, target: Target, place: bytes, tmp_path: Path, trap: str
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        part = target.create(b"f", 8)
        assert part
        written = place + b"/" + part.path
        target._files._open.close_all()
        os.unlink(written)
        if trap == "link":
            os.symlink(b"../victim", written)
        elif trap == "file":
            (tmp_path / "keep-the-inode").touch()
            os.link(victim, written)
        elif trap == "fifo":
            os.mkfifo(written)
        for attempt in (lambda: target.write_at(part, 0, b"data"), lambda: target.finish(part, entry())):
            with pytest.raises(TargetError):
                attempt()
        target.discard(part)
        assert victim.read_bytes() == b"precious"
        assert os.path.lexists(written) == (trap != "gone")
        assert not os.path.lexists(place + b"/f")

    def test_a_file_where_a_directory_is_expected(self, target: Target) -> None:
        target.write_whole(b"f", b"", entry())
        with pytest.raises(TargetError, match="f: "):
            target.write_whole(b"f/x", b"", entry())
        with pytest.raises(TargetError, match="in the way"):
            target.make_directory(b"f")
        with pytest.raises(TargetError):
            target.write_whole(b"missing/x", b"", entry())

    def test_a_failed_search_leaves_no_stale_directory(self, place: bytes) -> None:
        with Target.prepare(place) as target:
            target._directories._limit = 1
            for path in (b"a", b"b", b"b/c"):
                target.make_directory(path)
            target.write_whole(b"a/1", b"", entry())
            with pytest.raises(TargetError):
                target.write_whole(b"b/c/gone/x", b"", entry())
            target.write_whole(b"a/2", b"", entry())
        assert sorted(os.listdir(place + b"/a")) == [b"1", b"2"]


class TestOverwrite:
    @pytest.fixture
    def full(self, place: bytes) -> bytes:
        os.makedirs(place + b"/d/e")
        for name in (b"/f", b"/d/f"):
            Path(os.fsdecode(place + name)).write_bytes(b"old")
        os.symlink(b"f", place + b"/l")
        os.mkfifo(place + b"/p")
        return place

    def test_always_replaces_all_but_directories(self, full: bytes) -> None:
        with Target.prepare(full, overwrite=Overwrite.ALWAYS) as target:
            target.make_directory(b"d")
            for name in (b"f", b"d/f", b"l", b"p"):
                assert target.write_whole(name, b"new", entry())
                assert read(full + b"/" + name) == b"new"
            assert target.make_symlink(b"f", link(b"there"))
            assert os.readlink(full + b"/f") == b"there"
            target.make_directory(b"f")
            part = target.create(b"d/f", 3)
            assert part
            target.finish(part, entry())
            assert read(full + b"/d/f") == b"\0\0\0"
            for attempt in (
                lambda: target.write_whole(b"d", b"new", entry()),
                lambda: target.create(b"d", 1),
                lambda: target.make_symlink(b"d/e", link(b"x")),
            ):
                with pytest.raises(TargetError, match="a directory is in the way"):
                    attempt()

    def test_never_keeps(self, full: bytes) -> None:
        with Target.prepare(full, overwrite=Overwrite.NEVER) as target:
            target.make_directory(b"d")
            assert not target.write_whole(b"f", b"new", entry())
            assert not target.write_whole(b"d", b"new", entry())
            assert not target.make_symlink(b"l", link(b"new"))
            assert target.create(b"d/f", 3) is None
            assert not target.make_link(b"d/f", b"f")
            assert target.write_whole(b"new", b"new", entry())
            with pytest.raises(TargetError):
                target.make_directory(b"f")
        assert read(full + b"/f") == read(full + b"/d/f") == b"old"
        assert os.readlink(full + b"/l") == b"f"

    def test_what_comes_twice_is_an_error_in_an_empty_target(self, target: Target, place: bytes) -> None:
        target.write_whole(b"f", b"1", entry())
        with pytest.raises(TargetError, match="exists"):
            target.write_whole(b"f", b"2", entry())
        with pytest.raises(TargetError):
            target.make_symlink(b"f", link(b"x"))
        assert read(place + b"/f") == b"1"
        target.make_directory(b"d")
        target.make_directory(b"d")


class TestContent:
    def test_attributes_of_a_file(self, target: Target, place: bytes) -> None:
        data = os.urandom(100_000)
        assert target.write_whole(b"f", memoryview(data), entry(mode=0o604))
        status = os.lstat(place + b"/f")
        assert read(place + b"/f") == data
        assert stat.S_IMODE(status.st_mode) == 0o604
        assert status.st_mtime_ns == MTIME
        target.write_whole(b"old", b"", entry(mtime_ns=-1_000_000_001))
        assert os.lstat(place + b"/old").st_mtime_ns == -1_000_000_001

    @pytest.mark.skipif(sys.platform != "linux", reason="macOS takes no such names")
    @pytest.mark.parametrize("name", [b"n" * 255, b"\xff\xfe", b"new\nline", b"\x01", b" ", b"...", b"-rf"])
    def test_names(self, target: Target, place: bytes, name: bytes) -> None:
        target.make_directory(name)
        target.write_whole(name + b"/" + name, b"data", entry())
        target.make_symlink(name + b"/l", link(name))
        target.note_directory(name, directory(mtime_ns=7))
        target.finish_directories()
        assert read(place + b"/" + name + b"/" + name) == b"data"
        assert os.readlink(place + b"/" + name + b"/l") == name
        assert os.lstat(place + b"/" + name).st_mtime_ns == 7
        assert not target.not_set

    def test_odd_names_in_messages_are_safe(self, target: Target) -> None:
        with pytest.raises(TargetError) as caught:
            target.write_whole(b"\x1b[2J\xff/x", b"", entry())
        assert "\\x1b[2J\\xff" in str(caught.value)
        assert str(caught.value).isprintable()

    def test_a_name_that_is_too_long(self, target: Target) -> None:
        with pytest.raises(TargetError, match="too long"):
            target.write_whole(b"n" * 256, b"", entry())

    def test_symlink(self, target: Target, place: bytes) -> None:
        for name, leads in ((b"a", b"/etc/passwd"), (b"b", b"../../x"), (b"c", b"\xff\n")):
            if sys.platform == "linux" or leads != b"\xff\n":
                assert target.make_symlink(name, link(leads, mtime_ns=MTIME))
                assert os.readlink(place + b"/" + name) == leads
                assert os.lstat(place + b"/" + name).st_mtime_ns == MTIME
        with pytest.raises(TargetError):
            target.make_symlink(b"d", link(b""))

    def test_hard_link(self, target: Target, place: bytes) -> None:
        target.make_directory(b"d")
        target.write_whole(b"d/f", b"data", entry())
        assert target.make_link(b"g", b"d/f")
        assert os.path.samefile(place + b"/g", place + b"/d/f")
        with pytest.raises(TargetError):
            target.make_link(b"h", b"gone")
        with pytest.raises(InvalidArgument):
            target.make_link(b"g", b"g")

    def test_parts_in_any_order_with_holes(self, target: Target, place: bytes) -> None:
        part = target.create(b"f", 3_000_000)
        assert part
        target.write_at(part, 2_000_000, b"end")
        target.write_at(part, 10, memoryview(b"begin"))
        target.finish(part, entry(mode=0o400))
        status = os.lstat(place + b"/f")
        assert (status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (3_000_000, MTIME, 0o400)
        data = read(place + b"/f")
        assert data[10:15] == b"begin"
        assert data[2_000_000:2_000_003] == b"end"
        assert sum(data) == sum(b"begin") + sum(b"end")

    def test_a_part_outside_of_its_file(self, target: Target) -> None:
        part = target.create(b"f", 3)
        assert part
        for offset in (-1, 1, 4):
            with pytest.raises(InvalidArgument):
                target.write_at(part, offset, b"abc")

    def test_many_files_at_a_time(self, place: bytes) -> None:
        with Target.prepare(place) as target:
            before = count_open()
            target._files._open = OpenParts(target._directories, 3)
            target._directories._limit = 2
            for i in range(4):
                target.make_directory(b"d%d" % i)
            parts = [target.create(b"d%d/f%d" % (i % 4, i), 20) for i in range(20)]
            for offset in (10, 0):
                for i, part in enumerate(parts):
                    assert part
                    target.write_at(part, offset, b"%010d" % (i + offset))
            assert count_open() <= before + 3 + 2
            for part in parts:
                assert part
                target.finish(part, entry())
        for i in range(20):
            assert read(place + b"/d%d/f%d" % (i % 4, i)) == b"%010d%010d" % (i, i + 10)

    def test_discard(self, target: Target, place: bytes) -> None:
        part = target.create(b"f", 3)
        assert part
        target.discard(part)
        assert os.listdir(place) == []

    def test_paths_longer_than_the_system_takes(self, place: bytes) -> None:
        name = b"n" * 200
        with Target.prepare(place) as target:
            path = name
            for _ in range(100):
                target.make_directory(path)
                target.write_whole(path + b"/f", path[:10], entry())
                target.note_directory(path, directory(0o500, mtime_ns=9))
                path += b"/" + name
            target.finish_directories()
            assert not target.not_set
        assert os.lstat(place + b"/" + name).st_mtime_ns == 9
        os.chmod(place, 0o700)
        subprocess.run(["chmod", "-R", "u+w", os.fsdecode(place)], check=True)
        subprocess.run(["rm", "-rf", os.fsdecode(place)], check=True)

    @pytest.mark.skipif(not ROOT or sys.platform != "linux", reason="needs a small file system")
    def test_a_full_disk_ends_the_restore(self, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], capture_output=True)
        if mounted.returncode:
            pytest.skip("mounting is not allowed here")
        try:
            with Target.prepare(os.fsencode(small)) as target:
                with pytest.raises(TargetFull, match="no space"):
                    target.write_whole(b"f", b"x" * 100_000, entry())
                assert os.listdir(small) == []
                part = target.create(b"g", 100_000)
                assert part
                with pytest.raises(TargetFull):
                    target.write_at(part, 0, b"x" * 100_000)
        finally:
            subprocess.run(["umount", str(small)], check=True)


class TestDirectories:
    def test_times_and_modes_are_those_noted(self, target: Target, place: bytes) -> None:
        paths = [b"", b"a", b"a/b", b"a/b/c", b"z"]
        for i, path in enumerate(paths):
            target.make_directory(path)
            target.note_directory(path, directory(0o555 if i % 2 else 0o500, mtime_ns=MTIME + i))
        for path in paths:
            target.write_whole((path + b"/f").lstrip(b"/"), b"data", entry())
        target.finish_directories()
        for i, path in enumerate(paths):
            status = os.lstat(place + b"/" + path)
            assert status.st_mtime_ns == MTIME + i
            assert stat.S_IMODE(status.st_mode) == (0o555 if i % 2 else 0o500)
        assert not target.not_set
        subprocess.run(["chmod", "-R", "u+w", os.fsdecode(place)], check=True)

    def test_only_its_owner_sees_a_directory_that_is_being_written(self, target: Target, place: bytes) -> None:
        target.make_directory(b"d")
        assert stat.S_IMODE(os.lstat(place + b"/d").st_mode) == 0o700

    def test_a_directory_that_is_gone_is_counted(self, target: Target, place: bytes) -> None:
        for name in (b"d", b"e"):
            target.make_directory(name)
            target.note_directory(name, directory(mtime_ns=3))
        os.rmdir(place + b"/e")
        target.finish_directories()
        assert os.lstat(place + b"/d").st_mtime_ns == 3
        assert target.not_set["times"] == target.not_set["mode"] == 1
        target.finish_directories()
        assert target.not_set["times"] == 1

    def test_numbers_of_a_forged_manifest_are_counted(self, place: bytes) -> None:
        with Target.prepare(place, ownership=Ownership.NUMBERS) as target:
            target.make_directory(b"d")
            forged = {"uid": 1 << 63, "gid": 1 << 62, "mtime_ns": 1 << 120}
            target.note_directory(b"d", directory(**forged))
            target.finish_directories()
            target.write_whole(b"f", b"", entry(**forged))
            target.make_symlink(b"l", link(b"x", **forged))
            assert target.not_set == {"owner": 3, "times": 3}

    def test_cache_is_bounded(self, tmp_path: Path) -> None:
        root = os.open(tmp_path, os.O_RDONLY)
        directories = Directories(root, os.fsencode(tmp_path), limit=3)
        before = count_open()
        for i in range(10):
            path = tmp_path / f"{i}" / "a" / "b"
            path.mkdir(parents=True)
        for i in [*range(10), 9, 8, 0]:
            fd = directories.open(b"%d/a/b" % i)
            assert os.path.sameopenfile(fd, fd)
            assert os.fstat(fd).st_ino == (tmp_path / f"{i}" / "a" / "b").stat().st_ino
            assert count_open() <= before + 3
        directories.close()
        assert count_open() == before
        os.close(root)


class TestOwners:
    @pytest.mark.skipif(not ROOT, reason="only root gives files away")
    def test_root_restores_owners_and_set_id_bits(self, target: Target, place: bytes) -> None:
        other = {"uid": 1234, "gid": 4321}
        target.make_directory(b"d")
        target.write_whole(b"d/f", b"", entry(mode=0o6755, **other))
        target.make_symlink(b"d/l", link(b"x", **other))
        target.note_directory(b"d", directory(0o3770, **other))
        target.finish_directories()
        for name, mode in ((b"d", 0o3770), (b"d/f", 0o6755), (b"d/l", None)):
            status = os.lstat(place + b"/" + name)
            assert (status.st_uid, status.st_gid) == (1234, 4321)
            assert mode is None or stat.S_IMODE(status.st_mode) == mode
        assert not target.not_set

    @pytest.mark.skipif(not ROOT, reason="about what root does when told not to")
    def test_no_set_id_bits_for_the_wrong_owner(self, place: bytes) -> None:
        with Target.prepare(place, ownership=Ownership.NONE) as target:
            target.write_whole(b"f", b"", entry(mode=0o6755, uid=1234, gid=4321))
            target.write_whole(b"g", b"", entry(mode=0o6755))
            assert target.not_set == {"mode": 1}
        assert stat.S_IMODE(os.lstat(place + b"/f").st_mode) == 0o755
        assert stat.S_IMODE(os.lstat(place + b"/g").st_mode) == 0o6755
        assert os.lstat(place + b"/f").st_uid == 0

    def test_what_may_not_be_set_is_counted_once(self, open_place: bytes) -> None:
        def restore() -> None:
            with Target.prepare(open_place, ownership=Ownership.NUMBERS) as target:
                target.make_directory(b"d")
                for i in range(5):
                    target.write_whole(b"d/%d" % i, b"", entry(mode=0o4755, uid=1))
                target.make_symlink(b"l", link(b"x", uid=1))
                target.note_directory(b"d", directory(uid=1))
                target.finish_directories()
                assert target.not_set == {"owner": 7, "mode": 5}
                assert stat.S_IMODE(os.lstat(open_place + b"/d/0").st_mode) == 0o755

        as_nobody(restore)

    def test_read_only_directories_get_their_children_without_root(self, open_place: bytes) -> None:
        def restore(overwrite: Overwrite) -> None:
            with Target.prepare(open_place, overwrite=overwrite) as target:
                target.make_directory(b"d")
                target.note_directory(b"d", directory(0o500, mtime_ns=5))
                target.make_directory(b"d/e")
                target.note_directory(b"d/e", directory(0o000, mtime_ns=6))
                target.write_whole(b"d/e/f", b"data", entry(mode=0o000))
                target.finish_directories()
                assert not target.not_set
            assert stat.S_IMODE(os.lstat(open_place + b"/d").st_mode) == 0o500
            assert stat.S_IMODE(os.lstat(open_place + b"/d/e").st_mode) == 0
            assert os.lstat(open_place + b"/d").st_mtime_ns == 5
            os.chmod(open_place + b"/d/e", 0o500)

        as_nobody(lambda: restore(Overwrite.REFUSE))
        as_nobody(lambda: restore(Overwrite.ALWAYS))

    def test_no_rights_is_an_error_of_the_entry(self, open_place: bytes) -> None:
        def restore() -> None:
            os.makedirs(open_place + b"/closed", 0o700)
            os.chmod(open_place + b"/closed", 0o500)
            with Target.prepare(open_place, overwrite=Overwrite.ALWAYS) as target:
                with pytest.raises(TargetError, match="closed/f: Permission denied") as caught:
                    target.write_whole(b"closed/f", b"", entry())
                assert not isinstance(caught.value, TargetFull)
                target.write_whole(b"f", b"", entry())
            with pytest.raises(TargetError, match="Permission denied"):
                Target.prepare(open_place + b"/closed/new")

        as_nobody(restore)
