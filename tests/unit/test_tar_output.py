"""Where an archive goes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from chunkstore_cli.tar_output import tar_output


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.tar"
    with tar_output(os.fsencode(path)) as stream:
        stream.write(b"archive")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"archive", 0o600)


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "old.tar"
    path.write_bytes(b"old")
    with pytest.raises(click.UsageError, match="exists already"), tar_output(os.fsencode(path)):
        pass
    assert path.read_bytes() == b"old"


def test_an_archive_that_is_not_whole_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "part.tar"
    with pytest.raises(ZeroDivisionError), tar_output(os.fsencode(path)) as stream:
        stream.write(bytes(1 // 0))
    assert not path.exists()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    with tar_output(os.fsencode(path)) as stream:
        stream.write(b"archive")
    reader.join()
    assert got == [b"archive"]


def test_standard_output_is_refused_where_it_is_a_terminal() -> None:
    code = "from chunkstore_cli.tar_output import tar_output\nwith tar_output(b'-') as stream: stream.write(b'archive')"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert piped.stdout == b"archive"
    leader, follower = os.openpty()
    shown = subprocess.run([sys.executable, "-c", code], stdout=follower, stderr=subprocess.PIPE, check=False)
    os.close(follower)
    os.close(leader)
    assert shown.returncode
    assert b"not for a terminal" in shown.stderr
