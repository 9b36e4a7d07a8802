"""What a study of deduplication is asked, and what it finds. Sizes in bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chunkstore.chunking import ALGORITHMS, MAX_CHUNK, ChunkerParameters
from chunkstore.compression import DEFAULT_LEVEL
from chunkstore.errors import InvalidArgument
from chunkstore.tree.choosing import Choosing

KIB = 1024
SIZES = tuple(16 * KIB << power for power in range(9))
"""16 KiB to 4 MiB."""
SAMPLE = 128 * KIB * KIB


def parameters_for(algorithm: str, average: int) -> ChunkerParameters:
    """The chunker of this average: chunks from a quarter of it to four times as much, as the default has them.

    No chunk is above `MAX_CHUNK`. `InvalidArgument` where the algorithm does not take the size.
    """
    if algorithm == "fixed":
        return ChunkerParameters(algorithm, average, average, average)
    smallest = min(max(average // 8 * 2, 64), KIB * KIB)
    return ChunkerParameters(algorithm, smallest, average, max(min(average * 4, MAX_CHUNK), 1024))


def chunkers_for(algorithms: tuple[str, ...], sizes: tuple[int, ...]) -> tuple[ChunkerParameters, ...]:
    """Every algorithm with every size, each once. `InvalidArgument` for one that makes no sense, or for none."""
    unknown = [each for each in algorithms if each not in ALGORITHMS]
    if unknown:
        raise InvalidArgument(f"unknown chunker {unknown[0][:40]!r}; there are {', '.join(ALGORITHMS)}")
    if not algorithms or not sizes:
        raise InvalidArgument("a study needs an algorithm and a size at least")
    return tuple(dict.fromkeys(parameters_for(algorithm, size) for algorithm in algorithms for size in sizes))


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """How to study. `sample`: bytes of new data for each chunker that are compressed, 0 for all of it. `top`: so many
    duplicates are named.

    `cpu_clock` tells the processor time of the thread that calls it, in nanoseconds.
    """

    chunkers: tuple[ChunkerParameters, ...]
    cpu_clock: Callable[[], int]
    choosing: Choosing = field(default_factory=Choosing)
    level: int = DEFAULT_LEVEL
    sample: int = SAMPLE
    top: int = 10
    estimate: bool = False
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Counted:
    """Chunks and their bytes: all, those that are new, and where the others were found before.

    `copied`: in a file that is the same as an earlier one from its first byte to its last. `within`: earlier in the
    same file. `across`: in another file. `total` = `unique` + `copied` + `within` + `across`.
    """

    chunks: int
    total: int
    unique_chunks: int
    unique: int
    copied: int
    within: int
    across: int

    @property
    def wasted(self) -> int:
        """What is there more than once, without its first time."""
        return self.copied + self.within + self.across

    @property
    def deduplication(self) -> float:
        """How many times smaller deduplication makes it; 1.0 where there is nothing."""
        return self.total / self.unique if self.unique else 1.0


@dataclass(frozen=True, slots=True)
class Sampled:
    """Frames of new chunks: how many there are, and what compression made of those that were tried.

    `compressed` is of payloads alone: no encryption, no packs.
    """

    frames: int = 0
    tried: int = 0
    raw: int = 0
    compressed: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one chunker makes of the files.

    `compressed`, `index` and `stored` are expected for a repository: new data compressed; the bodies of index objects;
    all but the manifest entries, with encryption, tables, padding and the list of ids. `cpu_ns`: cutting and hashing.
    """

    chunker: ChunkerParameters
    counted: Counted
    sampled: Sampled
    compressed: int
    index: int
    stored: int
    cpu_ns: int

    @property
    def compression(self) -> float:
        return self.counted.unique / self.compressed if self.compressed else 1.0

    @property
    def rate(self) -> float:
        """Bytes that one core cuts and hashes in a second; 0.0 where that was too quick to tell."""
        return self.counted.total / self.cpu_ns * 1e9 if self.cpu_ns else 0.0


@dataclass(frozen=True, slots=True)
class SameFiles:
    """Files with the same content: `count` of them, each of `size` bytes, some of which are named."""

    size: int
    count: int
    paths: tuple[bytes, ...]

    @property
    def wasted(self) -> int:
        return self.size * (self.count - 1)


@dataclass(frozen=True, slots=True)
class SameChunks:
    """A chunk that is there `count` times in `files` files that are no copies; some places are (path, offset).

    The offset counts data: holes of a sparse file are none. `zeros`: nothing but zero bytes.
    """

    size: int
    count: int
    files: int
    zeros: bool
    places: tuple[tuple[bytes, int], ...]

    @property
    def wasted(self) -> int:
        return self.size * (self.count - 1)


@dataclass(slots=True)
class Study:
    """All of it. `copies`: files that are the same as an earlier one. `links`: further names of files, not counted.

    `reference` is the chunker that `same_chunks` is about.
    """

    paths: tuple[bytes, ...]
    files: int
    links: int
    total: int
    copies: int
    copied: int
    measurements: tuple[Measurement, ...]
    same_files: tuple[SameFiles, ...]
    same_chunks: tuple[SameChunks, ...]
    reference: ChunkerParameters
    left_out: int
    problems: tuple[str, ...]
