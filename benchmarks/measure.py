"""Runs one command and measures it: wall time, processor time, memory, and what it left stored and sent.

Processor time is user and system time of the command and of every child it waited for (wait4). Memory is sampled every
50 ms from /proc over the command and its descendants: `memory` is the largest sum of their resident sizes (VmRSS; shared
pages count once per process), `largest` the highest high-water mark (VmHWM) of one of them. The kernel's own high-water
mark (ru_maxrss) counts where it is above ours, since a process inherits that of the one that started it.

`sent` is what was written into a directory between two looks at it: new files, files that are another one now or were
written over, and what was appended to others. A tool that writes and removes again within one command sends more.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.05
Look = dict[str, tuple[int, int, int]]
"""Of every file: inode, size, time of change."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one command took; seconds, bytes, and the exit code.

    `memory` is of the tree of processes, `largest` of the largest of them.
    """

    wall: float
    cpu: float
    memory: int
    exit_code: int
    largest: int = 0


def run(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Usage:
    """Runs `command`, its output appended to `log`, once the dirty pages of earlier steps are written out."""
    os.sync()
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(command)}\n".encode())
        output.flush()
        started = time.perf_counter()
        process = subprocess.Popen(command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        sampler = _MemorySampler(process.pid)
        try:
            _, status, rusage = os.wait4(process.pid, 0)
        except BaseException:  # whoever interrupts us does not always interrupt the child, too
            process.kill()
            process.wait()
            raise
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    memory, largest = sampler.stop()
    by_kernel = rusage.ru_maxrss * 1024
    if by_kernel > _resident(os.getpid())[1]:
        memory, largest = max(memory, by_kernel), max(largest, by_kernel)
    return Usage(wall, rusage.ru_utime + rusage.ru_stime, memory, process.returncode, largest)


def stored_bytes(directory: Path) -> int:
    """The sizes of all files under `directory` added up (not the blocks they take on disk)."""
    return sum(size for _, size, _ in look(directory).values())


def look(directory: Path) -> Look:
    """What is in the files under `directory` as far as their inodes tell."""
    found: Look = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def sent(before: Look, after: Look) -> tuple[int, int]:
    """(bytes, files) written between the two looks."""
    total = files = 0
    for path, now in after.items():
        was = before.get(path)
        if was == now:
            continue
        appended = was is not None and was[0] == now[0] and was[1] < now[1]
        total += now[1] - was[1] if appended and was else now[1]
        files += 1
    return total, files


def warm(tree: Path) -> int:
    """Reads every file once, so that all tools find the tree in the page cache; returns the bytes read."""
    total = 0
    buffer = bytearray(1 << 20)
    for folder, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                with open(path, "rb", buffering=0) as file:
                    while count := file.readinto(buffer):
                        total += count
    return total


def drop_caches() -> None:
    """Empties the page cache of the whole machine; needs root (PermissionError)."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


class _MemorySampler:
    """Watches a process and its descendants from a thread until `stop`."""

    def __init__(self, pid: int) -> None:
        self._family = {pid}
        self._strangers: set[int] = set()
        self._peak = 0
        self._largest = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[int, int]:
        """The peaks in bytes: of all together, of the largest."""
        self._done.set()
        self._thread.join()
        return self._peak, self._largest

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS if self._peak else 0.005):
            self._find_children()
            sizes = [_resident(pid) for pid in self._family]
            self._largest = max(self._largest, *(mark for _, mark in sizes))
            self._peak = max(self._peak, self._largest, sum(rss for rss, _ in sizes))

    def _find_children(self) -> None:
        """Takes in new processes whose parent is known; a process id is looked at once."""
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
            if pid not in self._family and pid not in self._strangers:
                related = _parent(pid) in self._family
                (self._family if related else self._strangers).add(pid)


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat.rpartition(b")")[2].split()[1])


def _resident(pid: int) -> tuple[int, int]:
    """Resident size now and its high-water mark, in bytes; zeros once the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return 0, 0
    fields = dict(line.split(b":", 1) for line in status.splitlines() if line.startswith(b"Vm"))
    rss, mark = (int(fields.get(key, b"0 kB").split()[0]) * 1024 for key in (b"VmRSS", b"VmHWM"))
    return rss, mark
