"""What commands say, where, and to whom: JSON for programs, silence for cron, progress for terminals."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.command import Machine, finish
from tests.conftest import Keys
from tests.trees import noise, plant


def test_json_is_one_object_and_nothing_else_is_said(keys: Keys, source: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", keys.private)
    fingerprint = machine.done("init", "-e", keys.mail, "--json").json["fingerprint"]
    machine.done("join", "--fingerprint", fingerprint, "--json")
    for arguments in (
        ("snapshot", source),
        ("snapshots",),
        ("ls", "latest"),
        ("ls", "-R", f"latest:{source}/sub"),
        ("restore", "latest", tmp_path / "out"),
        ("verify", "latest"),
    ):
        command, *rest = arguments
        assert machine.done(command, "--json", *rest).json["version"] == 1
    assert machine.done("--json", "snapshots").json["version"] == 1


def test_json_of_an_incomplete_run_is_one_object_too(machine: Machine, source: Path) -> None:
    result = machine.run("snapshot", "--json", source / "sub", source / "nowhere")
    assert result.code == 3
    assert result.json["problems"]
    failed = machine.run("snapshot", "--json", source / "nowhere")
    assert (failed.code, failed.stdout) == (1, b"")


def test_json_of_paths_that_are_no_text_tells_them_apart(machine: Machine, owner: Machine, tmp_path: Path) -> None:
    """`os.fsencode` gives back the bytes of every path; no two paths look the same."""
    odd = [b"\xff", b"\\udcff", b"\\xff", b"\\\\udcff", "ÿ".encode(), b"new\nline"]
    plant(tmp_path / "source", dict.fromkeys(odd, b""))
    machine.snapshot(tmp_path / "source")
    raw = owner.done("ls", "--json", "latest").stdout
    names = [os.path.basename(os.fsencode(each["path"])) for each in json.loads(raw)["entries"]]
    assert sorted(names) == sorted(odd)
    assert raw.decode("utf-8")


def test_quiet_is_silent(keys: Keys, source: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", keys.private)
    for arguments in (
        ("init", "-e", keys.mail),
        ("snapshot", source),
        ("restore", "latest", tmp_path / "out"),
    ):
        assert machine.done("--quiet", *arguments).stdout == b"", arguments
    fingerprint = next((machine.state / "chunkstore").iterdir()).name
    assert machine.done("join", "--fingerprint", fingerprint, "-q").stdout == b""


def test_restore_says_with_quiet_which_files_it_could_not_write(
    machine: Machine, owner: Machine, source: Path, tmp_path: Path
) -> None:
    machine.snapshot(source)
    plant(tmp_path / "out", {b"image": {}})
    result = owner.run("restore", "--quiet", "--overwrite", "always", "latest", tmp_path / "out")
    assert (result.code, result.stdout) == (1, b"")
    assert "image" in result.stderr


def test_a_reader_who_has_seen_enough_is_no_failure_to_talk_about(
    machine: Machine, owner: Machine, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    plant(source, {b"big": noise(3_000_000), **{b"%05d" % number: b"" for number in range(4000)}})
    machine.snapshot(source)
    for arguments in (("cat", f"latest:{source}/big"), ("ls", "latest")):
        process = owner.start(*arguments)
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        process.stdout = None
        assert finish(process).stderr == ""


def test_an_output_that_is_full_is_an_error(owner: Machine, machine: Machine, source: Path) -> None:
    machine.snapshot(source)
    for arguments in (("ls", "latest"), ("snapshots", "--json"), ("cat", f"latest:{source}/image")):
        with open("/dev/full", "wb") as full:
            result = owner.run(*arguments, stdout=full)
        assert result.code == 1, (arguments, result)
        assert "No space left on device" in result.stderr
        assert "Traceback" not in result.stderr
        assert "Exception ignored" not in result.stderr


def test_names_can_not_talk_to_the_terminal(machine: Machine, owner: Machine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    plant(source, {b"\x1b]0;owned\x07": b"", b"two\nlines": b"", b"\xff": b""})
    machine.snapshot(source)
    listed = owner.done("ls", "latest").text.splitlines()
    assert [line.removeprefix(f"{source}/") for line in listed] == ["\\x1b]0;owned\\x07", "two\\nlines", "\\xff"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_names_are_listed_where_the_output_is_no_utf_8(
    machine: Machine, owner: Machine, tmp_path: Path, encoding: str
) -> None:
    plant(tmp_path / "source", {"日本語 ä €".encode(): b""})
    machine.snapshot(tmp_path / "source")
    for arguments in (("ls", "latest"), ("ls", "--json", "latest")):
        owner.done(*arguments, environment={"PYTHONIOENCODING": encoding})


# -- terminals


def on_terminal(machine: Machine, *arguments: str | Path, stdout: int = subprocess.PIPE) -> tuple[int, bytes, str]:
    """(exit code, standard output, what the terminal that is standard error got)."""
    controller, terminal = pty.openpty()
    environment = {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    # A pipe that nobody reads gets full.
    output = tempfile.TemporaryFile() if stdout == subprocess.PIPE else None  # noqa: SIM115
    process = machine.start(
        *arguments, stderr=terminal, stdin=terminal, stdout=output or stdout, environment=environment
    )
    os.close(terminal)
    seen = bytearray()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ready, _, _ = select.select([controller], [], [], 0.05)
        if ready:
            try:
                data = os.read(controller, 65536)
            except OSError:  # the last process that had it open is gone
                break
            if not data:
                break
            seen += data
    os.close(controller)
    result = finish(process)
    if output is None:
        return result.code, result.stdout, seen.decode(errors="replace")
    with output:
        output.seek(0)
        return result.code, output.read(), seen.decode(errors="replace")


def screen(written: str) -> list[str]:
    """The lines that a terminal shows at the end, empty ones left out: enough of ECMA-48 for a progress line."""
    import re

    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|\r|\n|[^\x1b\r\n]+", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.startswith("\x1b["):
            number = int(part[2:-1]) if part[2:-1].isdigit() else 0
            if part[-1] == "K":
                lines[row] = "" if number == 2 else lines[row][:column]
            elif part[-1] == "A":
                row = max(row - max(number, 1), 0)
        elif not part.startswith("\x1b"):
            line = lines[row].ljust(column)
            lines[row] = line[:column] + part + line[column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def test_progress_is_for_terminals_and_leaves_no_trace(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    plant(source, {b"%d" % number: noise(1 << 20, number) for number in range(8)})
    code, stdout, seen = on_terminal(machine, "snapshot", "--compression", "19", source)
    assert code == 0
    assert b"stored." in stdout
    assert " files" in seen
    assert "MiB" in seen
    assert screen(seen) == []
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h"), "the cursor stays hidden"
    quiet = on_terminal(machine, "snapshot", "--quiet", source)
    assert quiet == (0, b"", "")


def test_warnings_stand_above_the_progress(machine: Machine, source: Path) -> None:
    code, _, seen = on_terminal(machine, "snapshot", source / "sub", source / "no [bold]where")
    assert code == 3
    assert "".join(screen(seen)) == f"chunkstore: can not read {source}/no [bold]where: No such file or directory"


def test_results_go_to_standard_output_though_progress_is_on_a_terminal(
    machine: Machine, owner: Machine, source: Path, tmp_path: Path
) -> None:
    """`chunkstore ls latest > list` at a terminal."""
    machine.snapshot(source)
    for arguments in (("ls", "-R", "latest"), ("snapshots",), ("verify", "latest"), ("cat", f"latest:{source}/image")):
        expected = owner.done(*arguments).stdout
        code, stdout, seen = on_terminal(owner, *arguments)
        assert (code, stdout, screen(seen)) == (0, expected, []), arguments


def test_the_terminal_is_told_of_errors_after_the_progress(machine: Machine, source: Path) -> None:
    machine.snapshot(source)
    code, stdout, seen = on_terminal(machine, "ls", "ffffffff")
    assert (code, stdout) == (1, b"")
    assert " ".join(screen(seen)).startswith("chunkstore: no snapshot has an id that starts with 'ffffffff'")
