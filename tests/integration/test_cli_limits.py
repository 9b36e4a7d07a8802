"""Bandwidth limits from the command line: they hold, and a command that waits for one can be interrupted."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.command import Machine, finish, stop_when
from tests.trees import look, noise, plant

INTERRUPTED = 130


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Files that do not compress, in several packs of a MiB."""
    source = tmp_path / "big"
    plant(source, {b"%02d" % number: noise(1 << 20, number) for number in range(6)})
    return source


def test_limits_hold_and_change_nothing_else(machine: Machine, owner: Machine, big: Path, tmp_path: Path) -> None:
    begin = time.monotonic()
    machine.done("snapshot", "--quiet", "--limit-upload", "3M", big)
    assert time.monotonic() - begin >= 0.9, "6 MiB, of which one second's worth is free"
    begin = time.monotonic()
    owner.done("restore", "latest", tmp_path / "out", "--limit-download", "3M")
    assert time.monotonic() - begin >= 0.9
    assert look(tmp_path / "out") == look(big)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_snapshot_that_waits_can_be_interrupted(
    machine: Machine, source: Path, big: Path, number: signal.Signals
) -> None:
    machine.snapshot(source)
    process = machine.start("snapshot", "--limit-upload", "10K", big)
    sent = stop_when(process, lambda: bool(machine.names("sessions/")), number)
    result = finish(process)
    assert result.code == INTERRUPTED
    assert "interrupted" in result.stderr
    assert "Traceback" not in result.stderr
    assert time.monotonic() - sent < 30, "and not the minutes that a pack takes"
    assert machine.names("sessions/") == set()
    machine.snapshot(big)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_restore_that_waits_can_be_interrupted(
    machine: Machine, owner: Machine, big: Path, tmp_path: Path, number: signal.Signals
) -> None:
    machine.snapshot(big)
    target = tmp_path / "out"
    process = owner.start("restore", "latest", target, "--limit-download", "100K")
    sent = stop_when(process, target.exists, number)
    result = finish(process)
    assert result.code == INTERRUPTED
    assert "interrupted" in result.stderr
    assert "Traceback" not in result.stderr
    assert time.monotonic() - sent < 30
