"""Names of things, as types.

Ids on hot paths are `NewType`s: the type checker tells them apart, at run time they are plain bytes or text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NewType

ChunkId = NewType("ChunkId", bytes)
"""32 bytes: keyed BLAKE3 of the plaintext of a chunk, under the key of its kind."""

PackId = NewType("PackId", bytes)
"""32 bytes: SHA-256 of all bytes of the pack."""

SnapshotId = NewType("SnapshotId", str)
"""32 hex digits: 128 random bits, drawn when the session starts."""

RepositoryId = NewType("RepositoryId", bytes)
"""32 bytes, derived from the id secret and the first reading public key."""

ID_SIZE = 32

RandomBytes = Callable[[int], bytes]
"""A source of cryptographically secure random bytes; passed in, as clocks are."""


def new_snapshot_id(random_bytes: RandomBytes) -> SnapshotId:
    """A fresh id that nobody else has drawn."""
    return SnapshotId(random_bytes(16).hex())


def is_snapshot_id(text: str) -> bool:
    """Whether `text` is the full form of a snapshot id."""
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def fingerprint_text(repository_id: RepositoryId) -> str:
    """The repository fingerprint as people compare it: 64 hex digits in eight groups."""
    digits = repository_id.hex()
    return " ".join(digits[i : i + 8] for i in range(0, 64, 8))
