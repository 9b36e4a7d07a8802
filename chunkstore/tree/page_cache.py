"""What reading a large file does to the system's page cache: nothing that others would notice.

A file of which nothing was cached is forgotten again as it is read: else a backup would drive out what the machine
works with. One that is in use, and so is cached in part at least, is left as it is. Where a system can not say, nothing
is forgotten.
"""

from __future__ import annotations

import os
from contextlib import suppress

LARGE = 8 << 20
"""Bytes: smaller files are not worth the calls."""
_SPOTS = 8


def is_cold(descriptor: int, size: int) -> bool:
    """Whether none of some spots of an open file of `size` bytes is cached.

    Waits for nothing. The question may make the system read what it was asked about: a second one may be answered
    otherwise.
    """
    if not hasattr(os, "RWF_NOWAIT") or size < _SPOTS:
        return False
    for spot in range(_SPOTS):
        try:
            os.preadv(descriptor, [bytearray(1)], spot * (size - 1) // (_SPOTS - 1), os.RWF_NOWAIT)
        except BlockingIOError:
            continue
        except OSError:
            return False  # a file system that can not tell
        return False
    return True


def read_ahead(descriptor: int) -> None:
    """Tell the system that an open file is read from its start to its end."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)


def forget(descriptor: int, end: int) -> None:
    """Drop the pages before `end` from the cache, or all for 0; what is not written to the disk yet stays.

    From the start each time: pages come in groups, and one that reaches beyond `end` is dropped by a later call only.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, end, os.POSIX_FADV_DONTNEED)
