"""Which parts of a file hold data: the rest of a sparse file are holes, which read as zeros and take no space."""

from __future__ import annotations

import errno
import os

from chunkstore.format.extras import MAX_EXTENTS


def data_extents(descriptor: int, size: int) -> list[list[int]] | None:
    """[offset, length] of what an open file of `size` bytes has between its holes; None where it has no hole.

    At most `MAX_EXTENTS`: beyond, the smallest holes count as data. File systems that know no holes have none.
    """
    if not hasattr(os, "SEEK_DATA"):
        return None
    extents: list[list[int]] = []
    smallest = 1  # bytes: smaller holes are data
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            if start >= size:
                break
            end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        except OSError as e:
            if e.errno == errno.ENXIO:  # nothing but a hole from here on
                break
            return None
        _append(extents, start, end, smallest)
        while len(extents) >= 2 * MAX_EXTENTS:
            smallest *= 2
            extents = _merged(extents, smallest)
    while len(extents) > MAX_EXTENTS:
        smallest *= 2
        extents = _merged(extents, smallest)
    return None if extents == [[0, size]] else extents


def _append(extents: list[list[int]], start: int, end: int, smallest: int) -> None:
    if extents and start - sum(extents[-1]) < smallest:
        extents[-1][1] = end - extents[-1][0]
    else:
        extents.append([start, end - start])


def _merged(extents: list[list[int]], smallest: int) -> list[list[int]]:
    merged: list[list[int]] = []
    for start, length in extents:
        _append(merged, start, start + length, smallest)
    return merged
