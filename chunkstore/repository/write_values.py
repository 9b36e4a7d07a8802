"""How a run writes, and what it has written."""

from __future__ import annotations

from dataclasses import dataclass

from chunkstore.compression import AUTO


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How chunks are encoded: zstd level (or `AUTO`, `OFF`), whether each frame is verified, worker threads (0: all inline).

    `renew_percent` of the bytes that are read, or `renew_floor` bytes, are stored again where only sparse frames have them.
    """

    level: int = AUTO
    verify: bool = True
    workers: int = 2
    packs_per_index_object: int = 32
    renew_percent: int = 5
    renew_floor: int = 64 << 20


@dataclass(slots=True)
class Written:
    """What a session has stored; sizes in bytes. Packs and their bytes count when they are stored."""

    chunks: int = 0
    raw: int = 0
    content_raw: int = 0
    content_stored: int = 0
    frames: int = 0
    packs: int = 0
    stored: int = 0
