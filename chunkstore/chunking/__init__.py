"""Content-defined chunking: where the pieces of a stream begin and end. Pure; one algorithm a file."""

from chunkstore.chunking.making import MAX_SEED, make_chunker
from chunkstore.chunking.parameters import ALGORITHMS, MAX_CHUNK, ChunkerParameters, parse_chunker
from chunkstore.chunking.protocol import Chunker
from chunkstore.chunking.streaming import read_chunks

__all__ = [
    "ALGORITHMS",
    "MAX_CHUNK",
    "MAX_SEED",
    "Chunker",
    "ChunkerParameters",
    "make_chunker",
    "parse_chunker",
    "read_chunks",
]
