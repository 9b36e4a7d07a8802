"""What of a source becomes part of a snapshot: patterns, ignore files, lists, streams, and the look ahead."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from chunkstore.operations.snapshot.last_entries import RACY_NS
from tests.command import Machine, Result, finish, stop_when
from tests.trees import age

FILES = {
    "notes.txt": "notes",
    "main.o": "object",
    "LARGE.LOG": "x" * 5000,
    "src/a.c": "a",
    "src/a.o": "object a",
    "src/keep.o": "keep",
    "cache/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n",
    "cache/data": "data",
    "private/.nobackup": "",
    "private/key": "key",
    "build/.chunkstoreignore": "*.tmp\n/out\n",
    "build/a.tmp": "t",
    "build/out/b": "b",
    "build/sub/out/c": "c",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    age(root)
    return root


def let_it_grow_old(root: Path) -> None:
    """Until its times are trusted: the real clock is the only one that makes a ctime."""
    last = max(path.lstat().st_ctime_ns for path in (root, *root.rglob("*")))
    while time.time_ns() < last + RACY_NS + 10**8:
        time.sleep(0.1)


def stored(owner: Machine, snapshot: str = "latest") -> list[str]:
    """The files of a snapshot, as its paths are."""
    entries = owner.done("ls", "-R", "--json", snapshot).json["entries"]
    return [entry["path"] for entry in entries if entry["type"] == "file"]


def taken(owner: Machine, tree: Path, *options: str, cwd: Path | None = None) -> set[str]:
    """The files of a snapshot of the tree, relative to it."""
    owner.done("snapshot", "--quiet", tree, *options, cwd=cwd or tree)
    return {os.path.relpath(path, tree) for path in stored(owner)}


IGNORED = {"build/a.tmp", "build/out/b"}
ALL = set(FILES) - IGNORED


@pytest.mark.parametrize(
    ("options", "without"),
    [
        ((), set()),
        (("--no-ignore-files",), None),
        (("--exclude", "*.o"), {"main.o", "src/a.o", "src/keep.o"}),
        (("--exclude", "*.o", "--include", "src/keep.o"), {"main.o", "src/a.o"}),
        (("--exclude", "*.o", "--include", "keep.o", "--exclude", "src/*.o"), {"main.o", "src/a.o", "src/keep.o"}),
        (("--exclude", "./*.o"), {"main.o"}),
        (("--exclude=*.log",), set()),
        (("--iexclude", "*.log"), {"LARGE.LOG"}),
        (("--exclude", "*.o", "--iinclude", "MAIN.O"), {"src/a.o", "src/keep.o"}),
        (("--exclude", "src/"), {"src/a.c", "src/a.o", "src/keep.o"}),
        (("--exclude", "key/"), set()),
        (("--exclude-larger-than", "4K"), {"LARGE.LOG"}),
        (("--exclude-caches",), {"cache/data"}),
        (("--exclude-if-present", ".nobackup"), {"private/key"}),
        (("-x",), set()),
        (("--one-file-system", "--exclude", "src", "--exclude", "private"),
         {"src/a.c", "src/a.o", "src/keep.o", "private/.nobackup", "private/key"}),
    ],
)  # fmt: skip
def test_each_option(owner: Machine, tree: Path, options: Sequence[str], without: set[str] | None) -> None:
    assert taken(owner, tree, *options) == (set(FILES) if without is None else ALL - without)


def test_patterns_from_files_keep_their_place_among_the_others(owner: Machine, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "patterns").write_text("# objects\n*.o\n\n!keep.o\n")
    (tmp_path / "more").write_text("notes.*\n")
    first = ("--exclude-from", f"{tmp_path}/patterns")
    assert taken(owner, tree, *first) == ALL - {"main.o", "src/a.o"}
    assert taken(owner, tree, *first, "--exclude", "keep.*") == ALL - {"main.o", "src/a.o", "src/keep.o"}
    assert taken(owner, tree, "--exclude", "keep.*", *first) == ALL - {"main.o", "src/a.o"}
    both = taken(owner, tree, *first, "--exclude-from", f"{tmp_path}/more", "--include", "src/a.o")
    assert both == ALL - {"main.o", "notes.txt"}


def test_patterns_from_standard_input(owner: Machine, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "patterns").write_text("*.o\n")
    with (tmp_path / "patterns").open("rb") as file:
        owner.done("snapshot", "-q", "--exclude-from", "-", tree, stdin=file)
    assert not [path for path in stored(owner) if path.endswith(".o")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--exclude", "[a", "."), "a bracket is not closed"),
        (("--exclude", "", "."), "it is empty"),
        (("--exclude", "!a", "."), "--include takes back"),
        (("--include", "*.txt", "."), "there is none before it"),
        (("--iinclude", "*.txt", "--exclude", "*", "."), "there is none before it"),
        (("--exclude-from", "bad", "."), "bad, line 2: a\\\\ is not a pattern: it ends with a backslash"),
        (("--exclude-from", "nowhere", "."), "nowhere: No such file"),
        (("--files-from", "nowhere"), "nowhere: No such file"),
        (("--files-from", "empty"), "the lists hold no paths"),
        (("--exclude-if-present", "a/b", "."), "without slashes"),
        (("--exclude-larger-than", "5MB", "."), "not a size"),
        (("--exclude-from", "-", "--files-from", "-", "."), "one purpose only"),
        ((), "Missing argument 'PATH...'"),
        (("--stdin", "."), "--stdin stores nothing else"),
        (("--stdin", "--files-from", "empty"), "--stdin stores nothing else"),
        (("--stdin", "--from-command", "true"), "one of them"),
        (("--stdin", "--exclude", "a"), "make no sense"),
        (("--from-command", "--dry-run", "true"), "make no sense"),
        (("--from-command",), "needs a command"),
        (("--stdin-name", "a", "."), "is for --stdin"),
        (("--stdin", "--stdin-name", "../a"), "without . and .."),
        (("--stdin", "--stdin-name", "a/"), "the path of a file is needed"),
    ],
)
def test_what_makes_no_sense_is_refused(machine: Machine, arguments: Sequence[str], message: str) -> None:
    (machine.home / "bad").write_text("a\na\\\n")
    (machine.home / "empty").write_text("\n\n")
    result = machine.run("snapshot", *arguments, cwd=machine.home)
    assert result.code == (1 if "nowhere" in arguments else 2), result
    assert message in result.stderr
    assert not machine.names("snapshots/")


class TestLists:
    def test_lines_are_relative_to_the_working_directory(self, owner: Machine, tree: Path, tmp_path: Path) -> None:
        (tmp_path / "list").write_bytes(
            b"tree/src\n\n  \ntree/notes.txt\n" + os.fsencode(tmp_path) + b"/tree/cache/data"
        )
        owner.done("snapshot", "-q", "--files-from", "list", "tree/private", cwd=tmp_path)
        expected = {"src/a.c", "src/a.o", "src/keep.o", "notes.txt", "cache/data", "private/.nobackup", "private/key"}
        assert {os.path.relpath(path, tree) for path in stored(owner)} == expected

    def test_names_with_newlines_need_nul(self, owner: Machine, tree: Path) -> None:
        (tree / "new\nline").write_text("x")
        (tree / "\udcff").write_text("y")
        names = b"new\nline\0" + b"\xff\0main.o\0"
        process = owner.start("snapshot", "-q", "--files-from0", "-", cwd=tree, stdin=subprocess.PIPE)
        process.communicate(names)
        assert process.returncode == 0
        assert {os.path.basename(path) for path in stored(owner)} == {"new\nline", "\udcff", "main.o"}

    def test_a_path_that_is_missing_is_a_problem(self, machine: Machine, tree: Path) -> None:
        (tree / "list").write_text("notes.txt\nnowhere\nsrc\nsrc/nothing\n")
        result = machine.run("snapshot", "--json", "--files-from", "list", cwd=tree)
        assert result.code == 3
        assert sorted(result.json["problems"]) == [
            f"{tree}/nowhere: No such file or directory",
            f"{tree}/src/nothing: No such file or directory",
        ]

    def test_nothing_of_chunkstore_itself(self, machine: Machine) -> None:
        for directory in (machine.state / "chunkstore", machine.repository):
            (machine.home / "list").write_text(f"{machine.home}\n{directory}\n")
            assert machine.run("snapshot", "--files-from", machine.home / "list").code == 2

    def test_of_many_paths_the_directory_above_is_recorded(self, owner: Machine, tmp_path: Path) -> None:
        for n in range(200):
            path = tmp_path / "many" / f"d{n % 10}" / "s" / f"f{n:03}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{n}")
            path.with_suffix(".not").write_text("no")
        let_it_grow_old(tmp_path / "many")
        listed = sorted(str(path) for path in (tmp_path / "many").rglob("f???"))
        (tmp_path / "list").write_text("\n".join(listed))
        first = owner.done("snapshot", "--json", "--files-from", tmp_path / "list").json
        assert first["snapshot"]["paths"] == [f"{tmp_path}/many"]
        assert stored(owner) == listed
        second = owner.done("snapshot", "--json", "--files-from", tmp_path / "list").json["statistics"]
        assert (second["files_unchanged"], second["bytes_read"], second["chunks_new"]) == (200, 0, 0)
        whole = owner.restore("latest", tmp_path / "whole")
        assert sorted(path.name for path in whole.rglob("*") if path.is_file()) == sorted(map(os.path.basename, listed))
        assert (whole / "d3" / "s" / "f013").read_text() == "13"
        part = owner.restore(f"latest:{tmp_path}/many/d4", tmp_path / "part")
        assert {path.name for path in (part / "s").iterdir()} == {f"f{n:03}" for n in range(4, 200, 10)}
        owner.done("verify", "latest")
        owner.done("verify", "latest", whole)

    def test_a_hundred_thousand_paths(self, machine: Machine, tmp_path: Path) -> None:
        """Most of them are not there, which is told for each; the snapshot holds the others."""
        (tmp_path / "there").mkdir()
        for n in range(1000):
            (tmp_path / "there" / f"{n:06}").touch()
        (tmp_path / "list").write_text("".join(f"there/{n:06}\n" for n in range(100_000)))
        result = machine.run("snapshot", "--json", "--files-from", "list", cwd=tmp_path)
        assert result.code == 3
        assert (result.json["statistics"]["files"], result.json["statistics"]["errors"]) == (1000, 99_000)


class TestDryRun:
    def world(self, machine: Machine, *others: Path) -> dict[str, tuple[object, ...]]:
        """Everything there is, with times and contents."""
        found: dict[str, tuple[object, ...]] = {}
        for top in (machine.root, *others):
            for path in (top, *top.rglob("*")):
                status = path.lstat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path)] = (status.st_mode, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, content)
        return found

    def test_nothing_is_written_anywhere(self, machine: Machine, tree: Path) -> None:
        for _ in range(2):
            before = self.world(machine, tree)
            machine.done("snapshot", "--dry-run", tree, "--exclude", "*.o")
            machine.done("snapshot", "-n", "-v", "--json", tree)
            assert self.world(machine, tree) == before
            machine.done("snapshot", "-q", tree)

    def test_without_a_cache_nothing_is_written_either(self, machine: Machine, tree: Path) -> None:
        machine.forget_cache()
        before = self.world(machine, tree)
        machine.done("snapshot", "--dry-run", tree)
        assert self.world(machine, tree) == before

    def test_it_lists_what_would_be_read(self, machine: Machine, tree: Path) -> None:
        let_it_grow_old(tree)
        machine.done("snapshot", "-q", tree)
        assert machine.done("snapshot", "--dry-run", "--json", tree).json["entries"] == []
        (tree / "new").write_text("new")
        (tree / "notes.txt").write_text("other notes")
        (tree / "main.o").unlink()
        told = machine.done("snapshot", "--dry-run", "--json", tree).json
        assert told["dry_run"] is True
        assert told["paths"] == [str(tree)]
        assert told["entries"] == [
            {"path": f"{tree}/new", "state": "new", "size": 3},
            {"path": f"{tree}/notes.txt", "state": "changed", "size": 11},
        ]
        counted = told["statistics"]
        assert (counted["files_new"], counted["files_changed"], counted["files_deleted"]) == (1, 1, 1)
        assert (counted["files_unchanged"], counted["bytes_new"], counted["bytes_changed"]) == (10, 3, 11)
        text = machine.done("snapshot", "--dry-run", tree).text.splitlines()
        assert text[0].split() == ["new", "3", "B", f"{tree}/new"]
        assert text[-1] == "Nothing was stored."
        done = machine.done("snapshot", "--json", tree).json["statistics"]
        assert {name: done[name] for name in done if name.startswith("files_")} == {
            name: counted[name] for name in counted if name.startswith("files_")
        }

    def test_force_reads_everything(self, machine: Machine, tree: Path) -> None:
        let_it_grow_old(tree)
        machine.done("snapshot", "-q", tree)
        told = machine.done("snapshot", "--dry-run", "--force", "--json", tree).json["entries"]
        assert {each["state"] for each in told} == {"unchanged"}
        assert len(told) == len(ALL)
        assert machine.done("snapshot", "--json", tree).json["statistics"]["bytes_read"] == 0
        forced = machine.done("snapshot", "--json", "--force", tree).json["statistics"]
        assert (forced["bytes_read"], forced["files_unchanged"]) == (forced["bytes"], len(ALL))

    def test_with_verbose_it_tells_what_is_left_out_and_why(self, machine: Machine, tree: Path) -> None:
        options = ("--exclude", "*.o", "--exclude-caches", "--exclude-larger-than", "4000")
        told = machine.done("snapshot", "-n", "-v", "--json", tree, *options).json
        reasons = {os.path.relpath(e["path"], tree): e["reason"] for e in told["entries"] if e["state"] == "left out"}
        assert reasons == {
            "main.o": "--exclude *.o",
            "src/a.o": "--exclude *.o",
            "src/keep.o": "--exclude *.o",
            "cache": "it has CACHEDIR.TAG; nothing else of it is taken",
            "build/a.tmp": f"{tree}/build/.chunkstoreignore, line 1: *.tmp",
            "build/out": f"{tree}/build/.chunkstoreignore, line 2: /out",
            "LARGE.LOG": "it is larger than 3.9 KiB",
        }
        assert told["statistics"]["left_out"] == 7
        assert "left out" in machine.done("snapshot", "-n", "-v", tree, *options).text

    def test_problems_are_told(self, machine: Machine, tree: Path) -> None:
        result = machine.run("snapshot", "--dry-run", tree, tree / "nothing")
        assert (result.code, result.stderr) == (
            3,
            f"chunkstore: can not read {tree}/nothing: No such file or directory\n",
        )
        assert machine.run("snapshot", "--dry-run", tree / "nothing").code == 1


def test_verbose_lists_what_is_stored(machine: Machine, tree: Path) -> None:
    lines = machine.done("snapshot", "-v", tree, "--exclude", "*.o").text.splitlines()
    listed = [line.split()[-1] for line in lines if line.startswith("new ")]
    assert sorted(listed) == sorted(str(tree / name) for name in ALL if not name.endswith(".o"))
    (tree / "notes.txt").write_text("!")
    assert machine.done("snapshot", "-v", tree, "--exclude", "*.o").text.startswith("changed           1 B  ")
    assert machine.done("snapshot", "-v", "--json", tree).json["problems"] == []


class TestStreams:
    def content(self, owner: Machine, path: str, snapshot: str = "latest") -> bytes:
        return owner.done("cat", f"{snapshot}:{path}").stdout

    def test_standard_input(self, owner: Machine, tmp_path: Path) -> None:
        data = os.urandom(300_000)
        (tmp_path / "data").write_bytes(data)
        with (tmp_path / "data").open("rb") as file:
            owner.done("snapshot", "-q", "--stdin", stdin=file)
        assert self.content(owner, "/stdin") == data
        process = owner.start("snapshot", "--json", "--stdin", "--stdin-name", "db/dump.sql", stdin=subprocess.PIPE)
        stdout, _ = process.communicate(data)
        assert b'"paths": ["/db/dump.sql"]' in stdout
        assert self.content(owner, "/db/dump.sql") == data
        assert owner.restore("latest", tmp_path / "out").joinpath("dump.sql").read_bytes() == data
        owner.done("snapshot", "-q", "--stdin", "--stdin-name", "/nothing")
        assert self.content(owner, "/nothing") == b""

    def test_a_command(self, owner: Machine) -> None:
        result = owner.run("snapshot", "-q", "--from-command", "--", "sh", "-c", "cat; echo said >&2; printf 'a  b'")
        assert (result.code, result.stderr) == (0, "said\n")
        assert self.content(owner, "/stdin") == b"a  b"
        owner.done("snapshot", "-q", "--from-command", "--stdin-name", "x", "--tag", "t", "--", "printf", "%s", "-v")
        assert self.content(owner, "/x") == b"-v"

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            (("sh", "-c", "echo much; exit 3"), "the command sh ended with exit code 3"),
            (("sh", "-c", "echo much; kill -KILL $$"), "the command sh was ended by SIGKILL"),
            (("sh", "-c", "exec >&-; sleep 0.3; exit 7"), "the command sh ended with exit code 7"),
            (("no-such-command",), "no-such-command: command not found"),
            (("/etc",), "/etc: Permission denied"),
        ],
    )
    def test_a_command_that_fails_makes_no_snapshot(
        self, machine: Machine, command: Sequence[str], message: str
    ) -> None:
        result = machine.run("snapshot", "--from-command", "--", *command)
        assert result.code == 1
        assert message in result.stderr
        assert not machine.names("snapshots/")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("closed", ["", "exec >&-; "])
    def test_a_signal_ends_the_command_and_all_it_started(
        self, machine: Machine, tmp_path: Path, number: signal.Signals, closed: str
    ) -> None:
        script = f"sleep 1000 & echo $! $$ >{tmp_path}/made; mv {tmp_path}/made {tmp_path}/ids; {closed}echo much; wait"
        process = machine.start("snapshot", "--from-command", "--", "sh", "-c", script)
        stop_when(process, (tmp_path / "ids").exists, number)
        result = finish(process)
        assert (result.code, "interrupted" in result.stderr) == (130, True), result
        assert not machine.names("snapshots/")
        for each in (tmp_path / "ids").read_text().split():
            wait_until_gone(int(each))

    def test_a_second_ctrl_c_is_not_needed_while_nothing_comes(self, machine: Machine, tmp_path: Path) -> None:
        process = machine.start("snapshot", "--stdin", stdin=subprocess.PIPE)
        stop_when(process, lambda: any((machine.root / "cache").rglob("*.new")), signal.SIGINT)
        process.stdin, waiting = None, process.stdin
        result: Result = finish(process)
        assert result.code == 130
        assert waiting is not None
        waiting.close()
        assert not machine.names("snapshots/")


def wait_until_gone(process_id: int) -> None:
    """Until the process has ended; a dead one that nobody has asked after counts as ended."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError(f"process {process_id} is still there")
