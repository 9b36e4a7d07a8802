"""What no backup tool can beat by much: `cp -a` of the tree, and a bare walk of it.

    python -I benchmarks/limits.py walk DIR

The walk is scandir and lstat of every entry in one Python thread, nothing else. It is started as a process of
its own, so its time includes the interpreter's start.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

Command = list[str]


def copy_command(tree: Path, target: Path) -> Command:
    return ["cp", "-a", f"{tree}/.", str(target)]


def walk_command(tree: Path) -> Command:
    return [sys.executable, "-I", __file__, "walk", str(tree)]


def walk(directory: str) -> int:
    """The number of entries below `directory`, each of them looked at with lstat."""
    found = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            entry.stat(follow_symlinks=False)
            found += 1
            if entry.is_dir(follow_symlinks=False):
                found += walk(entry.path)
    return found


if __name__ == "__main__":
    print(walk(sys.argv[2]))
