"""Bad input and trouble: each ends in a helpful message and the right exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.tree.temporary_names import is_temporary
from tests.command import Machine, finish
from tests.conftest import Keys
from tests.trees import IS_ROOT, below, look, noise, plant

FAILED, USAGE, INCOMPLETE, NO_REPOSITORY, UNREACHABLE = 1, 2, 3, 10, 11
COMMANDS = ("init", "join", "snapshot", "snapshots", "restore", "ls", "cat", "verify")


# -- what a newcomer tries


def test_chunkstore_alone_shows_help_and_is_a_usage_error(machine: Machine) -> None:
    result = machine.run()
    assert (result.code, result.stdout) == (USAGE, b"")
    assert all(command in result.stderr for command in COMMANDS)
    assert "First steps" in result.stderr


def test_help_and_version(machine: Machine) -> None:
    assert machine.done("--version").text.startswith("chunkstore ")
    overview = machine.done("--help").text
    assert machine.done("-h").text == overview
    running = {command: machine.start(command, "--help") for command in COMMANDS}
    for command, process in running.items():
        shown = finish(process)
        assert (shown.code, shown.stderr) == (0, ""), command
        assert f"Usage: chunkstore {command}" in shown.text
        assert "--repository" in shown.text
        assert command in overview


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backup"], "No such command 'backup'"),
        (["snapshot"], "Missing argument 'PATH...'"),
        (["restore", "latest"], "Missing argument 'TARGET'"),
        (["cat", "latest"], "which file?"),
        (["ls", "--no-such-option"], "No such option"),
        (["snapshot", "/", "--compression", "99"], "'99' is none of 1 to 19, auto and off"),
    ],
)
def test_wrong_usage(machine: Machine, arguments: list[str], said: str) -> None:
    result = machine.run(*arguments)
    assert (result.code, result.stdout) == (USAGE, b"")
    assert said in result.stderr


def test_no_repository(machine: Machine, tmp_path: Path) -> None:
    unsaid = machine.run("snapshot", "/tmp", environment={"CHUNKSTORE_REPOSITORY": None})
    assert (unsaid.code, unsaid.stdout) == (USAGE, b"")
    assert "-r PATH" in unsaid.stderr
    assert "CHUNKSTORE_REPOSITORY" in unsaid.stderr
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "nowhere", tmp_path / "empty"):
        for command in (("snapshot", "/tmp"), ("restore", "latest", tmp_path / "out")):
            result = machine.run("-r", place, *command)
            assert (result.code, result.stdout) == (NO_REPOSITORY, b""), result
            assert f"there is no repository at {place}" in result.stderr
            assert "chunkstore init" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_repository_that_is_a_file_or_of_a_kind_unknown(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    result = machine.run("-r", tmp_path / "file", "snapshots")
    assert (result.code, result.stdout) == (UNREACHABLE, b"")
    assert str(tmp_path / "file") in result.stderr
    strange = machine.run("-r", "gopher://host/path", "snapshots")
    assert strange.code == USAGE
    assert "gopher" in strange.stderr


def test_the_repository_has_many_spellings(machine: Machine) -> None:
    without = {"CHUNKSTORE_REPOSITORY": None}
    for before, after in (
        (["-r", machine.repository], []),
        ([], ["-r", machine.repository]),
        (["--repository", f"file://{machine.repository}"], []),
        (["-r", "repository"], []),
        (["-r", "./repository/"], []),
    ):
        machine.done(*before, "snapshots", *after, environment=without)


def test_an_empty_repository(machine: Machine, owner: Machine, tmp_path: Path) -> None:
    assert "No snapshots yet" in machine.done("snapshots").text
    for command in (("restore", "latest", tmp_path / "out"), ("ls", "latest"), ("verify", "latest")):
        result = machine.run(*command)
        assert (result.code, result.stdout) == (FAILED, b"")
        assert "has no snapshot yet" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_snapshot_that_is_not_there(machine: Machine, source: Path) -> None:
    snapshot_id = machine.snapshot(source)
    other = f"{(int(snapshot_id[:8], 16) ^ 1):08x}"
    for name, said in ((other, "no snapshot has an id"), ("yesterday", "is no snapshot"), ("abc", "at least 4 digits")):
        result = machine.run("ls", name)
        assert (result.code, result.stdout) == (FAILED, b"")
        assert said in result.stderr


def test_a_path_that_is_not_there(machine: Machine, source: Path) -> None:
    result = machine.run("snapshot", source / "nowhere")
    assert (result.code, result.stdout) == (FAILED, b"")
    assert f"{source}/nowhere does not exist" in result.stderr
    assert machine.names("snapshots/") == machine.names("sessions/") == set()
    partly = machine.run("snapshot", "--json", source / "nowhere", source / "sub")
    assert partly.code == INCOMPLETE
    assert partly.json["statistics"]["errors"] == 1
    assert partly.json["problems"] == [f"{source}/nowhere: No such file or directory"]
    assert f"{source}/nowhere" in partly.stderr
    assert len(machine.names("snapshots/")) == 1


def test_a_path_that_is_not_there_is_missed_below_another_one_too(machine: Machine, source: Path) -> None:
    result = machine.run("snapshot", source, source / "nowhere")
    assert result.code == INCOMPLETE
    assert f"{source}/nowhere" in result.stderr


# -- trouble with the source


def _stopped_by_modes() -> tuple[str, ...]:
    """What to put before a command so that file modes stop it: root loses the right to pass them over."""
    if not IS_ROOT:
        return ()
    command = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
    if not shutil.which("setpriv") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("root can not give up its rights here")
    return command


def test_what_can_not_be_read_is_reported_and_the_rest_is_kept(
    machine: Machine, owner: Machine, tmp_path: Path
) -> None:
    before = _stopped_by_modes()
    source = tmp_path / "source"
    plant(source, {b"secret": b"x", b"closed": {b"inside": b"x"}, b"fine": b"fine", b"new\nline": b"x"})
    for name in ("secret", "new\nline", "closed"):
        os.chmod(source / name, 0)
    result = machine.run("snapshot", "--json", source, before=before)
    assert result.code == INCOMPLETE
    unreadable = [f"{source}/{name}: Permission denied" for name in ("closed", "new\\nline", "secret")]
    assert sorted(result.json["problems"]) == unreadable
    assert result.json["statistics"]["errors"] == 3
    assert all(f"can not read {each}" in result.stderr for each in unreadable)
    (listed,) = machine.done("snapshots", "--json").json["snapshots"]
    assert (listed["id"], listed["errors"]) == (result.json["snapshot"]["id"], 3)
    assert owner.done("cat", f"latest:{source}/fine").stdout == b"fine"
    for name in ("secret", "new\nline", "closed"):
        os.chmod(source / name, 0o755)
    assert machine.done("snapshot", "--json", source, before=before).json["statistics"]["errors"] == 0
    assert look(owner.restore("latest", tmp_path / "out")) == look(source)


def test_quiet_is_silent_but_for_what_could_not_be_read(machine: Machine, source: Path) -> None:
    before = _stopped_by_modes()
    os.chmod(source / "image", 0)
    result = machine.run("snapshot", "--quiet", source, before=before)
    assert (result.code, result.stdout) == (INCOMPLETE, b"")
    assert f"can not read {source}/image" in result.stderr


def test_files_that_come_and_go_do_no_harm(machine: Machine, source: Path) -> None:
    stop = threading.Event()
    (source / "busy").mkdir()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            directory = source / "busy" / str(number % 40)
            directory.mkdir(exist_ok=True)
            for name in "abcdef":
                (directory / name).write_bytes(noise(3000, number))
            for name in "abcdef":
                (directory / name).unlink()
            directory.rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(3):
            result = machine.run("snapshot", "--json", source)
            assert result.code == 0, result
            assert result.json["statistics"]["errors"] == 0
            assert all("vanished" in line for line in result.stderr.splitlines())
            assert result.stderr.count("vanished") == result.json["statistics"]["vanished"]
    finally:
        stop.set()
        thread.join()


def test_a_file_that_grows_is_stored_as_it_was_at_some_time(machine: Machine, owner: Machine, source: Path) -> None:
    stop = threading.Event()
    log = source / "log"
    log.write_bytes(b"")

    def append() -> None:
        with log.open("ab", buffering=0) as file:
            for number in range(10**9):
                if stop.is_set():
                    return
                file.write(b"%015d\n" % number)

    thread = threading.Thread(target=append)
    thread.start()
    try:
        for _ in range(2):
            result = machine.run("snapshot", source)
            assert result.code == 0
            assert "changed while it was read, stored as it was found" in result.stderr
            assert str(log) in result.stderr
    finally:
        stop.set()
        thread.join()
    stored = owner.done("cat", f"latest:{log}").stdout
    assert log.read_bytes().startswith(stored)
    (entry,) = [e for e in owner.done("ls", "latest", "--json").json["entries"] if e["path"] == str(log)]
    assert entry["size"] == len(stored)


# -- trouble with the repository


def test_a_repository_of_a_newer_format_is_refused_with_the_version_it_needs(machine: Machine, source: Path) -> None:
    (config,) = (machine.repository / "config").iterdir()
    data = bytearray(config.read_bytes())
    assert data[8] == 1
    data[8] = 7
    config.write_bytes(data)
    for command in (("snapshot", source), ("snapshots",)):
        result = machine.run(*command)
        assert (result.code, result.stdout) == (FAILED, b"")
        assert "format version 7" in result.stderr
    data[8], data[11] = 1, 4
    config.write_bytes(data)
    result = machine.run("snapshots")
    assert result.code == FAILED
    assert "newer chunkstore" in result.stderr


def test_a_damaged_config_is_said_to_be_damaged(machine: Machine) -> None:
    (config,) = (machine.repository / "config").iterdir()
    whole = config.read_bytes()
    for damaged in (b"", whole[:20], whole[:100], b"garbage " * 512, whole[:-1] + bytes([whole[-1] ^ 1])):
        config.write_bytes(damaged)
        result = machine.run("snapshots")
        assert (result.code, result.stdout) == (FAILED, b"")
        assert f"config/{config.name}" in result.stderr
        assert "internal error" not in result.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can not be mounted here: no test of a full disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts a small file system: no test of a full disk")
def test_a_full_disk_harms_no_earlier_snapshot(keys: Keys, source: Path, small_disk: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", keys.private, small_disk / "repository")
    machine.done("init", "-e", keys.mail, "--pack-size", "1M")
    first = machine.snapshot(source)
    seen = look(source)
    (small_disk / "ballast").write_bytes(noise(1_500_000))
    (source / "huge").write_bytes(noise(5_000_000, 2))
    for _ in range(2):
        full = machine.run("snapshot", source)
        assert (full.code, full.stdout) == (FAILED, b"")
        assert "No space left on device" in full.stderr
        assert str(small_disk) in full.stderr
        assert "make room" in full.stderr
        assert machine.names("sessions/") == set()
    assert look(machine.restore(first, tmp_path / "first")) == seen
    assert [each["id"] for each in machine.done("snapshots", "--json").json["snapshots"]] == [first]
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    second = machine.snapshot(source)
    assert look(machine.restore(second, tmp_path / "second")) == look(source)


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts a small file system: no test of a full disk")
def test_a_target_that_gets_full(machine: Machine, owner: Machine, source: Path, small_disk: Path) -> None:
    plant(source, {b"huge": noise(9_000_000, 2)})
    machine.snapshot(source)
    result = owner.run("restore", "latest", small_disk / "out")
    assert (result.code, result.stdout) == (FAILED, b"")
    assert "no space is left for the restore" in result.stderr
    whole = below(source)
    restored = {path: seen for path, seen in below(small_disk / "out").items() if not is_temporary(path)}
    assert all(restored[path].size == whole[path].size for path in restored), "a partial file under its name"


def _remount_read_only(place: Path) -> bool:
    bind = subprocess.run(["mount", "--bind", str(place), str(place)], capture_output=True)
    return not bind.returncode and not subprocess.run(["mount", "-o", "remount,ro,bind", str(place)]).returncode


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts")
def test_a_read_only_repository_can_be_read(machine: Machine, owner: Machine, source: Path, tmp_path: Path) -> None:
    machine.snapshot(source)
    machine.forget_cache()
    if not _remount_read_only(machine.repository):
        pytest.skip("nothing can be mounted here")
    try:
        assert look(owner.restore("latest", tmp_path / "out")) == look(source)
        owner.done("verify", "latest")
        refused = machine.run("snapshot", source)
        assert (refused.code, refused.stdout) == (UNREACHABLE, b"")
        assert "Read-only file system" in refused.stderr
    finally:
        subprocess.run(["umount", "-l", str(machine.repository)], check=True)


def test_places_for_state_and_cache_that_can_not_be_used(machine: Machine, source: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        result = machine.run("snapshot", source, environment={variable: str(file)})
        assert result.code != 0
        assert "internal error" not in result.stderr
        assert str(file) in result.stderr
    assert machine.names("snapshots/") == machine.names("sessions/") == set()


def test_a_cache_whose_numbers_are_absurd_is_not_believed(machine: Machine, source: Path) -> None:
    """A damaged length or count must not become an allocation."""
    machine.snapshot(source)
    for at in range(56, 72, 4):  # the head of the first segment
        (cache,) = machine.cache.rglob("*.manifest")
        data = cache.read_bytes()
        cache.write_bytes(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])
        result = machine.run("snapshot", "--json", source)
        assert result.code == 0, (at, result)
        assert result.json["statistics"]["bytes_new"] == 0, at
