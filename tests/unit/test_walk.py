"""tree/walk.py, reading.py, spill.py, display.py on real directories."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from chunkstore.errors import InvalidArgument, SourceError
from chunkstore.format.entries import DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, sort_key
from chunkstore.tree.display import display_path
from chunkstore.tree.reading import entry_of, is_same, is_unchanged, kind_of, open_source, read_link
from chunkstore.tree.roots import MANY, ancestors, normalise_roots, recorded_roots
from chunkstore.tree.spill import Runs
from chunkstore.tree.walk import Directories, Here, WalkedDirectory, walk
from tests.targets import as_nobody


def fail(path: bytes, error: OSError) -> None:
    raise AssertionError((path, error))


class Errors:
    """Collects what a walk reports."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, int]] = []

    def __call__(self, path: bytes, error: OSError) -> None:
        self.seen.append((path, error.errno or 0))


def make(base: Path, *names: str) -> bytes:
    """Files, and directories where a name ends with a slash; returns the base as bytes."""
    for name in names:
        path = base / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    return os.fsencode(base)


def below(batches: Iterator[WalkedDirectory], base: bytes) -> list[bytes]:
    """Paths strictly below `base`, relative to it, in the order of the walk."""
    found = []
    for parent, children in batches:
        for name, _ in children:
            path = (parent.rstrip(b"/") + b"/" + name) if name else parent
            if path.startswith(base + b"/"):
                found.append(path[len(base) + 1 :])
    return found


class Takes:
    """The choice of what a function takes; keeps what it was asked."""

    def __init__(self, takes: Callable[[bytes], bool]) -> None:
        self._takes = takes
        self.asked: list[bytes] = []
        self.listed_at: list[tuple[int, bytes, bool]] = []

    def listed(self, depth: int, path: bytes, fd: int, names: Sequence[bytes] | None) -> Here:
        assert os.fstat(fd).st_ino == os.lstat(path).st_ino
        assert names is None or sorted(os.listdir(path)) == names
        self.listed_at.append((depth, path, names is None))
        return Here(None, self._ask)

    def directory(self, path: bytes, status: os.stat_result) -> Directories:
        return Directories.ENTERED

    def _ask(self, path: bytes, status: os.stat_result) -> bool:
        self.asked.append(path)
        return self._takes(path)


class TestRoots:
    def test_relative_dotted_and_doubled_paths_become_plain(self) -> None:
        paths = [b"x/../y", b"./y/", b"/a//b", b"//c", b"/a/b/."]
        assert normalise_roots(paths, b"/cwd") == [b"/a/b", b"/c", b"/cwd/y"]

    def test_nested_roots_go_and_similar_names_stay(self) -> None:
        assert normalise_roots([b"/a/b", b"/a", b"/a-b", b"/a/c/d"], b"/") == [b"/a", b"/a-b"]
        assert normalise_roots([b"/a/b", b"/"], b"/x") == [b"/"]

    @pytest.mark.parametrize("path", [b"", b"a\0b"])
    def test_what_is_no_path_is_refused(self, path: bytes) -> None:
        with pytest.raises(InvalidArgument):
            normalise_roots([path], b"/")

    def test_relative_cwd_is_refused(self) -> None:
        with pytest.raises(InvalidArgument):
            normalise_roots([b"a"], b"b")

    def test_a_link_stays_a_link_unless_a_slash_follows(self, tmp_path: Path) -> None:
        base = os.path.realpath(make(tmp_path, "real/f"))
        os.symlink(b"real", base + b"/link")
        assert normalise_roots([b"link"], base) == [base + b"/link"]
        assert normalise_roots([b"link/"], base) == [base + b"/real"]

    def test_ancestors(self) -> None:
        assert ancestors([b"/a/z", b"/a/b/c"]) == {b"/", b"/a", b"/a/b"}
        assert ancestors([b"/"]) == frozenset()

    def test_many_roots_are_recorded_as_the_directory_above_them_all(self) -> None:
        few = [b"/a/b/%d/x" % n for n in range(MANY)]
        assert recorded_roots(few) == few
        assert recorded_roots([*few, b"/a/b/c"]) == [b"/a/b"]
        assert recorded_roots([*few, b"/a/bc"]) == [b"/a"]
        assert recorded_roots([*few, b"/b"]) == [b"/"]

    def test_more_roots_in_one_directory_than_fit_into_a_batch(self, tmp_path: Path) -> None:
        base = make(tmp_path, *(f"{n}" for n in range(5000)), "d/f")
        names = sorted(os.listdir(base))
        found = below(walk([base + b"/" + name for name in names], on_error=fail), base)
        assert found == [*names, b"d/f"]

    def test_walk_refuses_roots_that_are_not_plain(self) -> None:
        for roots in ([b"a"], [b"/a/"], [b"/a", b"/a/b"], [b"/a", b"/a"]):
            with pytest.raises(InvalidArgument):
                list(walk(roots, on_error=fail))

    def test_no_roots_is_nothing(self) -> None:
        assert list(walk([], on_error=fail)) == []


class TestOrder:
    def test_children_before_grandchildren_and_bytes_decide(self, tmp_path: Path) -> None:
        base = make(tmp_path, "a/b", "a-b", "a.d/x", "B", "a/c/d")
        found = below(walk([base], on_error=fail), base)
        assert found == [b"B", b"a", b"a-b", b"a.d", b"a/b", b"a/c", b"a/c/d", b"a.d/x"]

    def test_several_roots_come_in_one_order(self, tmp_path: Path) -> None:
        base = make(tmp_path, "a/z/1", "a/b/c/2", "a/b/left-out", "a/left-out/x")
        batches = list(walk([base + b"/a/z", base + b"/a/b/c"], on_error=fail))
        assert below(iter(batches), base) == [b"a", b"a/b", b"a/z", b"a/b/c", b"a/b/c/2", b"a/z/1"]

    def test_everything_above_the_roots_is_there_from_slash_on(self, tmp_path: Path) -> None:
        base = make(tmp_path, "f")
        entries = [(p, name) for p, children in walk([base], on_error=fail) for name, _ in children]
        assert entries[0] == (b"/", b"")
        assert entries == sorted(entries, key=lambda e: sort_key(*e))
        above = {p if not name else p.rstrip(b"/") + b"/" + name for p, name in entries}
        assert ancestors([base]) <= above

    def test_root_slash_alone(self) -> None:
        top = {b"/" + name for name in os.listdir(b"/")}
        batches = list(walk([b"/"], on_error=fail, choice=Takes(lambda path: path not in top)))
        assert [(p, [name for name, _ in children]) for p, children in batches] == [(b"/", [b""])]
        first = next(b for b in walk([b"/"], on_error=lambda path, error: None) if b.children[0][0])
        assert first.parent == b"/"
        assert [name for name, _ in first.children] == sorted(path[1:] for path in top)

    def test_a_file_as_root(self, tmp_path: Path) -> None:
        base = make(tmp_path, "f", "g")
        assert below(walk([base + b"/f"], on_error=fail), base) == [b"f"]

    def test_a_batch_has_one_parent_and_is_bounded(self, tmp_path: Path) -> None:
        base = make(tmp_path, *(f"d/{i:03}" for i in range(50)), *(f"d/s{i:03}/f" for i in range(20)))
        expected = below(walk([base], on_error=fail), base)
        for limit in (1, 2, 3, 7, 69, 70, 71):
            batches = list(walk([base], on_error=fail, spill_after=limit, scratch=str(tmp_path.parent)))
            assert below(iter(batches), base) == expected
            inside = [b for b in batches if b.parent.startswith(base)]
            assert max(len(b.children) for b in inside) <= limit

    def test_abandoned_walk_leaves_nothing_open(self, tmp_path: Path) -> None:
        base = make(tmp_path, *(f"d{i}/e{j}/f" for i in range(5) for j in range(5)))
        before = count_open()
        batches = walk([base], on_error=fail, spill_after=2)
        for _ in range(len(ancestors([base])) + 6):
            next(batches)
        batches.close()  # type: ignore[attr-defined]
        assert count_open() == before


def count_open() -> int:
    """Open descriptors of this process; /dev/fd is there on Linux and macOS."""
    return len(os.listdir("/dev/fd"))


class TestLinks:
    def test_links_are_never_followed(self, tmp_path: Path) -> None:
        base = make(tmp_path, "real/f")
        os.symlink(b"real", base + b"/link")
        os.symlink(b"nowhere", base + b"/dangling")
        os.symlink(b".", base + b"/loop")
        kinds = {name: s for b in walk([base], on_error=fail) for name, s in b.children}
        assert all(stat.S_ISLNK(kinds[name].st_mode) for name in (b"link", b"dangling", b"loop"))
        assert below(walk([base], on_error=fail), base) == [b"dangling", b"link", b"loop", b"real", b"real/f"]

    def test_a_root_that_is_a_link_is_the_link(self, tmp_path: Path) -> None:
        base = make(tmp_path, "real/f")
        os.symlink(b"real", base + b"/link")
        assert below(walk([base + b"/link"], on_error=fail), base) == [b"link"]

    def test_a_link_above_a_root_is_recorded_as_the_directory_it_leads_to(self, tmp_path: Path) -> None:
        base = make(tmp_path, "real/d/f")
        os.symlink(b"real", base + b"/link")
        batches = list(walk([base + b"/link/d"], on_error=fail))
        assert below(iter(batches), base) == [b"link", b"link/d", b"link/d/f"]
        statuses = {name: s for b in batches for name, s in b.children}
        assert stat.S_ISDIR(statuses[b"link"].st_mode)

    def test_a_directory_that_became_a_link_is_an_error(self, tmp_path: Path) -> None:
        base = make(tmp_path, "d/f", "other/secret")
        errors = Errors()
        found = []
        for parent, children in walk([base], on_error=errors):
            found += [parent + b"/" + name for name, _ in children]
            if parent == base:
                os.rename(base + b"/d", base + b"/moved")
                os.symlink(b"other", base + b"/d")
        assert base + b"/d/secret" not in found
        assert [path for path, _ in errors.seen] == [base + b"/d"]


class TestErrors:
    def test_missing_roots_are_reported_and_the_others_walked(self, tmp_path: Path) -> None:
        base = make(tmp_path, "a/f", "file")
        roots = [base + name for name in (b"/a", b"/gone", b"/no/x", b"/no/y/z", b"/file/x")]
        errors = Errors()
        assert below(walk(roots, on_error=errors), base) == [b"a", b"a/f"]
        assert errors.seen == [
            (base + b"/file/x", errno.ENOTDIR),
            (base + b"/gone", errno.ENOENT),
            (base + b"/no/x", errno.ENOENT),
            (base + b"/no/y/z", errno.ENOENT),
        ]

    def test_a_directory_that_vanished_is_reported(self, tmp_path: Path) -> None:
        base = make(tmp_path, "d/", "e/f")
        errors = Errors()
        found = []
        for parent, children in walk([base], on_error=errors):
            found += [name for name, _ in children]
            if parent == base:
                os.rmdir(base + b"/d")
        assert found[-1] == b"f"
        assert errors.seen == [(base + b"/d", errno.ENOENT)]

    def test_a_file_that_vanished_is_reported(self, tmp_path: Path) -> None:
        base = make(tmp_path, *(f"{i}" for i in range(9)))
        errors = Errors()
        seen = 0
        for parent, children in walk([base], on_error=errors, spill_after=4, scratch=str(tmp_path.parent)):
            if parent == base:
                seen += len(children)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(base + b"/8")
        assert seen == 8
        assert errors.seen == [(base + b"/8", errno.ENOENT)]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_unreadable_directory(self, tmp_path: Path) -> None:
        check_unreadable(tmp_path)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_unreadable_directory_as_somebody_else(self, open_path: Path) -> None:
        as_nobody(lambda: check_unreadable(open_path))


def check_unreadable(base_path: Path) -> None:
    base = make(base_path, "a/f", "closed/f", "z/f")
    os.chmod(base + b"/closed", 0)
    errors = Errors()
    assert below(walk([base], on_error=errors), base) == [b"a", b"closed", b"z", b"a/f", b"z/f"]
    assert errors.seen == [(base + b"/closed", errno.EACCES)]
    os.chmod(base + b"/closed", 0o700)
    os.close(open_source(b"/etc/passwd"))  # not ours: O_NOATIME is refused


@pytest.fixture
def open_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that uid 65534 owns and reaches, below `/tmp` as pytest's own are closed."""
    import tempfile

    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        os.mkdir(path + "/own")
        os.chown(path + "/own", 65534, 65534)
        yield Path(path) / "own"


class TestChoice:
    def test_what_is_not_taken_is_not_entered_and_roots_are_not_asked(self, tmp_path: Path) -> None:
        base = make(tmp_path, "keep/f", "cache/x/y", "keep/cache")
        choice = Takes(lambda path: not path.endswith(b"/cache"))
        assert below(walk([base], on_error=fail, choice=choice), base) == [b"keep", b"keep/f"]
        assert choice.asked == [base + b"/" + p for p in (b"cache", b"keep", b"keep/cache", b"keep/f")]
        assert choice.listed_at == [(0, base, False), (1, base + b"/keep", False)]

    def test_of_a_huge_directory_the_names_are_not_told(self, tmp_path: Path) -> None:
        base = make(tmp_path, *(f"{n}" for n in range(20)), "d/f")
        choice = Takes(lambda path: True)
        found = below(walk([base], on_error=fail, choice=choice, spill_after=7, scratch=str(tmp_path.parent)), base)
        assert len(found) == 22
        assert choice.listed_at == [(0, base, True), (1, base + b"/d", False)]

    @pytest.mark.parametrize("spill_after", [1, 100])
    def test_only_some_names(self, tmp_path: Path, spill_after: int) -> None:
        class Only(Takes):
            def listed(self, depth: int, path: bytes, fd: int, names: Sequence[bytes] | None) -> Here:
                return Here(frozenset({b"b", b"d"}) if depth == 0 else None)

        base = make(tmp_path, "a", "b", "c/f", "d/b", "d/e")
        walked = walk([base], on_error=fail, choice=Only(bool), spill_after=spill_after, scratch=str(tmp_path.parent))
        assert below(walked, base) == [b"b", b"d", b"d/b", b"d/e"]

    def test_directories_are_left_out_or_recorded_alone(self, tmp_path: Path) -> None:
        class Some(Takes):
            def directory(self, path: bytes, status: os.stat_result) -> Directories:
                return {b"out": Directories.LEFT_OUT, b"shut": Directories.CLOSED}.get(
                    os.path.basename(path), Directories.ENTERED
                )

        base = make(tmp_path, "in/f", "out/f", "shut/f", "g")
        choice = Some(lambda path: True)
        assert below(walk([base], on_error=fail, choice=choice), base) == [b"g", b"in", b"shut", b"in/f"]


class TestDepth:
    def deep(self, base: bytes, levels: int, name: bytes) -> None:
        """A chain of directories, each with a file, made without long paths."""
        fd = os.open(base, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir(name, dir_fd=fd)
            os.close(os.open(b"~file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            below = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)

    def remove(self, base: bytes) -> None:
        subprocess.run(["rm", "-rf", os.fsdecode(base)], check=True)

    def test_paths_longer_than_the_system_takes(self, tmp_path: Path) -> None:
        base = os.fsencode(tmp_path) + b"/d"
        os.mkdir(base)
        self.deep(base, 60, b"n" * 200)
        try:
            found = below(walk([base], on_error=fail), base)
            assert len(found) == 120
            deepest = max(found, key=len)
            assert len(deepest) > 12_000
            os.close(open_source(base + b"/" + max((f for f in found if f.endswith(b"~file")), key=len)))
        finally:
            self.remove(base)

    def test_many_levels_with_more_to_visit_on_the_way_back(self, tmp_path: Path) -> None:
        base = os.fsencode(tmp_path) + b"/d"
        os.mkdir(base)
        self.deep(base, 200, b"a")
        fd = os.open(base, os.O_RDONLY)
        for _ in range(200):
            os.mkdir(b"b", dir_fd=fd)
            os.mkdir(b"b/c", dir_fd=fd)
            below_fd = os.open(b"a", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below_fd
        os.close(fd)
        before = count_open()
        found = below(walk([base], on_error=fail), base)
        assert len(found) == 800
        assert found == sorted(found, key=lambda p: sort_key(*p.rpartition(b"/")[::2]))
        assert count_open() == before
        self.remove(base)

    def test_too_deep_for_a_manifest_is_an_error_and_no_end(self, tmp_path: Path) -> None:
        base = os.fsencode(tmp_path) + b"/d"
        os.mkdir(base)
        self.deep(base, 270, b"n" * 250)
        errors = Errors()
        found = below(walk([base], on_error=errors), base)
        assert max(map(len, found)) > 60_000
        assert [code for _, code in errors.seen] == [errno.ENAMETOOLONG]
        self.remove(base)

    def test_long_links_are_read(self, tmp_path: Path) -> None:
        base = os.fsencode(tmp_path) + b"/d"
        os.mkdir(base)
        self.deep(base, 30, b"n" * 200)
        path = base + (b"/" + b"n" * 200) * 29
        fd = os.open(base, os.O_RDONLY)
        for _ in range(29):
            below_fd = os.open(b"n" * 200, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below_fd
        os.symlink(b"there", b"link", dir_fd=fd)
        os.close(fd)
        assert read_link(path + b"/link") == b"there"
        with pytest.raises(FileNotFoundError):
            read_link(path + b"/gone")
        self.remove(base)

    def test_a_name_that_is_too_long_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(OSError) as caught:
            open_source(os.fsencode(tmp_path) + b"/" + b"n" * 5000 + b"/f")
        assert caught.value.errno == errno.ENAMETOOLONG
        before = count_open()
        with pytest.raises(OSError):
            open_source(os.fsencode(tmp_path) + b"/n" * 5000)
        assert count_open() == before


class TestReading:
    def test_content(self, tmp_path: Path) -> None:
        base = make(tmp_path, "f")
        fd = open_source(base + b"/f")
        assert os.read(fd, 10) == b"x"
        assert is_same(os.fstat(fd), os.lstat(base + b"/f"))
        assert not os.get_inheritable(fd)
        os.close(fd)

    def test_a_link_is_refused(self, tmp_path: Path) -> None:
        base = make(tmp_path, "f")
        os.symlink(b"f", base + b"/link")
        with pytest.raises(OSError) as caught:
            open_source(base + b"/link")
        assert caught.value.errno in (errno.ELOOP, errno.EMLINK)
        assert read_link(base + b"/link") == b"f"

    def test_a_fifo_does_not_hang(self, tmp_path: Path) -> None:
        path = os.fsencode(tmp_path) + b"/fifo"
        os.mkfifo(path)
        done = threading.Event()

        def try_it() -> None:
            os.close(open_source(path))
            done.set()

        threading.Thread(target=try_it, daemon=True).start()
        assert done.wait(10)

    def test_unchanged(self, tmp_path: Path) -> None:
        base = make(tmp_path, "f", "g")
        before = os.lstat(base + b"/f")
        assert is_unchanged(before, os.lstat(base + b"/f"))
        assert not is_same(before, os.lstat(base + b"/g"))
        os.utime(base + b"/f", ns=(5, 5))
        assert is_same(before, os.lstat(base + b"/f"))
        assert not is_unchanged(before, os.lstat(base + b"/f"))

    def test_entries(self, tmp_path: Path) -> None:
        base = make(tmp_path, "f", "d/")
        os.symlink(b"f", base + b"/l")
        os.mkfifo(base + b"/p")
        listener = socket.socket(socket.AF_UNIX)
        here = os.open(".", os.O_RDONLY)
        os.chdir(tmp_path)
        listener.bind("s")
        os.fchdir(here)
        os.close(here)
        listener.close()
        os.chmod(base + b"/f", 0o4751)
        os.utime(base + b"/f", ns=(1, -1_500_000_000))
        entries = {n: entry_of(n, os.lstat(base + b"/" + n), 0, None) for n in (b"f", b"d", b"l", b"p", b"s")}
        assert [e.kind for e in entries.values()] == [FILE, DIRECTORY, SYMLINK, FIFO, SOCKET]
        file = entry_of(b"f", os.lstat(base + b"/f"), 3, {"k": 1})
        assert (file.name, file.mode, file.size, file.mtime_ns) == (b"f", 0o4751, 1, -1_500_000_000)
        assert (file.uid, file.gid, file.chunks, file.extra) == (os.geteuid(), os.lstat(base).st_gid, 3, {"k": 1})
        assert entries[b"d"].size == 0
        assert entries[b"l"].size == 1

    def test_unknown_type(self) -> None:
        with pytest.raises(SourceError):
            kind_of(0o150000)


class TestRuns:
    def test_merge_drops_doubles_and_keeps_every_byte(self, tmp_path: Path) -> None:
        with Runs(str(tmp_path)) as runs:
            runs.add([b"a", b"c\n", b"\xff"])
            runs.add([])
            runs.add([b"b" * 255, b"c\n"])
            assert list(runs.merged()) == [b"a", b"b" * 255, b"c\n", b"\xff"]
            assert list(runs.in_order()) == [b"a", b"c\n", b"\xff", b"b" * 255, b"c\n"]

    def test_names_across_blocks(self) -> None:
        names = sorted(os.urandom(60).hex().encode() for _ in range(3000))
        with Runs(None) as runs:
            runs.add(names[::2])
            runs.add(names[1::2])
            assert list(runs.merged()) == names

    def test_a_full_scratch_ends_the_walk(self, tmp_path: Path) -> None:
        base = make(tmp_path, *(f"{i}" for i in range(9)))
        with pytest.raises(OSError):
            list(walk([base], on_error=fail, spill_after=4, scratch=str(tmp_path / "gone")))


class TestDisplay:
    @pytest.mark.parametrize(
        ("path", "shown"),
        [
            (b"/home/me/a file", "/home/me/a file"),
            ("/müll/日本".encode(), "/müll/日本"),
            (b"a\\b", "a\\\\b"),
            (b"a\nb\tc\r", "a\\nb\\tc\\r"),
            (b"\x1b[2J\x7f\0", "\\x1b[2J\\x7f\\x00"),
            (b"caf\xe9", "caf\\xe9"),
            ("\x85\u202e\U000e0001".encode(), "\\u0085\\u202e\\U000e0001"),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        ],
    )
    def test_examples(self, path: bytes, shown: str) -> None:
        assert display_path(path) == shown


@pytest.mark.skipif(sys.platform != "linux", reason="macOS takes no such names")
def test_odd_names(tmp_path: Path) -> None:
    base = os.fsencode(tmp_path)
    names = sorted([b"\xff\xfe", b"new\nline", b"n" * 255, b" ", b"\x01", "é".encode(), b"-", b"..."])
    for name in names:
        os.mkdir(base + b"/" + name)
    assert below(walk([base], on_error=fail), base) == names
