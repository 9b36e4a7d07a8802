"""What a prune is told, what it finds, and what it has done. Sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from chunkstore.ids import SnapshotId

HOUR_NS = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """How much a prune does, and how long it waits.

    `max_unused`: the share of what is in use that may stay stored in vain before packs are repacked; `max_unused_size`, where it
    is given, says that in bytes instead. `max_repack`: at most so
    many bytes are copied; None: all that is worth it. `stale_after_ns`: a session that gave no sign of life for so long is
    fenced: its writer, if it lives, goes on under a new id. `patience_ns`: how long to wait for sessions that are alive; None:
    as long as it takes. `delete`: False only compacts the index, for repositories where nothing may be deleted.
    """

    max_unused: float = 0.05
    max_unused_size: int | None = None
    max_repack: int | None = None
    stale_after_ns: int = HOUR_NS
    patience_ns: int | None = None
    delete: bool = True


@dataclass(frozen=True, slots=True)
class LivingSession:
    """A run that is under way. `quiet_ns`: since its last sign of life. None: not known, as its object can not be read."""

    id: SnapshotId
    host: str | None
    started: int | None
    quiet_ns: int | None


@dataclass(frozen=True, slots=True)
class Share:
    """Some packs, and their bytes."""

    packs: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at the repository says, before anything is done.

    `used`, `unused`: stored bytes of frames that hold something in use, or nothing. `repack_used`: of these, what repacking
    has to copy. `copies`: chunks in use that are stored once more than needed, as when two machines store the same at once.
    `open_plan`: the number of a prune that is not finished, None where there is none.
    """

    snapshots: int
    stored: Share
    used: int
    unused: int
    copies: int
    dead: Share
    repack: Share
    repack_used: int
    orphans: Share
    index_objects: int
    open_plan: int | None
    sessions: tuple[LivingSession, ...] = ()

    @property
    def reclaimable(self) -> int:
        """Bytes that a prune would free now."""
        return self.dead.size + self.orphans.size + max(self.repack.size - self.repack_used, 0)


@dataclass(slots=True)
class PruneResult:
    """What one prune did. `waiting`: sessions that are alive and were not waited for; then the plan stays open."""

    number: int | None = None
    deleted: Share = Share()
    written: Share = Share()
    spared: int = 0
    fenced: int = 0
    index_objects_deleted: int = 0
    locked: list[tuple[str, float]] = field(default_factory=list)
    waiting: tuple[LivingSession, ...] = ()
    damaged: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether nothing is left open."""
        return not self.waiting
