"""--nice and --ionice: leave processor and disks to others."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from chunkstore.errors import InvalidArgument

P = ParamSpec("P")
R = TypeVar("R")

_CALLS = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "loongarch64": 30, "ppc64le": 273, "s390x": 282}
"""Number of the system call ioprio_set, for which no library has a function."""
_CLASSES = {"best-effort": 2 << 13 | 7, "idle": 3 << 13}
"""Class and level: the lowest of all that are served in turn; only while nobody else wants the disk."""
_PROCESS = 1


def priority_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add --nice and --ionice, which hold before the command begins; it does not see them."""

    @click.option("--nice", type=click.IntRange(1, 19), metavar="N", help="Lower the priority of the processor by N.")
    @click.option("--ionice", type=click.Choice([*_CLASSES]), help="Priority of reading and writing disks (Linux).")
    @wraps(function)
    def with_priority(*args: P.args, **given: P.kwargs) -> R:
        set_priority(given.pop("nice"), given.pop("ionice"))  # type: ignore[arg-type]
        return function(*args, **given)

    return with_priority


def set_priority(nice: int | None, ionice: str | None) -> None:
    """For this thread and those it starts. Raises `InvalidArgument` where the system has no such thing."""
    if nice is not None:
        if not hasattr(os, "nice"):
            raise InvalidArgument("--nice: this system knows no such priorities")
        os.nice(nice)
    if ionice is not None:
        number = _CALLS.get(platform.machine()) if sys.platform == "linux" and sys.maxsize > 1 << 32 else None
        if number is None:
            raise InvalidArgument("--ionice works on Linux only, on 64-bit processors that are known")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(ctypes.c_long(number), _PROCESS, 0, _CLASSES[ionice]):
            raise InvalidArgument(f"--ionice {ionice}: {os.strerror(ctypes.get_errno())}")
