"""Ctrl-C, SIGTERM and kill -9 while a command runs."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from chunkstore.tree.temporary_names import is_temporary
from tests.command import Machine, finish, stop_when
from tests.trees import below, look, noise, plant

INTERRUPTED = 130
LEVEL = "19"
"""Of zstd: slow enough that a snapshot is still under way when the signal comes."""
SIZE = 16 << 20


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Files that do not compress, in many packs of a MiB."""
    source = tmp_path / "big"
    plant(source, {b"%02d" % number: noise(1 << 20, number) for number in range(SIZE >> 20)})
    plant(source, {b"small": {b"%d" % number: noise(300, 1000 + number) for number in range(300)}})
    return source


def packs(machine: Machine) -> int:
    return len(machine.names("packs/"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_snapshot_ends_soon_and_is_not_for_nothing(
    machine: Machine, owner: Machine, source: Path, big: Path, tmp_path: Path, number: signal.Signals
) -> None:
    first = machine.snapshot(source)
    before = packs(machine)
    process = machine.start("snapshot", "--compression", LEVEL, big)
    sent = stop_when(process, lambda: packs(machine) >= before + 2, number)
    result = finish(process)
    assert time.monotonic() - sent < 10
    assert (result.code, result.stdout) == (INTERRUPTED, b""), result
    assert "interrupted" in result.stderr
    assert "Traceback" not in result.stderr
    assert machine.names("sessions/") == set()
    assert len(machine.names("snapshots/")) == 1
    assert not list(machine.cache.rglob("*.new"))
    again = machine.done("snapshot", "--json", "--compression", "1", big).json["statistics"]
    assert again["bytes_new"] <= SIZE - (1 << 20)
    assert look(owner.restore("latest", tmp_path / "out")) == look(big)
    assert look(owner.restore(first, tmp_path / "first")) == look(source)


def test_a_killed_snapshot_harms_nothing(
    machine: Machine, owner: Machine, source: Path, big: Path, tmp_path: Path
) -> None:
    """kill -9 early, and again when packs have been stored that no index object names."""
    first = machine.snapshot(source)
    for more in (0, 3):
        before = packs(machine)
        process = machine.start("snapshot", "--compression", LEVEL, big)
        stop_when(process, lambda before=before, more=more: packs(machine) >= before + more, signal.SIGKILL)  # type: ignore[misc]
        assert finish(process).code == -signal.SIGKILL
        assert [each["id"] for each in machine.done("snapshots", "--json").json["snapshots"]] == [first]
    assert look(owner.restore(first, tmp_path / "first")) == look(source)
    machine.snapshot("--compression", "1", big)
    assert look(owner.restore("latest", tmp_path / "out")) == look(big)


def test_an_interrupted_restore_leaves_no_part_under_the_name_of_a_file(
    machine: Machine, owner: Machine, big: Path, tmp_path: Path
) -> None:
    plant(big, {b"huge": noise(24 << 20, 77)})
    machine.snapshot(big, "--compression", "1")
    whole = below(big)
    out = tmp_path / "out"
    process = owner.start("restore", "latest", out)
    stop_when(process, lambda: out.exists() and any(out.iterdir()), signal.SIGINT)
    result = finish(process, 30)
    assert (result.code, result.stdout) == (INTERRUPTED, b""), result
    assert "Traceback" not in result.stderr
    under_their_names = {path: seen for path, seen in below(out).items() if not is_temporary(path)}
    partial = [path for path, seen in under_their_names.items() if (seen.size, seen.content) != whole[path][4:]]
    assert partial == []
    assert "interrupted" in result.stderr
    owner.done("restore", "--overwrite", "always", "latest", out)
    assert look(out) == look(big)
