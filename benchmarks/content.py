"""Bytes for made-up files: source-like text, machine-code-like binaries, incompressible bytes; all from a seed.

Calibrated with zstd 3 on real trees, each file alone and in groups of 1 MiB: CPython's `.py` files shrink by
4.0 and 4.8, the C headers of Debian by 4.2 and 5.7, an npm tree by 3.0 and 4.5, shared libraries by 2.6 and
2.7. Text made here shrinks by 3.2 and 4.0, binaries by 2.1 and 2.4.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TypeVar

T = TypeVar("T")

WORDS = 3_000
PHRASES = 20_000
SNIPPETS = 60_000
POOL = 32 << 20

CONSONANTS = "bcdfghklmnprstv"
VOWELS = "aeiou"
SYLLABLES = [
    consonant + vowel
    for consonant in ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "pl", "ch"]
    for vowel in ["a", "e", "i", "o", "u", "er", "on", "in", "al"]
]
SHAPES = [
    "{} = {}(",
    "self.{}.{}",
    "return {}",
    "if {} is not None:\n        ",
    "({}, {})\n    ",
    "\n\n    def {}(self, {}):\n        ",
    "for {} in {}:\n        ",
    "# {} {} {}\n    ",
    '"{} {}"',
    " {} ",
    "import {}\n",
    ".{}({})\n    ",
    "[{}] = {}\n        ",
    '    """{} the {} of {}."""\n',
    "raise {}Error({})\n",
    " and {} == ",
    "{}_{}",
]


class Vocabulary:
    """What the files of one corpus are made of; every method is a function of the seed and its arguments.

    Text and binaries are slices of two pools. Each group of files (one project) sees the pools through its own
    substitution of letters or byte values: files of one group resemble each other as they do on real disks,
    files of two groups share nothing that a chunker could find.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = random.Random(f"vocabulary {seed}")
        self.words = ["".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3, 3)))) for _ in range(WORDS)]
        self._text = _drawn(rng, _phrases(rng, self.words), POOL)
        self._binary = _drawn(rng, _snippets(rng), POOL)
        self._letters = lru_cache(maxsize=8)(partial(_letters, seed))
        self._values = lru_cache(maxsize=8)(partial(_values, seed))

    def text(self, group: int, number: int, size: int) -> bytes:
        """`size` bytes (at most 32 MiB) of source-like text."""
        start = random.Random(f"text {self.seed} {number}").randrange(POOL - size + 1)
        return self._text[start : start + size].translate(self._letters(group))

    def binary(self, group: int, number: int, size: int) -> bytes:
        """`size` bytes (at most 32 MiB) that compress like machine code."""
        start = random.Random(f"binary {self.seed} {number}").randrange(POOL - size + 1)
        return self._binary[start : start + size].translate(self._values(group))

    def noise(self, number: int, size: int) -> bytes:
        """`size` bytes that do not compress, like pictures and archives."""
        return random.Random(f"noise {self.seed} {number}").randbytes(size)


def _letters(seed: int, group: int) -> bytes:
    """A translation table that puts consonants for consonants and vowels for vowels."""
    rng = random.Random(f"letters {seed} {group}")
    shuffled = "".join(rng.sample(CONSONANTS, len(CONSONANTS)) + rng.sample(VOWELS, len(VOWELS)))
    return bytes.maketrans((CONSONANTS + VOWELS).encode(), shuffled.encode())


def _values(seed: int, group: int) -> bytes:
    """A translation table that puts every byte value for another."""
    return bytes(random.Random(f"values {seed} {group}").sample(range(256), 256))


def variant(data: bytes, rng: random.Random) -> bytes:
    """A near-duplicate: a few places overwritten, and one insertion that moves everything after it."""
    changed = bytearray(data)
    for _ in range(1 + len(data) // 65_536):
        at = rng.randrange(len(changed) + 1)
        changed[at : at + 24] = rng.randbytes(24)
    at = rng.randrange(len(changed) + 1)
    changed[at:at] = rng.randbytes(rng.randrange(1, 100))
    return bytes(changed)


def _drawn(rng: random.Random, pool: Sequence[bytes], size: int) -> bytes:
    """Random members of the pool, joined and cut to `size` bytes."""
    parts, length = [], 0
    while length < size:
        piece = b"".join(rng.choices(pool, k=(size - length) // 12 + 1))
        parts.append(piece)
        length += len(piece)
    return b"".join(parts)[:size]


def _zipf(rng: random.Random, items: Sequence[T], count: int, exponent: float) -> list[T]:
    """Draws in which the k-th item is 1/k**exponent as likely as the first."""
    weights = list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(len(items))))
    return rng.choices(items, cum_weights=weights, k=count)


def _phrases(rng: random.Random, words: list[str]) -> list[bytes]:
    drawn = itertools.cycle(_zipf(rng, words, PHRASES * 2, 1.1))
    shapes = rng.choices(SHAPES, k=PHRASES)
    return [shape.format(*itertools.islice(drawn, shape.count("{}"))).encode() for shape in shapes]


def _snippets(rng: random.Random) -> list[bytes]:
    codes = [rng.randbytes(rng.choice((1, 2, 3, 3, 4, 5, 8))) for _ in range(1_500)]
    drawn = _zipf(rng, codes, SNIPPETS * 4, 1.1)
    return [b"".join(drawn[at : at + 4]) for at in range(0, len(drawn), 4)]
