"""The scripts in `benchmarks/` run, on small trees, and say what they measured: nobody finds out on the day they are needed."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
OURS = f"{sys.executable} -m chunkstore_cli"
PEER = next((name for name in ("restic", "bupstash", "borg") if shutil.which(name)), None)
TIMEOUT_S = 240

pytestmark = pytest.mark.skipif(not shutil.which("gpg"), reason="needs gpg")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    (root / "one" / "two").mkdir(parents=True)
    dice = random.Random(1)
    for number in range(30):
        (root / "one" / f"{number}.txt").write_bytes(b"words and %d more " % number * dice.randrange(1, 300))
    (root / "one" / "two" / "large").write_bytes(dice.randbytes(300_000) + b"repeated " * 60_000)
    (root / "again").write_bytes((root / "one" / "two" / "large").read_bytes())
    (root / "empty").touch()
    (root / "link").symlink_to("one")
    return root


def script(name: str, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """One of the scripts, run to its end."""
    command = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def compare(tree: Path, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    program = () if "--chunkstore" in arguments else ("--chunkstore", OURS)
    return script("end_to_end.py", "--tree", tree, "--probe", "8M", *program, *arguments, code=code)


def rows(report: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["step"], row["tool"]): row for row in json.loads(report.read_text())["rows"]}


def test_a_comparison_measures_every_step_of_every_tool_and_shows_it(tmp_path: Path, files: Path) -> None:
    tools = ["chunkstore", *([PEER] if PEER else [])]
    out, charts = tmp_path / "out.json", tmp_path / "charts"
    asked = ("--tools", ",".join(tools), "--repeat", "1", "--huge", "500K", "--out", out)
    said = compare(files, *asked).stdout
    found = rows(out)
    for step in ("first snapshot", "unchanged", "1 % edited", "huge file edited", "restore", "restore one file"):
        for tool in tools:
            row = found[step, tool]
            assert row["count"] == 1
            assert row["wall"] > 0
            assert row["paired"] > 0
            assert f"{tool}, repetition 1, " in said, "each restore was compared with its source"
    first, edited = found["first snapshot", "chunkstore"], found["1 % edited", "chunkstore"]
    assert 300_000 < first["stored"] < 1_000_000
    assert 0 < first["sent"] <= first["stored"] < edited["stored"]
    assert edited["sent"] < first["sent"]
    assert first["largest"] > 20 << 20
    limits = {tool for step, tool in found if step == "limit"}
    assert limits == {"cat", "walk", "cat, huge file", "create loop", "cp -a"}
    shown = script("report.py", out, "--plot", charts, "--markdown", tmp_path / "table.md").stdout
    assert "restored equal to the source: chunkstore, repetition 1" in shown
    ElementTree.parse(f"{charts}.svg")
    page = Path(f"{charts}.html").read_text()
    assert "<svg" in page
    assert "<td>first snapshot</td><td>chunkstore</td>" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", ""), "nothing is fetched from elsewhere"
    assert Path(f"{charts}.png").exists() == bool(importlib.util.find_spec("matplotlib"))
    aims = script("aims.py", "--tree", out, "--big", out).stdout
    assert "| tree | first snapshot | times as quick as kopia | aim: at least 1 | not run | 0 | - |" in aims


@pytest.mark.exhaustive
def test_a_comparison_goes_on_with_what_an_earlier_one_measured(tmp_path: Path, files: Path) -> None:
    out = tmp_path / "out.json"
    asked = ("--tools", "chunkstore", "--repeat", "1", "--steps", "first", "--out", out, "--resume")
    compare(files, *asked)
    compare(files, *asked)
    assert rows(out)["first snapshot", "chunkstore"]["count"] == 2
    (files / "more").write_bytes(b"x")
    assert "another tree" in compare(files, *asked, code=1).stderr


@pytest.mark.exhaustive
def test_a_comparison_sees_that_a_restore_differs(tmp_path: Path, files: Path) -> None:
    wrapper, out = tmp_path / "careless", tmp_path / "out.json"
    wrapper.write_text(
        f'#!/bin/sh\n{OURS} "$@" || exit\n'
        'if [ "$3" = restore ]; then for last; do :; done; echo more >> "$last/one/7.txt"; fi\n'
    )
    wrapper.chmod(stat.S_IRWXU)
    asked = ("--tools", "chunkstore", "--repeat", "1", "--steps", "restore", "--out", out, "--work", tmp_path / "work")
    said = compare(files, *asked, "--chunkstore", str(wrapper), code=1).stdout
    assert "FAILED chunkstore: restore differs in 1 of 36 entries, first: " in said
    assert "one/7.txt" in said
    assert rows(out)["restore", "chunkstore"]["count"] == 1, "what was measured is kept"


def test_stages_are_measured_alone_and_bound_what_can_be_reached(tmp_path: Path, files: Path) -> None:
    out = tmp_path / "stages.json"
    asked = ("--repeat", "1", "--probe", "8M", "--workers", "1,2", "--chunkstore", OURS, "--out", out)
    said = script("stages.py", "--tree", files, *asked).stdout
    found = json.loads(out.read_text())
    stages = {each["name"].split(":")[0].split(" ")[0]: each for each in found["kinds"]}
    assert {"read", "chunk", "hash", "compress", "encrypt", "verify", "write", "fetch", "decrypt"} < set(stages)
    assert all(each["wall"] > 0 for each in found["timings"])
    assert {each["how"] for each in found["timings"]} == {"threads", "processes"}
    sizes = [path.stat().st_size for path in files.rglob("*") if path.is_file() and path.parent != files / "link"]
    assert stages["read"]["size"] == found["raw"] == found["total"] == sum(sizes)
    assert stages["compress"]["size"] < found["raw"], "of the same file twice, one is compressed"
    assert stages["encrypt"]["size"] < stages["compress"]["size"]
    for side in ("snapshot", "restore"):
        assert f"- {side}: sum " in said
        assert f"- {side} at best: " in said
        assert f"- {side} by chunkstore: " in said
    assert script("stages.py", "--show", out).stdout == said


def test_large_trees_are_measured_small(tmp_path: Path) -> None:
    out, work = tmp_path / "scale.json", tmp_path / "work"
    asked = ("--files", "200", "--wide", "30", "--deep", "4000", "--chunkstore", OURS, "--work", work, "--out", out)
    said = script("tree_scale.py", *asked).stdout
    found = json.loads(out.read_text())
    for step in ("first snapshot", "unchanged", "snapshots", "ls of everything", "restore of one file, deep path"):
        (usage,) = found["runs"][step]["200"]
        assert usage["exit_code"] == 0
        assert usage["largest"] > 20 << 20
        assert f"| {step} | " in said
        found["runs"][step]["1000000"] = [{**usage, "largest": 2 * usage["largest"]}]
    assert os.listdir(work) == [], "all is removed"
    assert script("tree_scale.py", "--show", out).stdout == said
    out.write_text(json.dumps(found))
    grown = script("tree_scale.py", "--show", out).stdout
    assert "| 1,000,000 files: s | CPU s | MiB |" in grown
    assert next(line for line in grown.splitlines() if "unchanged" in line).endswith("| 2.00x |")
