"""--nice, --ionice and --compression of a snapshot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Machine
from tests.trees import look, noise, plant

USAGE = 2


def test_a_snapshot_runs_with_less_priority_and_stores_the_same(
    machine: Machine, owner: Machine, source: Path, tmp_path: Path
) -> None:
    machine.done("snapshot", "--quiet", "--nice", "5", "--ionice", "idle", source)
    owner.done("restore", "latest", tmp_path / "out")
    assert look(tmp_path / "out") == look(source)


@pytest.mark.skipif(sys.platform != "linux", reason="what --ionice sets is asked of Linux")
def test_priorities_hold_for_the_process_and_its_threads(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, threading\n"
        "from chunkstore_cli.priority import set_priority\n"
        "before = os.nice(0)\n"
        "set_priority(3, 'idle')\n"
        "found = []\n"
        "thread = threading.Thread(target=lambda: found.append(os.nice(0)))\n"
        "thread.start(); thread.join()\n"
        "print(os.nice(0) - before, found[0] - before)\n"
        "print(subprocess.run(['ionice', '-p', str(os.getpid())], capture_output=True, text=True).stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["3", "3"]
    if any(os.access(os.path.join(where, "ionice"), os.X_OK) for where in os.get_exec_path()):
        assert "idle" in done.stdout


@pytest.mark.parametrize("wrong", [("--nice", "0"), ("--nice", "20"), ("--ionice", "realtime")])
def test_other_priorities_are_refused(machine: Machine, source: Path, wrong: tuple[str, str]) -> None:
    assert machine.run("snapshot", *wrong, source).code == USAGE


@pytest.mark.parametrize("wrong", ["0", "20", "-1", "+3", "none", ""])
def test_other_levels_are_refused(machine: Machine, source: Path, wrong: str) -> None:
    result = machine.run("snapshot", "--compression", wrong, source)
    assert result.code == USAGE
    assert "auto" in result.stderr


@pytest.mark.parametrize("level", ["off", "auto", "1", "19"])
def test_every_level_comes_back(machine: Machine, owner: Machine, tmp_path: Path, level: str) -> None:
    tree = tmp_path / "tree"
    plant(tree, {b"text": b"all the same\n" * 50_000, b"noise": noise(300_000, 1)})
    machine.done("snapshot", "--quiet", "--compression", level, tree)
    owner.done("restore", "latest", tmp_path / "out")
    assert look(tmp_path / "out") == look(tree)
