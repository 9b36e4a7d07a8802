"""How to cut: an algorithm and its sizes, checked, and their text form `pyfastcdc:64K,256K,1M`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chunkstore.errors import InvalidArgument
from chunkstore.units import parse_size

KIB: Final = 1024
MIB: Final = 1024 * 1024

# Nothing that reads a repository has to hold a chunk above this in memory.
MAX_CHUNK: Final = 8 * MIB

CONTENT_DEFINED: Final = ("pyfastcdc", "fastcdc")
ALGORITHMS: Final = (*CONTENT_DEFINED, "fixed")

# What both libraries take: pyfastcdc 0.3.1 (cy/fastcdc.pyx) is the stricter one, fastcdc 1.7.0 only asserts.
_MIN_RANGE: Final = (64, 1 * MIB)
_AVG_RANGE: Final = (256, 4 * MIB)
_MAX_RANGE: Final = (1024, MAX_CHUNK)
_FIXED_RANGE: Final = (64, MAX_CHUNK)

_TEXT_HELP: Final = (
    "pyfastcdc, pyfastcdc:MIN,AVG,MAX, fastcdc, fastcdc:MIN,AVG,MAX, fixed or fixed:SIZE, "
    "for instance pyfastcdc:64K,256K,1M"
)


@dataclass(frozen=True, slots=True)
class ChunkerParameters:
    """An algorithm and its chunk sizes in bytes; `fixed` has one size, three times. InvalidArgument otherwise.

    `avg_size` is what FastCDC calls so: up to there a cut is made less likely, afterwards more. The chunks of
    random data come out near it (by default 321 KiB with pyfastcdc, 244 KiB with fastcdc).
    """

    algorithm: str = "pyfastcdc"
    min_size: int = 64 * KIB
    avg_size: int = 256 * KIB
    max_size: int = 1 * MIB

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """InvalidArgument unless the algorithm is known and takes these sizes."""
        if self.algorithm not in ALGORITHMS:
            raise InvalidArgument(f"unknown chunker {self.algorithm!r}; there are {', '.join(ALGORITHMS)}")
        if self.algorithm == "fixed":
            _check_size("size", self.avg_size, _FIXED_RANGE)
            if not self.min_size == self.avg_size == self.max_size:
                raise InvalidArgument("a fixed chunker has one size: min, avg and max must be the same")
            return
        _check_size("min", self.min_size, _MIN_RANGE)
        _check_size("avg", self.avg_size, _AVG_RANGE)
        _check_size("max", self.max_size, _MAX_RANGE)
        if not self.min_size <= self.avg_size <= self.max_size:
            raise InvalidArgument("chunk sizes must be in order: min <= avg <= max")
        # pyfastcdc looks at pairs of bytes from an even one on: with an odd minimum it may cut one byte early.
        if self.min_size % 2:
            raise InvalidArgument(f"the min chunk size must be even, not {self.min_size}")

    def __str__(self) -> str:
        """The text that `parse_chunker` reads back as the same parameters."""
        if self.algorithm == "fixed":
            return f"fixed:{_exact(self.avg_size)}"
        sizes = (self.min_size, self.avg_size, self.max_size)
        return f"{self.algorithm}:{','.join(map(_exact, sizes))}"


def parse_chunker(text: str) -> ChunkerParameters:
    """`pyfastcdc`, `fastcdc:64K,256K,1M`, `fixed:1M`; without sizes the defaults. InvalidArgument otherwise."""
    algorithm, colon, sizes_text = text.strip().partition(":")
    sizes = [parse_size(size) for size in sizes_text.split(",")] if colon else []
    match algorithm, sizes:
        case "fixed", []:
            return ChunkerParameters(algorithm, MIB, MIB, MIB)
        case "fixed", [size]:
            return ChunkerParameters(algorithm, size, size, size)
        case (("pyfastcdc" | "fastcdc"), []):
            return ChunkerParameters(algorithm)
        case (("pyfastcdc" | "fastcdc"), [min_size, avg_size, max_size]):
            return ChunkerParameters(algorithm, min_size, avg_size, max_size)
    raise InvalidArgument(f"not a chunker: {text[:80]!r}; give {_TEXT_HELP}")


def _check_size(what: str, size: int, accepted: tuple[int, int]) -> None:
    """InvalidArgument unless `size` is within the two bounds, both included. Records hand in any type."""
    lowest, highest = accepted
    if type(size) is not int or not lowest <= size <= highest:
        raise InvalidArgument(f"{what} chunk size {size!r} is not within {_exact(lowest)} to {_exact(highest)} bytes")


def _exact(size: int) -> str:
    """A size as `parse_size` reads it back, without any rounding: `1M`, `64K`, `1000`."""
    for suffix, unit in (("M", MIB), ("K", KIB)):
        if size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)
