"""A snapshot compared with the files on disk."""

from __future__ import annotations

import ast
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chunkstore.errors import PathNotFound
from chunkstore.format.names import pack_id
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.comparing import Difference
from chunkstore.operations.difference import Part
from chunkstore.operations.live_difference import LiveDifference, Place
from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import reading
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from chunkstore.tree.choosing import Choosing
from chunkstore.tree.patterns import command_rule
from tests.engine import Client, Hook, Taken, WatchedStorage, identity, indexed_packs, temporary_directory
from tests.trees import IS_ROOT, noise

Compare = Callable[..., list[str]]
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may")


class World:
    """A directory, snapshots of it, and comparisons with it."""

    def __init__(self, base: Path) -> None:
        self.root = base / "source"
        (self.root / "sub").mkdir(parents=True)
        for name, content in {"a": b"a" * 9000, "b": b"b", "empty": b"", "sub/c": noise(9000)}.items():
            (self.root / name).write_bytes(content)
        (self.root / "link").symlink_to("a")
        self.client = Client(MemoryStorage(), base / "client")
        self.client.create()
        self.problems: list[str] = []

    def take(self) -> Taken:
        return self.client.snapshot(self.root)

    def diff(self, taken: Taken, path: Path | None = None, folder: Path | None = None, **choosing: object) -> list[str]:
        """Lines; paths below the source are shown without it."""
        part = os.fsencode(path) if path else None
        place = os.fsencode(folder) if folder else part
        roots = (place,) if place else taken.record.roots
        repository, progress = self.client.open("read"), Silent()
        with reading(repository, open_content(repository, identity), self.client.around, progress) as read:
            manifest = read.manifest(taken.record)
            where = Place(roots, place, Choosing(**choosing))  # type: ignore[arg-type]
            live = LiveDifference(read.reader, Part(manifest, part), taken.record.time, where, progress)
            found = list(map(self._line, live))
        self.problems = live.problems
        return found

    def _line(self, found: Difference) -> str:
        path = found.path.removeprefix(os.fsencode(self.root) + b"/").decode()
        return f"{found.change.value} {path} {','.join(found.fields)}".strip()

    def touch(self, name: str, content: bytes) -> None:
        """New content, old time: only the ctime tells."""
        path = self.root / name
        before = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    return World(tmp_path)


def test_what_did_not_change_is_not_a_difference(world: World) -> None:
    assert world.diff(world.take()) == []


def test_every_change_is_seen(world: World) -> None:
    taken = world.take()
    times = {path: os.stat(path).st_mtime_ns for path in (world.root, world.root / "sub")}
    (world.root / "a").chmod(0o600)
    (world.root / "b").unlink()
    (world.root / "empty").unlink()
    (world.root / "empty").mkdir()
    world.touch("sub/c", noise(9000, 2))
    (world.root / "sub" / "new").write_bytes(b"new")
    (world.root / "link").unlink()
    (world.root / "link").symlink_to("b")
    os.utime(world.root / "link", ns=(5, 5), follow_symlinks=False)
    for path, time in times.items():
        os.utime(path, ns=(time, time))
    found = world.diff(taken)
    assert found == ["U a mode", "- b", "T empty", "M link mtime", "M sub/c", "+ sub/new"]


def test_content_is_compared_by_hashes_and_nothing_is_fetched(world: World) -> None:
    taken = world.take()
    for name in ("a", "sub/c"):
        os.utime(world.root / name, ns=(5, 5))
    world.client = world.client.but(storage=WatchedStorage(world.client.storage, before=fail_on_content(world)))
    assert world.diff(taken) == ["U a mtime", "U sub/c mtime"]
    changed = bytearray((world.root / "sub" / "c").read_bytes())
    changed[-1] ^= 1
    world.touch("sub/c", bytes(changed))
    assert world.diff(taken) == ["U a mtime", "M sub/c mtime"]


def fail_on_content(world: World) -> Hook:
    """Fails where a pack of file content is read. There is one pack for each kind of chunk here."""
    repository = world.client.open()
    content = {
        info.pack_id
        for info in indexed_packs(repository)
        if any(frame.kind is ChunkKind.CONTENT for frame in info.frames)
    }

    def hook(verb: str, name: str) -> None:
        assert verb != "get" or pack_id(name) not in content

    return hook


def test_content_that_is_of_another_size_is_not_even_read(world: World) -> None:
    taken = world.take()
    world.touch("a", b"shorter")
    assert world.diff(taken) == ["M a"]


def test_holes_are_compared_as_the_zeros_they_are(world: World) -> None:
    sparse = world.root / "sparse"
    with sparse.open("wb") as file:
        file.seek(1 << 20)
        file.write(noise(70_000))
        file.truncate(3 << 20)
    taken = world.take()
    world.touch("sparse", sparse.read_bytes())
    assert world.diff(taken) == []
    content = bytearray(sparse.read_bytes())
    content[5] = 1
    world.touch("sparse", bytes(content))
    assert world.diff(taken) == ["M sparse"]


def test_a_part_is_compared_where_it_was_or_in_another_folder(world: World, tmp_path: Path) -> None:
    taken = world.take()
    world.touch("a", b"changed")
    world.touch("sub/c", b"changed")
    assert world.diff(taken, world.root / "sub") == ["M sub/c"]
    assert world.diff(taken, world.root / "a") == ["M a"]
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "c").write_bytes(noise(9000))
    (copy / "d").write_bytes(b"d")
    for path, original in ((copy, world.root / "sub"), (copy / "c", world.root / "sub" / "c")):
        os.utime(path, ns=(0, original.stat().st_mtime_ns))
    os.utime(copy, ns=(0, 5))
    assert world.diff(taken, world.root / "sub", copy) == ["U . mtime", "+ d"]
    with pytest.raises(PathNotFound):
        world.diff(taken, world.root / "nothing")


def test_all_of_a_root_that_is_gone_is_removed(world: World) -> None:
    taken = world.take()
    world.root.rename(world.root.with_name("elsewhere"))
    assert [line[0] for line in world.diff(taken)] == ["-"] * 7
    assert world.problems == []


def test_what_is_excluded_is_missed_on_neither_side(world: World) -> None:
    taken = world.take()
    (world.root / "b").unlink()
    (world.root / "sub" / "c").unlink()
    (world.root / "new.o").write_bytes(b"")
    os.utime(world.root, ns=(0, 5))
    rules = tuple(command_rule(each, False, b"/") for each in (b"*.o", b"sub", b"b"))
    assert world.diff(taken, rules=rules) == [f"U {world.root} mtime"]
    (world.root / ".chunkstoreignore").write_bytes(b"new.o\n")
    assert "+ new.o" not in world.diff(taken)


@needs_root
def test_attributes_and_owners_are_compared(world: World) -> None:
    taken = world.take()
    os.chown(world.root / "a", 12345, 12346)
    os.setxattr(world.root / "b", b"user.test", b"1")
    os.link(world.root / "empty", world.root / "other")
    os.utime(world.root, ns=(0, 5))
    found = world.diff(taken)
    assert found == [f"U {world.root} mtime", "U a user,group", "U b xattrs", "U empty link", "+ other"]


def test_other_kinds_of_files_are_compared_too(world: World) -> None:
    os.mkfifo(world.root / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(world.root / "socket"))
    taken = world.take()
    assert world.diff(taken) == []
    (world.root / "pipe").unlink()
    (world.root / "pipe").write_bytes(b"")
    assert "T pipe" in world.diff(taken)


def test_what_can_not_be_read_is_reported_and_not_taken_for_removed() -> None:
    def compare(base: Path) -> tuple[list[str], int]:
        world = World(base)
        taken = world.take()
        os.utime(world.root / "a", ns=(5, 5))
        (world.root / "sub").chmod(0)
        try:
            return world.diff(taken), len(world.problems)
        finally:
            (world.root / "sub").chmod(0o700)

    with temporary_directory() as base:
        assert as_ordinary_user(base, compare) == (["U a mtime", "U sub mode"], 1)


def as_ordinary_user(base: Path, act: Callable[[Path], object]) -> object:
    """What `act` returns in a process that is not root's; its result must have a literal."""
    base.chmod(0o777)
    reading_end, writing_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            if IS_ROOT:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            os.write(writing_end, repr(act(base)).encode())
        except BaseException as e:
            os.write(writing_end, repr(repr(e)).encode())
        finally:
            os._exit(0)
    os.close(writing_end)
    with os.fdopen(reading_end, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return ast.literal_eval(said)


def test_a_snapshot_of_many_files_misses_nothing_beside_them(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    for n in range(70):
        (folder / f"{n:02}").mkdir(parents=True)
        (folder / f"{n:02}" / "file").write_bytes(b"%d" % n)
        (folder / f"{n:02}" / "beside").write_bytes(b"")
    taken = world.client.snapshot(*(folder / f"{n:02}" / "file" for n in range(70)))
    assert len(taken.record.roots) == 1
    (folder / "07" / "file").write_bytes(b"changed")
    (folder / "08" / "file").unlink()
    found = world.diff(taken)
    assert [line[:2] for line in found] == ["M ", "- "]
