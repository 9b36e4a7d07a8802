"""Attributes that a target gives to what is restored, on a disk and in memory, for root and for others."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.errors import TargetError
from chunkstore.format.entries import BLOCK_DEVICE, CHARACTER_DEVICE, FIFO
from chunkstore.format.owners import Owners
from chunkstore.tree.attributes import Attributes
from chunkstore.tree.inode_flags import add_flags, read_flags
from chunkstore.tree.target import Overwrite, Ownership, Target
from chunkstore.tree.xattrs_writing import mode_without_acl
from tests.targets import MTIME, ROOT, as_nobody, directory, entry, link, read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attributes of Linux")
root_only = pytest.mark.skipif(not ROOT, reason="only root may")

ACL = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
IMMUTABLE, APPEND, NODUMP, NOATIME = 0x10, 0x20, 0x40, 0x80


@pytest.fixture(params=["disk", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[bytes]:
    """A place for a target; what is sealed in it is unsealed in the end."""
    if request.param == "memory" and not os.path.isdir("/dev/shm"):
        pytest.skip("no file system in memory")
    path = tempfile.mkdtemp(dir="/dev/shm") if request.param == "memory" else str(tmp_path)
    yield os.fsencode(path) + b"/target"
    subprocess.run(["chattr", "-R", "-i", "-a", path], capture_output=True)
    subprocess.run(["chmod", "-R", "u+rwX", path], check=True)
    if request.param == "memory":
        subprocess.run(["rm", "-rf", path], check=True)


def setfacl(*arguments: str | bytes) -> None:
    subprocess.run(["setfacl", *arguments], check=True)


def acl_of(tmp_path: Path, spec: str, name: bytes = ACL) -> bytes:
    """The ACL that `setfacl` makes of a text."""
    path = tmp_path / "pattern"
    path.mkdir(exist_ok=True)
    setfacl("-b", "-k", str(path))
    setfacl(*(["-d"] if name == DEFAULT else []), "-m", spec, str(path))
    return os.getxattr(path, name)


def flags_of(path: bytes) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_flags(fd)
    finally:
        os.close(fd)


def seal(path: bytes, flags: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        if not add_flags(fd, flags):
            pytest.skip("no such flags here")
    finally:
        os.close(fd)


class TestExtendedAttributes:
    def test_of_files_directories_and_parts(self, where: bytes) -> None:
        xattrs = {b"user.one": b"1\0\xff", b"user.empty": b""}
        with Target.prepare(where) as target:
            target.make_directory(b"d")
            target.note_directory(b"d", directory(0o500, extra={"xattrs": xattrs}))
            target.write_whole(b"d/f", b"data", entry(mode=0o400, extra={"xattrs": xattrs}))
            part = target.create(b"d/p", 3)
            assert part
            target.finish(part, entry(mode=0, extra={"xattrs": xattrs}))
            target.finish_directories()
            assert not target.not_set
        for path in (b"/d", b"/d/f", b"/d/p"):
            assert {name: os.getxattr(where + path, name) for name in xattrs} == xattrs
            assert len(os.listxattr(where + path)) == 2
            assert os.lstat(where + path).st_mtime_ns == MTIME
        os.chmod(where + b"/d", 0o700)

    @root_only
    def test_of_links_pipes_and_devices(self, where: bytes) -> None:
        xattrs = {b"trusted.one": b"1"}
        with Target.prepare(where) as target:
            target.make_symlink(b"m", entry(3, extra={"xattrs": xattrs, "target": b"p"}))
            target.make_special(b"p", entry(FIFO, mode=0o640, extra={"xattrs": xattrs}))
            assert not target.not_set
        for name in (b"m", b"p"):
            assert os.getxattr(where + b"/" + name, b"trusted.one", follow_symlinks=False) == b"1"
            assert os.lstat(where + b"/" + name).st_mtime_ns == MTIME

    def test_what_is_refused_is_counted_once_an_entry(self, open_place: bytes) -> None:
        xattrs = {b"trusted.a": b"1", b"security.b": b"2", b"nonsense": b"", b"user.c": b"3", b"user.d": b"4"}

        def restore() -> None:
            with Target.prepare(open_place) as target:
                for name in (b"f", b"g"):
                    target.write_whole(name, b"", entry(mode=0o400, extra={"xattrs": xattrs}))
                assert target.not_set == {"extended attributes": 2}
            assert os.getxattr(open_place + b"/f", b"user.c") == b"3"
            assert os.getxattr(open_place + b"/f", b"user.d") == b"4"

        as_nobody(restore)

    def test_a_file_that_is_updated_loses_what_its_entry_has_not(self, where: bytes) -> None:
        with Target.prepare(where, overwrite=Overwrite.ALWAYS) as target:
            extra = {"xattrs": {b"user.old": b"1", b"user.both": b"1"}}
            target.write_whole(b"f", b"data", entry(extra=extra))
            new = entry(size=4, extra={"xattrs": {b"user.both": b"2"}})
            part = target.open_existing(b"f", new)
            assert part
            target.finish(part, new)
            assert not target.not_set
        assert os.listxattr(where + b"/f") == ["user.both"]
        assert os.getxattr(where + b"/f", b"user.both") == b"2"

    def test_times_of_access(self, where: bytes) -> None:
        with Target.prepare(where) as target:
            target.write_whole(b"f", b"data", entry(extra={"atime": 7}))
            target.make_symlink(b"l", link(b"f", mtime_ns=0))
            target.write_whole(b"g", b"data", entry())
            target.make_directory(b"d")
            target.note_directory(b"d", directory(extra={"atime": 9}))
            target.finish_directories()
        assert os.lstat(where + b"/f").st_atime_ns == 7
        assert os.lstat(where + b"/g").st_atime_ns == MTIME
        assert os.lstat(where + b"/d").st_atime_ns == 9


class TestLists:
    def test_an_acl_comes_back_as_getfacl_shows_it(self, where: bytes, tmp_path: Path) -> None:
        spec = "u::rw,u:1234:rwx,g::r,g:4321:-,m::rx,o::-"
        access, default = acl_of(tmp_path, spec), acl_of(tmp_path, spec, DEFAULT)
        with Target.prepare(where) as target:
            target.make_directory(b"d")
            target.note_directory(b"d", directory(0o650, extra={"xattrs": {ACL: access, DEFAULT: default}}))
            target.write_whole(b"d/f", b"data", entry(mode=0o650, extra={"xattrs": {ACL: access}}))
            target.write_whole(b"d/g", b"data", entry(mode=0o650))
            target.finish_directories()
            assert not target.not_set
        shown = {
            name: subprocess.run(
                ["getfacl", "-cnpE", where + name], check=True, capture_output=True, text=True
            ).stdout.split()
            for name in (b"/d", b"/d/f", b"/d/g")
        }
        lines = ["user::rw-", "user:1234:rwx", "group::r--", "group:4321:---", "mask::r-x", "other::---"]
        assert shown[b"/d/f"] == lines
        assert shown[b"/d"] == lines + ["default:" + line for line in lines]
        assert shown[b"/d/g"] == ["user::rw-", "group::r-x", "other::---"]
        assert stat.S_IMODE(os.lstat(where + b"/d/f").st_mode) == 0o650

    @pytest.mark.parametrize("inherited", ["root", "shared"])
    def test_what_a_directory_hands_down_gives_nobody_rights(self, where: bytes, inherited: str) -> None:
        os.makedirs(where + b"/shared")
        setfacl("-d", "-m", "u:1234:rwx,g:4321:rwx,o::rwx", where if inherited == "root" else where + b"/shared")
        before = os.listxattr(where)
        with Target.prepare(where, overwrite=Overwrite.ALWAYS) as target:
            target.make_directory(b"shared")
            target.note_directory(b"shared", directory(0o755))
            target.make_directory(b"shared/new")
            target.note_directory(b"shared/new", directory(0o755))
            target.write_whole(b"shared/new/f", b"", entry(mode=0o644))
            target.write_whole(b"shared/f", b"", entry(mode=0o600))
            target.make_special(b"shared/p", entry(FIFO, mode=0o666))
            part = target.create(b"shared/part", 1)
            assert part
            target.finish(part, entry(mode=0o666))
            target.finish_directories()
            assert not target.not_set
        assert os.listxattr(where) == before
        for name in (b"", b"/new", b"/new/f", b"/f", b"/p", b"/part"):
            assert os.listxattr(where + b"/shared" + name) == [], name
        assert stat.S_IMODE(os.lstat(where + b"/shared/new/f").st_mode) == 0o644

    def test_an_ancestor_keeps_its_own(self, where: bytes) -> None:
        os.makedirs(where + b"/d")
        setfacl("-m", "u:1234:rx", where + b"/d")
        with Target.prepare(where, overwrite=Overwrite.ALWAYS) as target:
            target.make_directory(b"d")
            target.note_directory(b"d", directory(0o755, extra={"ancestor": True}))
            target.finish_directories()
        assert os.listxattr(where + b"/d") == ["system.posix_acl_access"]

    def test_without_its_acl_a_mode_allows_the_group_no_more(self, where: bytes, tmp_path: Path) -> None:
        acl = acl_of(tmp_path, "u::rw,u:1234:rwx,g::-,m::rwx,o::-")
        assert mode_without_acl(0o670, acl) == 0o600
        assert mode_without_acl(0o4670, acl[:-3]) == 0o4600
        assert mode_without_acl(0o777, b"") == 0o707
        broken = acl[:4] + b"\xff" * 8 + acl[12:]
        with Target.prepare(where) as target:
            target.write_whole(b"f", b"", entry(mode=0o670, extra={"xattrs": {ACL: broken}}))
            assert target.not_set == {"extended attributes": 1}
        assert stat.S_IMODE(os.lstat(where + b"/f").st_mode) == 0o600


class TestFlags:
    def test_flags_are_set_beside_those_there(self, tmp_path: Path) -> None:
        where = os.fsencode(tmp_path / "target")
        (tmp_path / "probe").touch()
        seal(os.fsencode(tmp_path / "probe"), NODUMP)
        with Target.prepare(where) as target:
            target.write_whole(b"f", b"", entry(extra={"flags": NODUMP | NOATIME}))
            target.write_whole(b"g", b"", entry())
            target.make_directory(b"d")
            target.note_directory(b"d", directory(extra={"flags": NODUMP}))
            target.finish_directories()
            assert not target.not_set
        usual = flags_of(where + b"/g")
        assert flags_of(where + b"/f") == usual | NODUMP | NOATIME
        assert flags_of(where + b"/d") & NODUMP

    @root_only
    def test_what_is_sealed_is_sealed_last(self, where: bytes) -> None:
        Path(os.fsdecode(os.path.dirname(where)) + "/probe").touch()
        seal(os.path.dirname(where) + b"/probe", IMMUTABLE)
        sealed = entry(mode=0o604, uid=1234, extra={"flags": IMMUTABLE, "link": 0, "xattrs": {b"user.x": b"1"}})
        with Target.prepare(where) as target:
            target.make_directory(b"d")
            target.note_directory(b"d", directory(0o711, extra={"flags": APPEND}))
            target.write_whole(b"d/f", b"data", sealed)
            assert target.make_link(b"d/g", b"d/f")
            part = target.create(b"d/p", 4)
            assert part
            target.write_at(part, 0, b"part")
            target.finish(part, entry(extra={"flags": IMMUTABLE}))
            target.finish_directories()
            assert not target.not_set
        for name, flag in ((b"d", APPEND), (b"d/f", IMMUTABLE), (b"d/p", IMMUTABLE)):
            assert flags_of(where + b"/" + name) & flag
            assert os.lstat(where + b"/" + name).st_mtime_ns == MTIME
        assert sorted(os.listdir(where + b"/d")) == [b"f", b"g", b"p"]
        with Target.prepare(where, overwrite=Overwrite.ALWAYS, delete=True) as target:
            target.make_directory(b"d")
            for attempt in (
                lambda: target.write_whole(b"d/f", b"new", entry()),
                lambda: target.create(b"d/p", 4),
                lambda: target.open_existing(b"d/p", entry(mode=0o644)),
                lambda: target.make_symlink(b"d/f", link(b"x")),
                lambda: target.remove(b"d/p"),
                lambda: target.remove(b"d"),
                lambda: target.write_whole(b"d", b"new", entry()),
            ):
                with pytest.raises(TargetError, match="immutable"):
                    attempt()
        assert read(where + b"/d/f") == b"data"
        assert sorted(os.listdir(where + b"/d")) == [b"f", b"g", b"p"]

    def test_flags_that_others_may_not_set_are_counted(self, open_place: bytes) -> None:
        def restore() -> None:
            with Target.prepare(open_place) as target:
                for name in (b"f", b"g"):
                    target.write_whole(name, b"", entry(extra={"flags": IMMUTABLE | NODUMP}))
                target.finish_directories()
                assert target.not_set["flags"] == 2
            assert not flags_of(open_place + b"/f") & IMMUTABLE

        as_nobody(restore)

    def test_unknown_flags_do_not_cost_the_others(self, tmp_path: Path) -> None:
        where = os.fsencode(tmp_path / "target")
        (tmp_path / "probe").touch()
        seal(os.fsencode(tmp_path / "probe"), NODUMP)
        with Target.prepare(where) as target:
            target.write_whole(b"f", b"", entry(extra={"flags": 1 << 70 | NODUMP | 1 << 23}))
            assert target.not_set["flags"] <= 1
        assert flags_of(where + b"/f") & NODUMP


class TestSpecialFiles:
    def test_a_pipe(self, where: bytes) -> None:
        with Target.prepare(where, overwrite=Overwrite.ALWAYS) as target:
            assert target.make_special(b"p", entry(FIFO, mode=0o622)) is True
            target.write_whole(b"q", b"old", entry())
            assert target.make_special(b"q", entry(FIFO)) is True
            assert not target.not_set
        for name, mode in ((b"p", 0o622), (b"q", 0o644)):
            status = os.lstat(where + b"/" + name)
            assert stat.S_ISFIFO(status.st_mode)
            assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (mode, MTIME)
        assert sorted(os.listdir(where)) == [b"p", b"q"]

    @root_only
    def test_devices(self, where: bytes) -> None:
        with Target.prepare(where) as target:
            device = entry(CHARACTER_DEVICE, mode=0o666, uid=1234, extra={"device": [1, 3]})
            if target.make_special(b"null", device) is None:
                pytest.skip("no devices may be made here")
            target.make_special(b"disk", entry(BLOCK_DEVICE, mode=0o060, extra={"device": [259, 70000]}))
            for numbers in ([5000, 1], [1, 1 << 21], [(1 << 32) - 1, 0]):
                with pytest.raises(TargetError):
                    target.make_special(b"odd", entry(CHARACTER_DEVICE, extra={"device": numbers}))
            with pytest.raises(TargetError):
                target.make_special(b"none", entry(BLOCK_DEVICE))
            assert not target.not_set
        assert sorted(os.listdir(where)) == [b"disk", b"null"]
        null, disk = os.lstat(where + b"/null"), os.lstat(where + b"/disk")
        assert stat.S_ISCHR(null.st_mode)
        assert stat.S_ISBLK(disk.st_mode)
        assert (os.major(null.st_rdev), os.minor(null.st_rdev), null.st_uid) == (1, 3, 1234)
        assert (os.major(disk.st_rdev), os.minor(disk.st_rdev)) == (259, 70000)
        assert (stat.S_IMODE(null.st_mode), stat.S_IMODE(disk.st_mode)) == (0o666, 0o060)
        assert null.st_mtime_ns == MTIME

    def test_devices_that_may_not_be_made_are_counted_and_replace_nothing(self, open_place: bytes) -> None:
        def restore() -> None:
            with Target.prepare(open_place, overwrite=Overwrite.ALWAYS, delete=True) as target:
                target.make_directory(b"d")
                target.write_whole(b"d/f", b"old", entry())
                device = entry(CHARACTER_DEVICE, extra={"device": [1, 3]})
                assert [target.make_special(name, device) for name in (b"a", b"d", b"d/f")] == [None] * 3
                assert target.not_set == {"device nodes": 3}
                assert target.make_special(b"p", entry(FIFO)) is True
            assert read(open_place + b"/d/f") == b"old"
            assert sorted(os.listdir(open_place)) == [b"d", b"p"]

        as_nobody(restore)


class TestOwnersByName:
    @root_only
    @pytest.mark.parametrize("trap", ["hard link", "link", "gone"])
    def test_what_takes_the_place_of_a_new_link_gets_no_owner(self, tmp_path: Path, trap: str) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        before = victim.stat()
        if trap == "hard link":
            os.link(victim, tmp_path / "l")
        elif trap == "link":
            os.symlink("victim", tmp_path / "l")
        attributes = Attributes(Ownership.NUMBERS)
        place = os.open(tmp_path, os.O_RDONLY)
        attributes.set_named(place, b"l", link(b"x", uid=1234, gid=1234))
        os.close(place)
        after = victim.stat()
        assert (after.st_uid, after.st_gid, after.st_mtime_ns) == (before.st_uid, before.st_gid, before.st_mtime_ns)
        assert attributes.not_set == ({} if trap == "link" else {"owner": 1, "mode": 1, "times": 1})

    @root_only
    def test_names_go_before_numbers(self, where: bytes) -> None:
        user, group = pwd.getpwuid(65534).pw_name, grp.getgrgid(65534).gr_name
        owners = Owners({1234: user, 77: "nobody-has-this-name"}, {4321: group})
        with Target.prepare(where) as target:
            target.make_directory(b"d")
            target.note_directory(b"d", directory(uid=1234, gid=4321), owners)
            target.write_whole(b"d/f", b"", entry(mode=0o6755, uid=1234, gid=4321), owners)
            target.make_symlink(b"d/l", link(b"x", uid=1234, gid=4321), owners)
            target.make_special(b"d/p", entry(FIFO, uid=1234, gid=4321), owners)
            target.write_whole(b"g", b"", entry(uid=77, gid=78), owners)
            target.finish_directories()
            assert not target.not_set
        for name in (b"/d", b"/d/f", b"/d/l", b"/d/p"):
            assert (os.lstat(where + name).st_uid, os.lstat(where + name).st_gid) == (65534, 65534)
        assert (os.lstat(where + b"/g").st_uid, os.lstat(where + b"/g").st_gid) == (77, 78)
        assert stat.S_IMODE(os.lstat(where + b"/d/f").st_mode) == 0o6755

    @root_only
    @pytest.mark.parametrize(("ownership", "expected"), [(Ownership.NUMBERS, 1234), (Ownership.NONE, 0)])
    def test_numbers_or_nobody(self, where: bytes, ownership: Ownership, expected: int) -> None:
        owners = Owners({1234: "nobody"}, {})
        with Target.prepare(where, ownership=ownership) as target:
            target.write_whole(b"f", b"", entry(uid=1234), owners)
        assert os.lstat(where + b"/f").st_uid == expected
