"""Runs one command and measures it: wall time, processor time, peak memory, and the bytes it left stored.

Processor time is user and system time of the command and of every child it waited for (wait4). Peak memory is
the largest sum of resident sizes (VmRSS) over the command and its descendants, sampled every 50 ms from /proc,
and never less than the largest high-water mark (VmHWM) of one of them; shared pages count once per process.
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


@dataclass(frozen=True, slots=True)
class Usage:
    """What one command took; seconds, bytes, and the exit code."""

    wall: float
    cpu: float
    memory: int
    exit_code: int


def run(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Usage:
    """Runs `command`, its output appended to `log`, once the dirty pages of earlier steps are written out."""
    os.sync()
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(command)}\n".encode())
        output.flush()
        started = time.perf_counter()
        process = subprocess.Popen(command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        sampler = _MemorySampler(process.pid)
        _, status, rusage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(wall, rusage.ru_utime + rusage.ru_stime, sampler.stop(), process.returncode)


def stored_bytes(directory: Path) -> int:
    """The sizes of all files under `directory` added up (not the blocks they take on disk)."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(directory) for name in names
    )


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


class _MemorySampler:
    """Watches a process and its descendants from a thread until `stop`."""

    def __init__(self, pid: int) -> None:
        self._family = {pid}
        self._strangers: set[int] = set()
        self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The peak in bytes."""
        self._done.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS if self._peak else 0.005):
            self._find_children()
            sizes = [_resident(pid) for pid in self._family]
            now, highest = sum(rss for rss, _ in sizes), max(mark for _, mark in sizes)
            self._peak = max(self._peak, now, highest)

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
    return tuple(int(fields.get(key, b"0 kB").split()[0]) * 1024 for key in (b"VmRSS", b"VmHWM"))
