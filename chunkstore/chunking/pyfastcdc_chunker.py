"""FastCDC 2020 by pyfastcdc: seeded, releases the GIL, the default.

Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems",
IEEE TPDS 2020: a gear hash over the last 64 bytes, two bytes a step, normalized chunking of level 1, the first
`min_size` bytes skipped. pyfastcdc gives the same cuts as the Rust crate fastcdc (v2020).

The seed is XORed into every entry of the gear table. The masks reach up to bit 47, and the low bits of a sum
do not depend on the high bits of its addends: only the low 48 bits of the seed matter (41 for an average of
256 bytes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chunkstore.chunking.parameters import ChunkerParameters

if TYPE_CHECKING:
    from pyfastcdc import FastCDC


class PyFastCDCChunker:
    """Cuts with pyfastcdc, by a gear table of its own for each seed (1 to 2**63 - 1).

    pyfastcdc calls its objects not concurrent-proof. What is shared here is only read: `cut_buf` of 0.3.1 keeps
    all its state in the iterator it returns. Making an object each time would cost 20 us for each small file.

    It is imported when something is cut for the first time: that takes 10 ms, and most runs read small files only.
    """

    __slots__ = ("_fastcdc", "_max_size", "_min_size", "_parameters", "_seed")

    def __init__(self, parameters: ChunkerParameters, seed: int) -> None:
        self._min_size = parameters.min_size
        self._max_size = parameters.max_size
        self._parameters = parameters
        self._seed = seed
        self._fastcdc: FastCDC | None = None

    @property
    def min_size(self) -> int:
        return self._min_size

    @property
    def max_size(self) -> int:
        return self._max_size

    @property
    def seeded(self) -> bool:
        return True

    def cut(self, data: memoryview, final: bool) -> list[int]:
        """See `Chunker.cut`."""
        length = len(data)
        if final and length <= self._min_size:
            return [length] if length else []
        last_start = length - (1 if final else self._max_size)
        ends: list[int] = []
        end = 0
        chunks = (self._fastcdc or self._make()).cut_buf(data)
        while end <= last_start:
            end += next(chunks).length
            ends.append(end)
        return ends

    def _make(self) -> FastCDC:
        from pyfastcdc import FastCDC

        sizes = self._parameters
        self._fastcdc = made = FastCDC(
            sizes.avg_size, min_size=sizes.min_size, max_size=sizes.max_size, seed=self._seed
        )
        return made
