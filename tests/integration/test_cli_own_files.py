"""Several processes of one machine at once, and what a machine keeps for itself inside of what it backs up."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.command import Machine, finish, stop_when
from tests.conftest import SMALL_CHUNKS, Keys
from tests.trees import below, look, noise, plant


def test_two_snapshots_at_once(machine: Machine, owner: Machine, source: Path, tmp_path: Path) -> None:
    plant(source, {b"more": {b"%d" % number: noise(5000, number) for number in range(200)}})
    running = [machine.start("snapshot", "--json", source) for _ in range(2)]
    results = [finish(process) for process in running]
    assert [(result.code, result.stderr) for result in results] == [(0, ""), (0, "")]
    ids = {result.json["snapshot"]["id"] for result in results}
    assert len(ids) == 2
    assert {each["id"] for each in machine.done("snapshots", "--json").json["snapshots"]} == ids
    for snapshot_id in ids:
        assert look(owner.restore(snapshot_id, tmp_path / snapshot_id)) == look(source)
    assert machine.names("sessions/") == set()


def test_a_snapshot_that_ends_first_does_not_take_the_cache_of_another_away(machine: Machine, source: Path) -> None:
    """With both of them done, an unchanged file is still known to be unchanged."""
    plant(source, {b"more": {b"%d" % number: noise(5000, number) for number in range(400)}})
    slow = machine.start("snapshot", "--json", "--compression", "19", source)
    stop_when(slow, lambda: any(machine.cache.rglob("*.new")), signal.SIGSTOP)
    machine.snapshot(source)
    slow.send_signal(signal.SIGCONT)
    result = finish(slow)
    assert (result.code, result.stderr) == (0, "")
    again = machine.done("snapshot", "--json", source).json["statistics"]
    assert (again["bytes_new"], again["files_unchanged"]) == (0, again["files"])


def test_many_at_once_without_a_cache(machine: Machine, owner: Machine, source: Path, tmp_path: Path) -> None:
    """All of them make the local index at the same time; some read, some write."""
    machine.snapshot(source)
    for _ in range(3):
        machine.forget_cache()
        commands = [("snapshot", "--json", source / name) for name in ("sub", "image", "notes.txt")]
        running = [machine.start(*command) for command in commands]
        running += [owner.start("ls", "latest", "--json") for _ in range(2)]
        for process in running:
            result = finish(process)
            assert (result.code, result.stderr) == (0, "")
    sequences = machine.done("snapshots", "--json").json["snapshots"]
    assert len(sequences) == 10
    machine.snapshot(source)
    assert look(owner.restore("latest", tmp_path / "out")) == look(source)


@pytest.mark.parametrize("spelling", ["{}", "file://{}"])
def test_the_repository_and_the_state_inside_of_the_source_are_left_out(
    keys: Keys, tmp_path: Path, spelling: str
) -> None:
    home = tmp_path / "home"
    plant(
        home, {b"documents": {b"thesis": b"thesis"}, b".local": {b"share": {b"x": b"x"}}, b".cache": {b"other": b"o"}}
    )
    machine = Machine(tmp_path / "machine", keys.private)
    machine.repository = home / "backups" / "repository"
    environment = {
        "HOME": str(home),
        "XDG_STATE_HOME": None,
        "XDG_CACHE_HOME": None,
        "CHUNKSTORE_REPOSITORY": spelling.format(machine.repository),
    }
    machine.done("init", "-e", keys.mail, "--chunker", SMALL_CHUNKS, environment=environment)
    for number in range(2):
        made = machine.done("snapshot", "--json", home, environment=environment).json["statistics"]
        assert made["files"] == 3, number
    out = machine.restore("latest", tmp_path / "out", environment=environment)
    own = {b"backups/repository", b".local/state/chunkstore", b".cache/chunkstore"}
    kept = {path for path in below(home) if not any((path + b"/").startswith(each + b"/") for each in own)}
    assert below(out).keys() == kept
    assert (home / ".local" / "state" / "chunkstore").is_dir()
    assert (home / ".cache" / "chunkstore").is_dir()


def test_a_machine_that_lost_everything_gets_it_back(
    machine: Machine, source: Path, keys: Keys, tmp_path: Path
) -> None:
    """The disaster it is all for: the source and the client's files are gone; the repository and the key are left."""
    expected = look(source)
    machine.snapshot(source)
    fingerprint = next((machine.state / "chunkstore").iterdir()).name
    shutil.rmtree(source)
    machine.forget_everything()
    shutil.rmtree(machine.home)
    fresh = Machine(tmp_path / "fresh", keys.private, machine.repository)
    fresh.done("join", "--fingerprint", fingerprint)
    assert look(fresh.restore("latest", source)) == expected
    fresh.done("verify", "latest")
