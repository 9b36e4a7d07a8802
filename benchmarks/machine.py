"""Facts about the machine a benchmark ran on, to be printed with its figures."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def facts(directory: Path) -> dict[str, str]:
    """Processor, cores, memory, file system of `directory`, kernel, Python, and the load when asked."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "file system": _file_system(directory),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load average": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system(directory: Path) -> str:
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "?"
