"""How much is appended to an object so that its size tells little.

First a random amount (below 4 KiB for objects under 1 MiB, else below 64 KiB), then up to the next multiple of 4 KiB,
or of 64 KiB when the result is above 1 MiB. Without it six pack ends give away the chunker's seed (IACR eprint 2025/532
and 2025/558).
"""

from __future__ import annotations

from chunkstore.ids import RandomBytes

_MIB = 1 << 20


def padding_size(size: int, random_bytes: RandomBytes) -> int:
    """Bytes to add to an object of `size` bytes."""
    step = 4096 if size < _MIB else 65536
    drawn = size + int.from_bytes(random_bytes(4), "big") % step
    if drawn > _MIB:
        step = 65536
    return -(-drawn // step) * step - size
