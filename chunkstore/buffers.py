"""Buffers that are used again once nobody looks into them any more.

Who allocates a block of a MiB for each frame has the system clear its pages each time: that took longer than the copying.
"""

from __future__ import annotations

import threading


class Buffers:
    """Buffers of one size; any thread may take one. At most `most` are kept, what is taken beyond is made for once."""

    def __init__(self, size: int, most: int) -> None:
        """`size` in bytes."""
        self._size = size
        self._most = most
        self._kept: list[bytearray] = []
        self._lock = threading.Lock()

    def take(self) -> memoryview:
        """A view of a whole buffer with anything in it. It is nobody else's until this view, and all that were made of
        it, are gone.
        """
        with self._lock:
            for buffer in self._kept:
                if _is_free(buffer):
                    return memoryview(buffer)
            buffer = bytearray(self._size)
            if len(self._kept) < self._most:
                self._kept.append(buffer)
            return memoryview(buffer)


def _is_free(buffer: bytearray) -> bool:
    """Whether there is no view of it: only then its size can be changed."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True
