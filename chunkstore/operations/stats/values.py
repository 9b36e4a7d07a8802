"""What `stats` says of a repository."""

from __future__ import annotations

from dataclasses import dataclass

from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.snapshot_groups import Group


@dataclass(frozen=True, slots=True)
class Amount:
    """Chunks, each counted once: how many, their raw bytes, and their share of the stored bytes of their frames.

    A frame is compressed as a whole, so that a chunk has no stored size of its own: it gets the share of the frame's
    stored bytes that it has of the raw ones. The shares of all chunks of a frame add up to the frame.
    """

    chunks: int = 0
    raw: int = 0
    stored: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.chunks + other.chunks, self.raw + other.raw, self.stored + other.stored)


@dataclass(frozen=True, slots=True)
class SnapshotShare:
    """A snapshot, and what it alone needs: what would not be needed any more if it were forgotten."""

    snapshot: Snapshot
    unique: Amount


@dataclass(frozen=True, slots=True)
class GroupShare:
    """A group of snapshots, and what nobody else needs: what would not be needed if all of them were forgotten."""

    group: Group
    unique: Amount


@dataclass(frozen=True, slots=True)
class Objects:
    """All stored objects of one kind, and their bytes."""

    kind: str
    count: int
    size: int


@dataclass(frozen=True, slots=True)
class PackBytes:
    """Where the bytes of the packs go; they add up to what a listing says. `unindexed` is part of `unused`.

    `in_use`: shares of the chunks that snapshots need. `holes`: of the others in the frames of these, which go only when
    the frame does. `unused`: frames and packs that nobody needs, what a prune could free now. `around`: headers, tables and
    padding of packs in use. `unindexed`: packs that no index names, of runs under way or broken off.
    """

    in_use: int
    holes: int
    unused: int
    around: int
    unindexed: int

    @property
    def total(self) -> int:
        return self.in_use + self.holes + self.unused + self.around


@dataclass(frozen=True, slots=True)
class Stats:
    """A repository in numbers; sizes in bytes. `size`: of all files in all snapshots, as their records say.

    `content`, `trees`: what snapshots need of files, and of manifests and references. `copies`: further places of these
    chunks. `selected`: what nobody but the snapshots that were asked about needs, None when these are all. With
    `problems` something could not be read, and all that is said of chunks may be wrong.
    """

    snapshots: int
    partial: int
    hosts: int
    files: int
    size: int
    content: Amount
    trees: Amount
    copies: int
    copies_raw: int
    packs: PackBytes
    objects: tuple[Objects, ...]
    groups: tuple[GroupShare, ...]
    shares: tuple[SnapshotShare, ...]
    selected: Amount | None
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether all could be read that the numbers rest on."""
        return not self.problems

    @property
    def stored(self) -> int:
        """Bytes of all objects."""
        return sum(each.size for each in self.objects)

    @property
    def deduplication(self) -> float:
        """Bytes of files in snapshots for each raw byte that is kept of them; 1.0 where there are none."""
        return self.size / max(self.content.raw, 1) if self.size else 1.0

    @property
    def compression(self) -> float:
        """Raw bytes of content for each stored one; 1.0 where there is none."""
        return self.content.raw / max(self.content.stored, 1) if self.content.raw else 1.0
