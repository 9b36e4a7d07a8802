"""What a snapshot is asked to be, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from chunkstore.format.records import SignedRecord
from chunkstore.operations.statistics import Statistics
from chunkstore.repository.chunk_writer import WriteOptions
from chunkstore.repository.session import Signing
from chunkstore.tree.choosing import Choosing

CHECKPOINT_EVERY = 30 * 60 * 10**9
"""Half an hour: what is lost with a run that breaks off is read again, not stored again."""


@dataclass(frozen=True, slots=True)
class SnapshotOptions:
    """What is said about the snapshot, how it is written, and what is chosen for it."""

    tags: tuple[str, ...] = ()
    description: str = ""
    write: WriteOptions = field(default_factory=WriteOptions)
    choosing: Choosing = field(default_factory=Choosing)
    sign: Signing | None = None
    force: bool = False
    """Read every file, whatever its times say."""
    atime: bool = False
    """Record access times."""
    read_special: bool = False
    """Store the content of block devices and pipes; a root may be a link to one."""
    checkpoint_every: int = CHECKPOINT_EVERY
    """Nanoseconds after which a run commits what it has so far as a partial snapshot; 0: never."""
    estimate: bool = False
    """Tell the progress how much there is in all: what the last snapshot had, else by walking ahead in a thread."""


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """The record as it was committed, what was counted, and the sources that could not be read."""

    signed: SignedRecord
    statistics: Statistics
    problems: tuple[str, ...]
