"""What no backup tool can beat by much: the same work with nothing else to it, each a process of its own.

    python -I benchmarks/limits.py walk DIR             scandir and lstat of every entry, one Python thread
    python -I benchmarks/limits.py plan DIR FILE        notes what is in DIR (not a limit: for `create`)
    python -I benchmarks/limits.py create FILE TARGET   the same files made: open, write, utime, chmod, close
    python -I benchmarks/limits.py memory [BYTES]       MB/s of memcpy, in one thread
    python -I benchmarks/limits.py write DIR [BYTES]    MB/s of writing a file of random bytes, flushed to the disk
    python -I benchmarks/limits.py cold DIR [BYTES]     MB/s of reading a file that no cache holds
    python -I benchmarks/limits.py read FILE            MB/s of reading a file

and, by the system's own programs, `cp -a` of the tree and `cat` of all its files. The times of a walk and of a creation
include the interpreter's start. `create` writes bytes of its own of the same lengths: what it leaves out is only where
a restore has its bytes from.
"""

from __future__ import annotations

import marshal
import os
import stat
import sys
import time
from pathlib import Path

Command = list[str]
PIECE = 8 << 20


def copy_command(tree: Path, target: Path) -> Command:
    return ["cp", "-a", f"{tree}/.", str(target)]


def cat_command(tree: Path) -> Command:
    return ["sh", "-c", 'find "$0" -type f -exec cat {} + > /dev/null', str(tree)]


def command(verb: str, *arguments: Path) -> Command:
    """This file as a process."""
    return [sys.executable, "-I", __file__, verb, *map(str, arguments)]


def walk_command(tree: Path) -> Command:
    return command("walk", tree)


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


def plan(directory: str, file: str) -> None:
    """Writes (path, mode, size, mtime) of every directory and regular file below `directory`, parents first."""
    rows = []
    for folder, folders, names in os.walk(os.fsencode(directory)):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                relative = os.path.relpath(path, os.fsencode(directory))
                rows.append((relative, status.st_mode, status.st_size, status.st_mtime_ns))
    Path(file).write_bytes(marshal.dumps(rows))


def create(file: str, target: str) -> int:
    """Makes what `plan` noted below `target`; the bytes written."""
    rows = marshal.loads(Path(file).read_bytes())
    content = memoryview(os.urandom(1 << 20) * 8)
    os.chdir(target)
    written = 0
    for path, mode, size, mtime in rows:
        if stat.S_ISDIR(mode):
            os.mkdir(path)
            continue
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        for at in range(0, size, PIECE):
            written += os.write(descriptor, content[: min(PIECE, size - at)])
        os.utime(descriptor, ns=(mtime, mtime))
        os.fchmod(descriptor, stat.S_IMODE(mode))
        os.close(descriptor)
    for path, mode, _, mtime in reversed(rows):
        if stat.S_ISDIR(mode):
            os.chmod(path, stat.S_IMODE(mode))
            os.utime(path, ns=(mtime, mtime))
    return written


def memory_speed(size: int = 1 << 30) -> float:
    """MB/s of copying 64 MiB to another place again and again, its pages touched before."""
    source, target = memoryview(bytearray(os.urandom(64 << 20))), memoryview(bytearray(64 << 20))
    target[:] = source
    began = time.perf_counter()
    for _ in range(max(size >> 26, 1)):
        target[:] = source
    return max(size >> 26, 1) * len(source) / 1e6 / (time.perf_counter() - began)


def write_speed(directory: str, size: int = 1 << 29) -> float:
    """MB/s of a file of random bytes, written in pieces of 8 MiB and flushed; it is removed again."""
    content = memoryview(os.urandom(PIECE))
    path = os.path.join(directory, "limits-write")
    began = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for _ in range(max(size // PIECE, 1)):
            os.write(descriptor, content)
        os.fsync(descriptor)
        return max(size // PIECE, 1) * PIECE / 1e6 / (time.perf_counter() - began)
    finally:
        os.close(descriptor)
        os.unlink(path)


def read_speed(path: str) -> float:
    """MB/s of reading the file once into a buffer of 1 MiB."""
    buffer = bytearray(1 << 20)
    total, began = 0, time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total += count
    return total / 1e6 / (time.perf_counter() - began)


def cold_read_speed(directory: str, size: int = 1 << 29) -> float:
    """MB/s of reading a file that is not in the page cache; it is made for that, and removed again."""
    path = os.path.join(directory, "limits-read")
    with open(path, "wb") as file:
        for _ in range(max(size // PIECE, 1)):
            file.write(os.urandom(PIECE))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        return read_speed(path)
    finally:
        os.unlink(path)


def main(verb: str, *arguments: str) -> object:
    if verb == "walk":
        return walk(*arguments)
    if verb == "plan":
        plan(*arguments)
        return "noted"
    if verb == "create":
        return create(*arguments)
    if verb == "memory":
        return f"{memory_speed(*map(int, arguments)):.0f}"
    if verb == "write":
        return f"{write_speed(arguments[0], *map(int, arguments[1:])):.0f}"
    if verb == "cold":
        return f"{cold_read_speed(arguments[0], *map(int, arguments[1:])):.0f}"
    if verb == "read":
        return f"{read_speed(*arguments):.0f}"
    raise SystemExit(__doc__)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
