"""`chunkstore bench dedup` as people run it: without a repository, without keys, and nothing is left behind."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.command import Machine

QUICK = ("--algorithms", "pyfastcdc,fixed", "--sizes", "16K,64K")


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    """A machine with no repository, no gpg and no state."""
    return Machine(tmp_path / "machine", None)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    half = random.Random(1).randbytes(200_000)
    (root / "one").write_bytes(half)
    (root / "two").write_bytes(half)
    (root / "three").write_bytes(half + b"text " * 20_000)
    (root / "new\nline").write_bytes(b"small")
    return root


def test_json_says_what_the_table_says(bare: Machine, files: Path) -> None:
    found = bare.done("bench", "dedup", "--json", *QUICK, files).json
    assert (found["files"], found["bytes"]) == (4, 700_005)
    assert found["copies"] == {"files": 1, "bytes": 200_000}
    assert [each["chunker"] for each in found["measurements"]] == [
        "pyfastcdc:4K,16K,64K",
        "pyfastcdc:16K,64K,256K",
        "fixed:16K",
        "fixed:64K",
    ]
    for each in found["measurements"]:
        assert each["wasted"] == each["wasted_copies"] + each["wasted_within"] + each["wasted_across"]
        assert each["bytes_new"] + each["wasted"] == found["bytes"]
        assert each["bytes_index"] < each["bytes_stored"]
        assert each["bytes_stored"] > each["bytes_compressed"]
        assert each["cpu_ns"] > 0
    assert found["reference"] == "pyfastcdc:4K,16K,64K"
    (same,) = found["same_files"]
    assert sorted(same["paths"]) == sorted([f"{files}/one", f"{files}/two"][: same["count"]])
    table = bare.done("bench", "dedup", *QUICK, files).text
    assert "4 files, 683.6 KiB." in table
    assert "pyfastcdc:16K,64K,256K" in table
    assert f"{files}/one" in table
    assert "\x1b" not in table


def test_nothing_is_left_behind_and_cron_hears_nothing(bare: Machine, files: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = bare.done("bench", "dedup", "--quiet", *QUICK, files, environment={"TMPDIR": str(scratch)})
    assert done.stdout == b""
    assert list(scratch.iterdir()) == []
    assert not bare.state.exists()
    assert not bare.cache.exists()
    assert not bare.repository.exists()
    assert sorted(os.listdir(files)) == ["new\nline", "one", "three", "two"]


@pytest.mark.parametrize("ending", ["svg", "html"])
def test_it_is_drawn(bare: Machine, files: Path, tmp_path: Path, ending: str) -> None:
    plot = tmp_path / f"plot.{ending}"
    bare.done("bench", "dedup", "--quiet", *QUICK, "--plot", plot, files)
    text = plot.read_text()
    picture = text[text.index("<svg") : text.index("</svg>") + 6]
    root = ElementTree.fromstring(picture)
    lines = [each for each in root.iter() if each.tag.endswith("polyline")]
    assert len(lines) == 4 * 2, "four panels, two algorithms"
    assert "pyfastcdc" in text
    assert ("<html" in text) == (ending == "html")
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_png_needs_matplotlib_and_says_so_before_it_begins(bare: Machine, files: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "sitecustomize.py"
    hidden.parent.mkdir()
    hidden.write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'matplotlib' else find(name, *a)\n"
    )
    result = bare.run(
        "bench", "dedup", *QUICK, "--plot", tmp_path / "a.png", files, environment={"PYTHONPATH": str(hidden.parent)}
    )
    assert (result.code, result.stdout) == (2, b"")
    assert "chunkstore[plot]" in result.stderr
    assert not (tmp_path / "a.png").exists()


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="the extra plot is not installed")
def test_png_is_drawn(bare: Machine, files: Path, tmp_path: Path) -> None:
    bare.done("bench", "dedup", "--quiet", *QUICK, "--plot", tmp_path / "a.png", files)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_what_can_not_be_read_is_reported_and_exit_3(bare: Machine, files: Path) -> None:
    result = bare.run("bench", "dedup", "--json", *QUICK, files, files / "no")
    assert result.code == 3
    assert result.stderr == f"chunkstore: can not read {files}/no: No such file or directory\n"
    assert result.json["problems"] == [f"{files}/no: No such file or directory"]
    assert result.json["files"] == 4


def test_nothing_there_is_exit_1(bare: Machine, files: Path) -> None:
    result = bare.run("bench", "dedup", files / "no")
    assert (result.code, result.stdout) == (1, b"")
    assert "does not exist" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--sizes", "8M", "."],
        ["--sizes", "", "."],
        ["--sizes", "sixteen", "."],
        ["--algorithms", "rabin", "."],
        ["--sample", "0", "."],
        ["--plot", "plot.pdf", "."],
        ["--plot", "no/such/folder/plot.svg", "."],
    ],
)
def test_what_makes_no_sense_is_exit_2(bare: Machine, arguments: list[str]) -> None:
    result = bare.run("bench", "dedup", *arguments)
    assert (result.code, result.stdout) == (2, b"")
    assert "Traceback" not in result.stderr


def test_the_options_that_choose_are_those_of_snapshot(bare: Machine, files: Path) -> None:
    found = bare.done(
        "bench", "dedup", "--json", *QUICK, "--exclude", "t*", "--exclude-larger-than", "100K", files
    ).json
    assert (found["files"], found["left_out"]) == (1, 3)


def test_a_library_that_is_not_there_is_left_out_or_named(bare: Machine, files: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'fastcdc' else find(name, *a)\n"
    )
    without = {"environment": {"PYTHONPATH": str(hidden)}}
    found = bare.done("bench", "dedup", "--json", "--sizes", "1M", files, **without).json
    assert [each["algorithm"] for each in found["measurements"]] == ["pyfastcdc", "fixed"]
    result = bare.run("bench", "dedup", "--algorithms", "fastcdc", files, **without)
    assert result.code == 2
    assert "chunkstore[fastcdc]" in result.stderr


def test_what_is_heavy_is_not_imported_without_need(bare: Machine) -> None:
    program = (
        "import sys, chunkstore_cli.commands.bench; sys.exit('matplotlib' in sys.modules or 'boto3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], env=bare.environment(), timeout=60).returncode == 0
