"""`verify` on a tree with one of everything: no difference where there is none, and each single change is found."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.format.entries import FILE
from chunkstore.format.kinds import ObjectKind
from chunkstore.operations.catalog import read_record
from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import reading
from chunkstore.operations.selection import Placed, select
from chunkstore.operations.verify.verifying import Difference, Verified, verify
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from tests.engine import Client, Taken, identity, indexed_packs
from tests.one_of_each import HOLE, NODUMP, acl, get_flags, one_of_each, set_flags, sparse
from tests.storages import KINDS, Fresh, fresh_places
from tests.trees import IS_ROOT, age, noise, plant


@pytest.fixture(scope="module", params=KINDS)
def places(request: pytest.FixtureRequest) -> Fresh:
    return fresh_places(request.param, request)


@pytest.fixture(scope="module")
def client(places: Fresh, tmp_path_factory: pytest.TempPathFactory) -> Client:
    client = Client(places().open(), tmp_path_factory.mktemp("client"))
    client.create()
    return client


def differences(
    client: Client,
    taken: Taken,
    base: Path,
    workers: int = 0,
    change: Callable[[Placed], Placed] = lambda placed: placed,
) -> tuple[Verified, list[Difference]]:
    repository, progress = client.open(), Silent()
    signed = read_record(repository, taken.id)
    assert signed is not None
    found: list[Difference] = []
    with reading(repository, open_content(repository, identity), client.around, progress) as read:
        manifest = read.manifest(signed.record)
        entries = map(change, select(manifest, signed.record, None))
        done = verify(
            read.reader, manifest, entries, os.fsencode(base), workers, progress, found.append, None
        )  # fmt: skip
    assert (done.differences, done.damaged) == (len(found), sum(each.damaged for each in found))
    return done, found


def said(client: Client, taken: Taken, base: Path) -> dict[str, str]:
    _, found = differences(client, taken, base)
    return {os.fsdecode(os.path.relpath(each.path, os.fsencode(base))): each.how for each in found}


@dataclass(frozen=True)
class World:
    client: Client
    root: Path
    taken: Taken

    def said(self) -> dict[str, str]:
        return said(self.client, self.taken, self.root)


@pytest.fixture
def world(client: Client, tmp_path: Path) -> World:
    root = tmp_path / "root"
    one_of_each(root)
    return World(client, root, client.snapshot(root))


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_differs_where_nothing_changed(world: World, workers: int) -> None:
    done, found = differences(world.client, world.taken, world.root, workers)
    assert found == []
    paths = [Path(directory, name) for directory, _, names in os.walk(world.root) for name in names]
    files = [path for path in paths if stat.S_ISREG(path.lstat().st_mode)]
    assert (done.files, done.bytes) == (len(files), sum(path.stat().st_size for path in files))


@pytest.mark.skipif(not IS_ROOT, reason="only root can make an exact copy")
def test_nothing_differs_in_an_exact_copy(world: World, tmp_path: Path) -> None:
    """Made by rsync, which knows no inode flags, and no holes unless it is told."""
    (world.root / "flags").unlink()
    age(world.root)
    taken = world.client.snapshot(world.root)
    subprocess.run(["rsync", "-aHAX", f"{world.root}/", f"{tmp_path}/copy/"], check=True)
    assert said(world.client, taken, tmp_path / "copy") == {}


def _kept(path: Path) -> Iterator[None]:
    """Times of the file and its directory are as they were after what is done meanwhile."""
    before = path.parent.stat(), path.lstat()
    yield
    for which, status in zip((path, path.parent), reversed(before), strict=True):
        if os.path.lexists(which):
            os.utime(which, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _fill_hole(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2 * HOLE + 7)
        file.write(b"x")


def _replace(path: Path, make: Callable[[], object]) -> None:
    path.unlink()
    make()


def _break(path: Path) -> None:
    """A copy of its own for one of the names."""
    copy = path.with_name("copy")
    subprocess.run(["cp", "-a", path, copy], check=True)
    copy.rename(path)


SINGLE: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "value of an attribute": ("xattrs", "attribute user.text differs", lambda p: os.setxattr(p, b"user.text", b"v")),
    "attribute gone": ("xattrs", "attribute user.none is missing", lambda p: os.removexattr(p, b"user.none")),
    "attribute of a strange name": (
        "xattrs",
        r"attribute user.b=n\xffry% differs",
        lambda p: os.setxattr(p, b"user.b=n\xffry%", bytes(256)),
    ),
    "new attribute": ("plain", "attribute user.new is new", lambda p: os.setxattr(p, b"user.new", b"")),
    "attribute of a directory": (
        "inherited",
        "attribute user.directory is missing",
        lambda p: os.removexattr(p, b"user.directory"),
    ),
    "right in an ACL": ("acl", "access ACL differs", lambda p: acl("-n", "-m", "u:1234:r", p)),
    "ACL gone": ("acl", "mode 0664 stored, 0644 on disk, access ACL is missing", lambda p: acl("-b", p)),
    "new ACL": ("plain", "access ACL is new", lambda p: acl("-m", "u:99:r", p)),
    "default ACL": ("inherited", "default ACL differs", lambda p: acl("-d", "-m", "u:1234:r", p)),
    "hard link": ("hard/sub/second", "is not a hard link of {root}/hard/first any more", _break),
    "new hard link": (
        "plain two",
        "is a hard link of {root}/plain now",
        lambda p: _replace(p, lambda: os.link(p.with_name("plain"), p)),
    ),
    "hole with something in it": ("sparse", "content differs", _fill_hole),
    "hole with something in it, and no data": ("only a hole", "content differs", lambda p: _write_at(p, HOLE - 1)),
    "data that is a hole now": (
        "sparse",
        "content differs",
        lambda p: subprocess.run(["fallocate", "-p", "-o", str(HOLE + 8192), "-l", "8192", p], check=True),
    ),
    "pipe": ("fifo", "is of another kind now", lambda p: _replace(p, lambda: p.write_bytes(b""))),
    "mode of a pipe": ("fifo", "mode 0640 stored, 0600 on disk", lambda p: p.chmod(0o600)),
    "set-id bits": ("special mode", "mode 6755 stored, 0755 on disk", lambda p: p.chmod(0o755)),
    "sticky bit": ("sticky", "mode 1777 stored, 0777 on disk", lambda p: p.chmod(0o777)),
    "content": ("plain", "content differs", lambda p: _write_at(p, 40_000)),
    "target of a link": (
        "long link",
        "link points elsewhere",
        lambda p: _replace(p, lambda: p.symlink_to("t" * 899 + "u")),
    ),
}
FOR_ROOT: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "attribute of a link": (
        "long link",
        "attribute trusted.of is new",
        lambda p: os.setxattr(p, b"trusted.of", b"x", follow_symlinks=False),
    ),
    "device number": (
        "character",
        "device 7,300 stored, 7,301 on disk",
        lambda p: _replace(p, lambda: os.mknod(p, 0o600 | stat.S_IFCHR, os.makedev(7, 301))),
    ),
    "kind of device": (
        "block",
        "is of another kind now",
        lambda p: _replace(p, lambda: os.mknod(p, 0o660 | stat.S_IFCHR, os.makedev(1, 2))),
    ),
    "owner": ("empty", "owner 3000000:4000000 stored, 77777:4000000 on disk", lambda p: os.chown(p, 77777, -1)),
    "owner with a name": ("plain", "owner root:root stored, 77777:root on disk", lambda p: os.chown(p, 77777, -1)),
    "owner of a link": (
        "long link",
        "owner ",
        lambda p: os.chown(p, 77777, 77777, follow_symlinks=False),
    ),
}
CHANGES = {**SINGLE, **(FOR_ROOT if IS_ROOT else {})}


def _write_at(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"!")


def test_each_single_change_is_found(client: Client, tmp_path: Path) -> None:
    """All in one run: there is a tree for each of them."""
    roots = {what: tmp_path / "roots" / f"{n:02d}" for n, what in enumerate(CHANGES)}
    for root in roots.values():
        one_of_each(root)
        (root / "plain two").write_bytes((root / "plain").read_bytes())
        subprocess.run(["cp", "--attributes-only", "--preserve=all", root / "plain", root / "plain two"], check=True)
    age(tmp_path / "roots")
    for root in roots.values():
        os.utime(root / "plain two", ns=(0, (root / "plain").stat().st_mtime_ns))
    taken = client.snapshot(tmp_path / "roots")
    expected = {}
    for what, (name, how, change) in CHANGES.items():
        path = roots[what] / name
        for _ in _kept(path):
            change(path)
        expected[f"{roots[what].name}/{name}"] = how.format(root=roots[what])
    found = said(client, taken, tmp_path / "roots")
    assert found.keys() == expected.keys()
    for path, how in found.items():
        assert how.startswith(expected[path]), path


def test_flags(world: World) -> None:
    path = world.root / "flags"
    try:
        if not get_flags(path) & NODUMP:
            pytest.skip("a file system without inode flags")
    except OSError:
        pytest.skip("a file system without inode flags")
    for _ in _kept(path):
        set_flags(path, 0)
    assert world.said() == {"flags": "flags d stored, none on disk"}


def test_holes_that_are_zeros_now_are_no_difference(world: World) -> None:
    for name in ("sparse", "only a hole"):
        path = world.root / name
        for _ in _kept(path):
            path.write_bytes(path.read_bytes())
        assert path.stat().st_blocks * 512 >= path.stat().st_size
    assert world.said() == {}


def test_a_hole_of_9_gib_is_passed_over(client: Client, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    sparse(root / "large", 9 << 30)
    taken = client.snapshot(root)
    assert said(client, taken, root) == {}
    for _ in _kept(root / "large"):
        _write_at(root / "large", 8 << 30)
    assert said(client, taken, root) == {"large": "content differs"}


def test_times_of_links_pipes_and_directories(world: World) -> None:
    for name in ("long link", "fifo", "sticky"):
        os.utime(world.root / name, ns=(0, 5), follow_symlinks=False)
    assert world.said() == dict.fromkeys(("long link", "fifo", "sticky"), "modification time differs")


def test_a_socket_is_there_as_long_as_its_server(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.chdir(root)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    age(root)
    taken = client.snapshot(root)
    assert said(client, taken, root) == {}
    for _ in _kept(root / "socket"):
        (root / "socket").rename(tmp_path / "aside")
        (root / "socket").touch()
    assert said(client, taken, root) == {"socket": "is of another kind now"}
    for _ in _kept(root / "socket"):
        (root / "socket").unlink()
    assert said(client, taken, root) == {}


def test_links_that_are_broken_alike_are_found_across_directories(client: Client, tmp_path: Path) -> None:
    root = tmp_path / "root"
    plant(root, {b"%02d" % n: {b"name": b""} for n in range(4)})
    for n in range(1, 4):
        _replace(root / f"{n:02d}" / "name", lambda n=n: os.link(root / "00" / "name", root / f"{n:02d}" / "name"))
    age(root)
    taken = client.snapshot(root)
    for _ in _kept(root / "00" / "name"):
        (root / "00" / "name").rename(tmp_path / "aside")
    assert said(client, taken, root) == {"00/name": "is missing"}
    for _ in _kept(root / "03" / "name"):
        _break(root / "03" / "name")
    assert said(client, taken, root)["03/name"] == f"is not a hard link of {root}/01/name any more"


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_who_is_not_root_is_not_told_of_what_only_root_can_set(tmp_path: Path) -> None:
    """In a process of its own, on a tree that he may read."""
    code = (
        "import sys, os; from pathlib import Path; from tests.integration.test_engine_verify import as_somebody_else;"
        "as_somebody_else(Path(sys.argv[1]))"
    )
    result = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "fine\n"), result.stderr


def as_somebody_else(base: Path) -> None:
    """The whole of the test above."""
    client = Client(MemoryStorage(), base / "client")
    client.create()
    root = base / "root"
    plant(root, {b"owned": b"1", b"marked": b"2", b"mine": b"3"})
    os.chown(root / "owned", 12, 34)
    os.setxattr(root / "marked", b"trusted.mark", b"x")
    os.setxattr(root / "mine", b"user.mine", b"x")
    age(root)
    taken = client.snapshot(root)
    for _ in _kept(root / "owned"):
        os.chown(root / "owned", 56, 78)
    os.setxattr(root / "marked", b"trusted.mark", b"y")
    os.setxattr(root / "mine", b"user.mine", b"y")
    assert len(said(client, taken, root)) == 3
    subprocess.run(["chown", "-R", "65534", base / "client"], check=True)
    for path in (base, *base.parents):
        if path.stat().st_uid == 0 and path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o011)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    assert said(client, taken, root) == {"mine": "attribute user.mine differs"}
    print("fine")


def test_damage_is_the_fault_of_the_repository(client: Client, places: Fresh, tmp_path: Path) -> None:
    client = client.but(storage=places().open(), base=tmp_path / "client")
    client.create()
    root = tmp_path / "root"
    plant(root, {b"one": noise(5_000, 1), b"two": noise(5_000, 2), b"empty": b""})
    sparse(root / "sparse")
    taken = client.snapshot(root)
    for info in indexed_packs(client.open()):
        if info.plane == ObjectKind.CONTENT_PACK:
            client.storage.delete(names.pack(info.pack_id))
    done, found = differences(client, taken, root)
    assert {os.path.basename(each.path) for each in found} == {b"one", b"two", b"sparse"}
    assert done.damaged == 3
    for info in indexed_packs(client.open()):
        if info.plane == ObjectKind.TREE_PACK:
            client.storage.delete(names.pack(info.pack_id))
    with pytest.raises(Damaged):
        differences(client, taken, root)


def test_a_torn_file_says_so(client: Client, tmp_path: Path) -> None:
    root = tmp_path / "root"
    plant(root, {b"torn": b"1", b"longer": b"2", b"same": b"3"})
    age(root)
    taken = client.snapshot(root)
    for name, data in ((b"torn", b"!"), (b"longer", b"more")):
        for _ in _kept(root / os.fsdecode(name)):
            plant(root, {name: data})
    _, found = differences(client, taken, root, change=_marked_as_changed)
    assert {os.path.basename(each.path): each.how for each in found} == {
        b"torn": "content differs; it was changing while it was stored",
        b"longer": "size differs: 1 stored, 4 on disk; it was changing while it was stored",
    }


def _marked_as_changed(placed: Placed) -> Placed:
    found = placed.found
    if found.entry.kind != FILE:
        return placed
    return Placed(placed.relative, found._replace(entry=found.entry._replace(extra={"changed": True})))
