"""What a check is told, and what it counts. Sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from chunkstore.operations.check.findings import Kind


@dataclass(frozen=True, slots=True)
class Everything:
    """All packs."""


@dataclass(frozen=True, slots=True)
class Part:
    """Every pack is in one of `parts` parts, always in the same one; this is number `number`, from 1."""

    number: int
    parts: int


@dataclass(frozen=True, slots=True)
class Percent:
    """So many of a hundred packs, drawn anew each time."""

    percent: float


@dataclass(frozen=True, slots=True)
class Amount:
    """Packs of about this many bytes together, drawn anew each time."""

    size: int


Subset: TypeAlias = Everything | Part | Percent | Amount
"""Which packs are read."""


@dataclass(slots=True)
class Share:
    """Some objects, and their bytes."""

    count: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        self.count += 1
        self.size += size


@dataclass(slots=True)
class Checked:
    """What was looked at. `objects`: by their kind, as they were listed at the beginning; foreign ones as `OTHER`.

    `chunks`: what snapshots need, each once, `raw` the bytes of those that are there; `copies`: further places of these; `unused`: chunks in the
    index that no snapshot needs; `orphans`: packs that no index names. `read`: packs read in whole, of `packs`; `opened`:
    chunks that were opened and compared with their ids. `hit`: snapshots that damage hits.
    """

    objects: dict[Kind, Share] = field(default_factory=dict)
    snapshots: int = 0
    chunks: int = 0
    raw: int = 0
    copies: Share = field(default_factory=Share)
    unused: int = 0
    packs: Share = field(default_factory=Share)
    orphans: Share = field(default_factory=Share)
    read: Share = field(default_factory=Share)
    opened: int = 0
    hit: int = 0
    damaged: int = 0
    notes: int = 0
    foreign: int = 0
