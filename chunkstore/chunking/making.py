"""Parameters and a seed -> a chunker."""

from __future__ import annotations

from typing import Final

from chunkstore.chunking.fixed import FixedChunker
from chunkstore.chunking.parameters import ChunkerParameters
from chunkstore.chunking.protocol import Chunker
from chunkstore.errors import InvalidArgument

# pyfastcdc computes `seed << 1` in 64 bits and overflows above; 0 means its public gear table.
MAX_SEED: Final = 2**63 - 1


def make_chunker(parameters: ChunkerParameters, seed: int) -> Chunker:
    """The chunker of these parameters; `seed` is 1 to 2**63 - 1, and has no effect where `seeded` is false.

    InvalidArgument for another seed, or when the library of the algorithm is missing. The libraries are
    imported when they are chosen or first used: pyfastcdc takes 10 ms, and fastcdc is an optional extra.
    """
    if not 1 <= seed <= MAX_SEED:
        raise InvalidArgument("a chunker seed is a number from 1 to 2**63 - 1")
    match parameters.algorithm:
        case "fixed":
            return FixedChunker(parameters.avg_size)
        case "pyfastcdc":
            from chunkstore.chunking.pyfastcdc_chunker import PyFastCDCChunker

            return PyFastCDCChunker(parameters, seed)
        case "fastcdc":
            from chunkstore.chunking.fastcdc_chunker import FastCDCChunker

            return FastCDCChunker(parameters)
    raise InvalidArgument(f"unknown chunker {parameters.algorithm!r}")
