"""Entries for tests of the target of a restore, and what is needed to be somebody else."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, Entry

ROOT = os.geteuid() == 0
MTIME = 1_234_567_890_123_456_789


def entry(kind: int = FILE, **fields: Any) -> Entry:
    values: dict[str, Any] = {
        "name": b"x",
        "kind": kind,
        "mode": 0o644,
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "mtime_ns": MTIME,
        "ctime_ns": 0,
        "inode": 1,
        "size": 0,
        "chunks": 0,
        "extra": None,
    }
    return Entry(**(values | fields))


def link(target: bytes, **fields: Any) -> Entry:
    return entry(SYMLINK, extra={"target": target}, **fields)


def directory(mode: int = 0o755, **fields: Any) -> Entry:
    return entry(DIRECTORY, mode=mode, **fields)


def read(path: bytes) -> bytes:
    return Path(os.fsdecode(path)).read_bytes()


def count_open() -> int:
    """Open descriptors of this process; /dev/fd is there on Linux and macOS."""
    return len(os.listdir("/dev/fd"))


def as_nobody(function: Callable[[], None]) -> None:
    """Run `function` without privileges: in a child with another uid if we are root."""
    if not ROOT:
        function()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns about threads, of which pytest-xdist has some
        child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
