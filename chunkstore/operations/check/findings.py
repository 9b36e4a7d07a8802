"""What a check says: findings, each about one object, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chunkstore.errors import Damaged, ObjectMissing, UnsupportedFormat
from chunkstore.ids import SnapshotId


class Severity(StrEnum):
    """`DAMAGE`: something is not as it was stored, or missing. `NOTE`: good to know. `FOREIGN`: no object of ours."""

    DAMAGE = "damage"
    NOTE = "note"
    FOREIGN = "foreign"


class Kind(StrEnum):
    """What a finding is about. All but `CHUNK`, `CHAIN` and `OTHER` are kinds of stored objects."""

    CONFIG = "config"
    RECIPIENTS = "recipients"
    KEY = "key"
    PACK = "pack"
    RUN = "run index"
    SEGMENT = "index segment"
    GENERATION = "generation"
    SNAPSHOT = "snapshot"
    AMENDMENT = "amendment"
    SESSION = "session"
    PLAN = "plan"
    PLAN_DONE = "plan done"
    CHUNK = "chunk"
    CHAIN = "chain"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    `object`: its name in the storage; empty where it is about no single one. `snapshots`: those that it hits. `files`: the
    paths that it hits, as far as somebody could look; `more_files`: so many more than those. `remedy`: what to do.
    """

    severity: Severity
    kind: Kind
    object: str
    message: str
    remedy: str = ""
    snapshots: tuple[SnapshotId, ...] = ()
    files: tuple[bytes, ...] = ()
    more_files: int = 0


Report = Callable[[Finding], None]
"""Is told each finding, once it is certain."""

_FROM_COPY: Final = "bring it back from a copy of the repository if there is one"
_EXCLUDE: Final = "; else `chunkstore repair exclude {name}` gives it up"
_INDEX: Final = "; else `chunkstore repair index` makes a new index from the packs"
_PACK: Final = (
    f"{_FROM_COPY}; else run `chunkstore repair index --read-data`, so that the next snapshots store again what is still "
    "there, and forget the snapshots that it hits"
)
REMEDIES: Final = {
    Kind.CONFIG: _FROM_COPY,
    Kind.RECIPIENTS: _FROM_COPY,
    Kind.KEY: f"{_FROM_COPY}; the same message stands in every pack, and this machine keeps one",
    Kind.PACK: _PACK,
    Kind.RUN: _FROM_COPY + _INDEX,
    Kind.SEGMENT: _FROM_COPY + _INDEX,
    Kind.GENERATION: _FROM_COPY + _INDEX,
    Kind.SNAPSHOT: _FROM_COPY + _EXCLUDE,
    Kind.AMENDMENT: _FROM_COPY + _EXCLUDE,
    Kind.SESSION: "a run that lives puts it again; else the next prune that has something to do ends it when it is old enough",
    Kind.PLAN: "`chunkstore repair exclude {name}` gives it up; until then snapshots store everything again",
    Kind.PLAN_DONE: "`chunkstore repair exclude {name}` gives it up; until then its plan counts as open",
    Kind.CHUNK: "run `chunkstore repair index` in case index objects were lost; else make new snapshots, which store again "
    "what is still there, and forget those that it hits if they stay damaged",
}
"""By the kind of what is damaged; `{name}` stands for the object."""


def damage(kind: Kind, name: str, message: str, snapshots: tuple[SnapshotId, ...] = ()) -> Finding:
    """Damage, with what to do about it."""
    return Finding(Severity.DAMAGE, kind, name, message, REMEDIES.get(kind, "").format(name=name), snapshots)


def note(kind: Kind, name: str, message: str, remedy: str = "") -> Finding:
    """Something that is no damage."""
    return Finding(Severity.NOTE, kind, name, message, remedy)


def reason(error: Damaged | UnsupportedFormat | ObjectMissing) -> str:
    """Why an object can not be read, without its name."""
    if isinstance(error, ObjectMissing):
        return "the storage lists it and does not have it"
    return error.reason if isinstance(error, Damaged) else str(error)
