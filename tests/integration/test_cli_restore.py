"""The command `restore`: its options, what it says, and its exit codes."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command import Machine, finish, stop_when
from tests.conftest import Keys
from tests.trees import IS_ROOT, age, below, look, noise, plant

FAILED, USAGE, INTERRUPTED = 1, 2, 130


@pytest.fixture(scope="module")
def stored(initialised: Machine, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two snapshots; to be read, not changed."""
    root = tmp_path_factory.mktemp("stored")
    source = root / "source"
    plant(
        source,
        {b"big": noise(300_000), b"notes.txt": b"notes", b"a": {b"a.txt": b"a", b"a.jpg": noise(4000)}, b"link": "big"},
    )
    (source / b"odd \xff name".decode(errors="surrogateescape")).write_bytes(b"odd")
    if IS_ROOT:
        os.chown(source / "notes.txt", 1234, 4321)
    age(source)
    machine = initialised.copy_to(root / "machine")
    machine.done("snapshot", "--tag", "first", source)
    first = look(source)
    (source / "notes.txt").write_bytes(b"more notes")
    machine.done("snapshot", "--tag", "second", source)
    return SimpleNamespace(machine=Machine(machine.root, keys.private), source=source, first=first, seen=look(source))


# -- usage


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["latest"],
        ["latest", "x", "y"],
        ["latest", "x", "--no-owner", "--numeric-owner"],
        ["latest", "x", "--delete"],
        ["latest", "x", "--overwrite", "refuse", "--delete"],
        ["latest", "x", "--overwrite", "sometimes"],
        ["latest", "x", "--verify", "--dry-run"],
        ["latest", "x", "--to-tar", "x.tar"],
        ["latest", "--to-tar", "x.tar", "--overwrite", "always"],
        ["latest", "--to-tar", "x.tar", "--dry-run"],
        ["latest", "--to-tar", "-", "--json"],
        ["--to-tar", "x.tar"],
        ["--time", "now", "latest:/"],
        ["latest", "x", "--exclude", ""],
    ],
)
def test_what_makes_no_sense_is_refused(stored: SimpleNamespace, arguments: list[str], tmp_path: Path) -> None:
    result = stored.machine.run("restore", *arguments, cwd=tmp_path)
    assert (result.code, result.stdout) == (USAGE, b""), result
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_is_not_empty_is_told_the_ways_out(stored: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    for options in ([], ["--dry-run"]):
        result = stored.machine.run("restore", "latest", tmp_path, *options)
        assert (result.code, result.stdout) == (FAILED, b"")
        assert "is not empty" in result.stderr
        assert "--overwrite if-changed" in result.stderr


# -- choosing


def test_the_snapshot_is_chosen_by_options(stored: SimpleNamespace, tmp_path: Path) -> None:
    stored.machine.done("restore", "--tag", "first", tmp_path / "first")
    assert below(tmp_path / "first") == {path: seen for path, seen in stored.first.items() if path}
    stored.machine.done("restore", "latest~1", tmp_path / "before")
    assert look(tmp_path / "before") == look(tmp_path / "first")
    stored.machine.done("restore", "--time", "now", tmp_path / "now")
    assert look(tmp_path / "now") == stored.seen
    stored.machine.done("restore", "--tag", "first", f":{stored.source}/a", tmp_path / "a")
    assert {path for path in look(tmp_path / "a") if path} == {b"a.txt", b"a.jpg"}


def test_patterns_choose_in_the_order_in_which_they_are_given(stored: SimpleNamespace, tmp_path: Path) -> None:
    stored.machine.done("restore", "latest", tmp_path / "1", "--include", "*.txt", "--exclude", "notes*")
    assert {path for path in look(tmp_path / "1") if path} == {b"a", b"a/a.txt"}
    stored.machine.done("restore", "latest", tmp_path / "2", "--exclude", "*.JPG", "--iexclude", "*.TXT")
    assert {path for path in look(tmp_path / "2") if path} == {b"a", b"a/a.jpg", b"big", b"link", b"odd \xff name"}
    (tmp_path / "patterns").write_text("*\n!*.jpg\n!a/\n")
    stored.machine.done("restore", "latest", tmp_path / "3", "--exclude-from", tmp_path / "patterns")
    assert b"a/a.jpg" in look(tmp_path / "3")
    stored.machine.done("restore", "latest", tmp_path / "4", "--include", f"{stored.source}/a/*.jpg")
    assert {path for path in look(tmp_path / "4") if path} == {b"a", b"a/a.jpg"}


# -- writing


def test_a_second_restore_writes_what_differs(stored: SimpleNamespace, tmp_path: Path) -> None:
    target = tmp_path / "target"
    first = stored.machine.done("restore", "latest~1", target, "--json").json
    assert (first["files"], first["links"], first["directories"], first["dry_run"]) == (5, 1, 2, False)
    with (target / "big").open("r+b") as file:
        file.write(b"changed")
    told = stored.machine.done("restore", "latest", target, "--overwrite", "if-changed", "--verify", "--json").json
    assert (told["files"], told["updated"], told["unchanged"]) == (1, 1, 4)
    assert 0 < told["bytes"] <= 16_384 + 10
    assert told["fetched"] > 0
    assert told["verified"] == 1 + 1 + 2
    assert (told["paths"], told["problems"]) == ([], [])
    assert look(target) == stored.seen
    said = stored.machine.done("restore", "latest", target, "--overwrite", "always").text
    assert said == "Restored 0 files (0 B), 2 directories, 0 links.\nUnchanged: 6.\n"


def test_what_is_done_is_listed(stored: SimpleNamespace, tmp_path: Path) -> None:
    target = tmp_path / "target"
    lines = stored.machine.done("restore", "latest", target, "-v").text.splitlines()
    assert {line.split()[-1] for line in lines if line.startswith("create")} >= {"notes.txt", "a", "a/a.txt", "big"}
    assert any(line.endswith(r"odd \xff name") for line in lines)
    (target / "notes.txt").unlink()
    with (target / "big").open("r+b") as file:
        file.write(b"changed")
    (target / "a" / "a.txt").chmod(0o600)
    (target / "extra").write_bytes(b"")
    options = ("--overwrite", "always", "--delete")
    before = look(target)
    planned = stored.machine.done("restore", "latest", target, *options, "--dry-run").text.splitlines()
    assert look(target) == before
    actions = {line.split()[-1]: line.split()[0] for line in planned[: planned.index("Nothing was changed.") - 2]}
    assert {path: actions[path] for path in ("notes.txt", "big", "a/a.txt", "extra")} == {
        "notes.txt": "create", "big": "update", "a/a.txt": "attributes", "extra": "delete",
    }  # fmt: skip
    assert "link" not in actions
    verbose = stored.machine.done("restore", "latest", target, *options, "-n", "-v").text
    assert any(line.split() == ["unchanged", "link"] for line in verbose.splitlines())
    told = stored.machine.done("restore", "latest", target, *options, "-n", "--json").json
    assert told["dry_run"] is True
    steps = {each["path"]: (each["action"], each["fetched"]) for each in told["paths"]}
    assert steps["extra"] == ("delete", 0)
    assert 0 < steps["big"][1] <= 16_384
    assert told["deleted"] == 1
    assert stored.machine.done("restore", "latest", target, *options, "-n", "-q").stdout == b""
    said = stored.machine.done("restore", "latest", target, *options).text
    assert "Changed in place: 1." in said
    assert "Deleted: 1." in said
    assert look(target) == stored.seen
    odd = stored.machine.done("restore", "latest", tmp_path / "odd", "-v", "--json").json["paths"]
    assert "odd \udcff name" in {each["path"] for each in odd}


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_owners(stored: SimpleNamespace, tmp_path: Path) -> None:
    stored.machine.done("restore", "latest~1", tmp_path / "1", "--numeric-owner")
    stored.machine.done("restore", "latest~1", tmp_path / "2", "--no-owner")
    one, two = ((tmp_path / number / "notes.txt").stat() for number in "12")
    assert (one.st_uid, one.st_gid) == (1234, 4321)
    assert (two.st_uid, two.st_gid) == (0, 0)


def test_the_files_of_chunkstore_are_not_deleted(stored: SimpleNamespace, tmp_path: Path) -> None:
    """A target that holds the repository, the state and the cache, none of which is ever in a snapshot."""
    home = tmp_path / "home"
    machine = Machine(stored.machine.copy_to(home / "deep").root, stored.machine.gnupg)
    (home / "extra").write_bytes(b"")
    kept = {machine.repository, machine.state, machine.cache}
    told = machine.done("restore", "latest", home, "--overwrite", "always", "--delete", "--json").json
    assert told["deleted"] == 2  # and the home directory of the machine
    assert all(each.is_dir() for each in kept)
    assert not (home / "extra").exists()
    assert machine.run("restore", "latest", home, "--overwrite", "always", "--delete").code == 0
    for target in (machine.repository, machine.repository / "packs"):
        refused = machine.run("restore", "latest", target, "--overwrite", "always", "--delete")
        assert (refused.code, "of chunkstore itself" in refused.stderr) == (USAGE, True)


def test_devices_that_may_not_be_made_are_said_once(initialised: Machine, keys: Keys, tmp_path: Path) -> None:
    if not IS_ROOT:
        pytest.skip("only root makes devices")
    (tmp_path / "source").mkdir()
    for name in ("one", "two"):
        os.mknod(tmp_path / "source" / name, 0o20600, os.makedev(1, 3))
    machine = initialised.copy_to(tmp_path / "machine")
    machine.snapshot(tmp_path / "source")
    owner = Machine(machine.root, keys.private)
    without = owner.run("restore", "latest", tmp_path / "out", before=["setpriv", "--bounding-set", "-mknod"])
    assert without.code == 0
    assert without.stderr == "chunkstore: could not make 2 devices\n"
    assert "Not restored: devices or sockets: 2." in without.text


# -- ending early


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_restore_goes_on(
    initialised: Machine, keys: Keys, tmp_path: Path, number: signal.Signals
) -> None:
    size = 40_000_000
    plant(tmp_path / "source", {b"a small one": b"small", b"large": os.urandom(size)})
    machine = initialised.copy_to(tmp_path / "machine")
    machine.snapshot(tmp_path / "source")
    owner, target = Machine(machine.root, keys.private), tmp_path / "target"

    def is_begun() -> bool:
        return any(path.stat().st_blocks * 512 > 8_000_000 for path in target.glob(".chunkstore-*.partial"))

    process = owner.start("restore", "latest", target)
    stop_when(process, is_begun, number)
    result = finish(process)
    assert result.code == INTERRUPTED, result
    assert "--overwrite if-changed" in result.stderr
    assert not (target / "large").exists()
    told = owner.done("restore", "latest", target, "--overwrite", "if-changed", "--json").json
    assert told["bytes"] < size - 6_000_000
    assert told["fetched"] < size - 3_000_000
    assert below(target) == below(tmp_path / "source")


# -- as an archive


def test_an_archive_holds_what_a_restore_writes(stored: SimpleNamespace, tmp_path: Path) -> None:
    archive = stored.machine.done("restore", "latest", "--to-tar", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = {os.fsencode(name).removeprefix(b"./") for name in tar.getnames()}
        assert names - {b"."} == {path for path in stored.seen if path} | (names & {b""})
        file = tar.extractfile("./big") if "./big" in tar.getnames() else tar.extractfile("big")
        assert file is not None
        assert file.read() == noise(300_000)
    told = stored.machine.done("restore", "--tag", "first", "--to-tar", tmp_path / "a.tar", "--json").json
    assert (told["files"], told["links"], told["problems"]) == (5, 1, 0)
    said = stored.machine.done("restore", "latest", "--include", "*.txt", "--to-tar", tmp_path / "b.tar").text
    assert said == "Archived 2 files (11 B), 2 directories, 0 links.\n"
    again = stored.machine.run("restore", "latest", "--to-tar", tmp_path / "b.tar")
    assert (again.code, "exists already" in again.stderr) == (USAGE, True)
