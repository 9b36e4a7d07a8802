"""What is copied, how, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from chunkstore.format.records import Original, SnapshotRecord
from chunkstore.ids import RepositoryId, SnapshotId
from chunkstore.operations.catalog import Snapshot
from chunkstore.repository.chunk_writer import WriteOptions
from chunkstore.repository.session import Signing


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How chunks are encoded, and what signs the copies; a signature of the source is over its ids and does not fit."""

    write: WriteOptions = field(default_factory=WriteOptions)
    sign: Signing | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """A snapshot of the source, and its copy where the destination has one already."""

    snapshot: Snapshot
    copy: Snapshot | None


class Fate(Enum):
    """What became of a snapshot of the source."""

    COPIED = "copied"
    THERE = "there"
    DAMAGED = "damaged"
    MISSING = "missing"
    """It is not there, and was not to be copied now."""


@dataclass(frozen=True, slots=True)
class CopyOutcome:
    """`copy` is its id in the destination, None where it was not copied, and `problem` says then why.

    Bytes that were read from packs of the source, and that went to the destination.
    """

    snapshot: Snapshot
    fate: Fate
    copy: SnapshotId | None
    read: int = 0
    stored: int = 0
    problem: str = ""


def origin(repository_id: RepositoryId, record: SnapshotRecord) -> Original:
    """What a snapshot of this repository first was: itself, unless it is a copy."""
    return record.original or Original(repository_id, record.id)
