"""Which packs a check reads: all, one of n fixed parts, or a random sample."""

from __future__ import annotations

import contextlib
import hashlib
import re
from array import array
from collections.abc import Callable, Iterable
from typing import Final

from chunkstore.errors import InvalidArgument
from chunkstore.ids import PackId, RandomBytes
from chunkstore.operations.check.values import Amount, Everything, Part, Percent, Subset
from chunkstore.operations.pack_listing import ListedPack
from chunkstore.units import parse_size

_PART: Final = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_HELP: Final = "a share (5%), one of n parts (1/7), or an amount (10G)"
_BINS: Final = 1 << 16
"""A sample is drawn to one part in so many."""


def parse_subset(text: str) -> Subset:
    """What `5%`, `1/7` or `10G` means; else InvalidArgument."""
    stripped = text.strip()
    if match := _PART.fullmatch(stripped):
        number, parts = map(int, match.groups())
        if 1 <= number <= parts:
            return Part(number, parts)
    elif match := _PERCENT.fullmatch(stripped):
        if 0 < float(match[1]) <= 100:
            return Percent(float(match[1]))
    else:
        with contextlib.suppress(InvalidArgument):
            if size := parse_size(stripped):
                return Amount(size)
    raise InvalidArgument(f"not a part of the packs: {text[:40]!r}; give {_HELP}")


def chooser(subset: Subset, packs: Iterable[ListedPack], random_bytes: RandomBytes) -> Callable[[PackId], bool]:
    """Whether a pack is to be read. A sample of `packs` has at least one of them, and at least as much as is asked for."""
    if isinstance(subset, Everything):
        return lambda pack_id: True
    if isinstance(subset, Part):
        number, parts = subset.number, subset.parts
        return lambda pack_id: int.from_bytes(pack_id[:8], "big") % parts == number - 1
    salt = random_bytes(16)
    counts = array("Q", bytes(8 * _BINS))
    for pack in packs:
        counts[_bin(salt, pack.pack_id)] += pack.size if isinstance(subset, Amount) else 1
    wanted = subset.size if isinstance(subset, Amount) else sum(counts) * subset.percent / 100
    end = _end(counts, wanted)
    return lambda pack_id: _bin(salt, pack_id) < end


def _bin(salt: bytes, pack_id: PackId) -> int:
    return int.from_bytes(hashlib.blake2b(pack_id, digest_size=2, key=salt).digest(), "big")


def _end(counts: array[int], wanted: float) -> int:
    """The first bin after those that together hold what is wanted."""
    held = 0
    for number, count in enumerate(counts):
        if held >= wanted:
            return number
        held += count
    return _BINS
