"""What a restore is asked for, what it tells meanwhile, and what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from chunkstore.tree.patterns import Rule


class Action(Enum):
    """What becomes of one path."""

    CREATE = "create"
    """It is written, in the place of something else too."""
    UPDATE = "update"
    """The parts of an existing file that differ are written."""
    ATTRIBUTES = "attributes"
    """Its content is as it was; mode, owner, times and the like are set."""
    UNCHANGED = "unchanged"
    KEEP = "keep"
    """What is there stays though it is another one."""
    SKIP = "skip"
    """A socket: it is made by whoever listens."""
    DELETE = "delete"
    """The snapshot does not have it."""


class Step(NamedTuple):
    """One path below the target, and what became of it. `fetched`: bytes of content that came from the repository."""

    action: Action
    relative: bytes
    fetched: int = 0


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """`rules` choose paths, as `selection.Taking` says. With `delete` what the snapshot does not have is removed.

    `spared`: paths below the target, with all that is in them, that stay nevertheless. With `verify` all that was
    written is read again. `scratch` is for temporary files. `told` hears of each path.
    """

    rules: Sequence[Rule] = ()
    delete: bool = False
    spared: Sequence[bytes] = ()
    verify: bool = False
    scratch: str | None = None
    told: Callable[[Step], None] | None = None


EVERYTHING = RestoreOptions()


@dataclass(slots=True)
class Restored:
    """What a restore did, or would do. `fetched`: bytes read from packs; `bytes`: written to files.

    `not_set`: for how many entries an attribute could not be set, by attribute. `verified`: files that were read again.
    """

    files: int = 0
    updated: int = 0
    unchanged: int = 0
    kept: int = 0
    directories: int = 0
    links: int = 0
    hard_links: int = 0
    specials: int = 0
    skipped: int = 0
    deleted: int = 0
    verified: int = 0
    bytes: int = 0
    fetched: int = 0
    problems: list[str] = field(default_factory=list)
    not_set: Counter[str] = field(default_factory=Counter)
