"""Which snapshots are meant: `latest`, `latest~N` or the first digits of an id, among those that a filter leaves."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from chunkstore.errors import InvalidArgument, SnapshotNotFound
from chunkstore.format import names
from chunkstore.ids import SnapshotId, is_snapshot_id
from chunkstore.operations.catalog import Snapshot, current, read_record, snapshots
from chunkstore.progress import Progress
from chunkstore.repository.repository import Repository
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_time

T = TypeVar("T")

LATEST = "latest"
_LATEST = re.compile(r"latest(?:~([0-9]{1,9}))?")
_PREFIX = re.compile(r"[0-9a-f]{4,32}")
_SHOWN = 8
"""So many hosts, tags or roots stand in a message at most."""


@dataclass(frozen=True, slots=True)
class SnapshotFilter:
    """What snapshots must have to be meant; what is empty or None asks for nothing.

    One of `hosts`; all tags of one of `tags`; all of `roots` among their roots; a time (ns) of at most `not_after`.
    """

    hosts: tuple[str, ...] = ()
    tags: tuple[frozenset[str], ...] = ()
    roots: tuple[bytes, ...] = ()
    not_after: int | None = None

    def __bool__(self) -> bool:
        return bool(self.hosts or self.tags or self.roots or self.not_after is not None)

    def fits(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot is one of those that are meant."""
        record = snapshot.record
        return (
            (not self.hosts or record.host in self.hosts)
            and (not self.tags or any(wanted <= set(snapshot.tags) for wanted in self.tags))
            and set(self.roots) <= set(record.roots)
            and (self.not_after is None or record.time <= self.not_after)
        )


EVERYTHING = SnapshotFilter()


def is_snapshot_name(text: str) -> bool:
    """Whether `text` could name a snapshot."""
    return bool(_LATEST.fullmatch(text) or _PREFIX.fullmatch(text.lower()))


def matching(repository: Repository, wanted: SnapshotFilter, progress: Progress, workers: int = 0) -> list[Snapshot]:
    """The snapshots that fit, oldest first."""
    found = filter(wanted.fits, snapshots(repository, progress, workers))
    return sorted(found, key=lambda each: each.age_order)


def choose(
    repository: Repository, which: str, wanted: SnapshotFilter, progress: Progress, workers: int = 0
) -> Snapshot:
    """`latest`, `latest~N`, or the snapshot whose id starts with `which`.

    `SnapshotNotFound` says what there is instead; `InvalidArgument` where an id is to be narrowed by a filter.
    """
    if _LATEST.fullmatch(which):
        return pick([*snapshots(repository, progress, workers)], which, wanted)
    prefix = _prefix(which, wanted)
    listed = (info.name[len(names.SNAPSHOTS) :] for info in repository.storage.list(names.SNAPSHOTS + prefix))
    read = [read_record(repository, SnapshotId(each)) for each in listed if is_snapshot_id(each)]
    found = _only([each for each in read if each is not None], which)
    return current(repository, found, progress, workers)


def pick(among: Collection[Snapshot], which: str, wanted: SnapshotFilter) -> Snapshot:
    """The same, where all snapshots have been read already."""
    latest = _LATEST.fullmatch(which)
    if latest is None:
        prefix = _prefix(which, wanted)
        return _only([each for each in among if each.record.id.startswith(prefix)], which)
    whole = [each for each in among if not each.record.partial]
    newest_first = sorted(filter(wanted.fits, whole), key=lambda each: each.age_order, reverse=True)
    if not newest_first:
        raise SnapshotNotFound(_nothing_fits(among, whole, wanted))
    before = int(latest[1] or 0)
    if before >= len(newest_first):
        raise SnapshotNotFound(_too_far_back(which, len(newest_first)))
    return newest_first[before]


def all_that_fit(among: Collection[Snapshot], wanted: SnapshotFilter) -> list[Snapshot]:
    """Oldest first; `SnapshotNotFound` when there is none."""
    found = sorted(filter(wanted.fits, among), key=lambda each: each.age_order)
    if not found:
        raise SnapshotNotFound(_nothing_fits(among, among, wanted))
    return found


def _prefix(which: str, wanted: SnapshotFilter) -> str:
    prefix = which.lower()
    if not _PREFIX.fullmatch(prefix):
        raise SnapshotNotFound(
            f"{which!r} is no snapshot: give `latest`, `latest~1` (the one before it), or at least 4 digits of an id "
            "that `chunkstore snapshots` shows"
        )
    if wanted:
        raise InvalidArgument(
            f"{which!r} names one snapshot; time, host, tag and path choose among many: give `latest`"
        )
    return prefix


def _only(found: Sequence[T], which: str) -> T:
    if len(found) == 1:
        return found[0]
    if found:
        raise SnapshotNotFound(f"{which!r} fits {len(found)} snapshots; give more digits of the id")
    raise SnapshotNotFound(f"no snapshot has an id that starts with {which!r}; `chunkstore snapshots` lists them")


def _too_far_back(which: str, count: int) -> str:
    if count == 1:
        return f"there is no {which}: {LATEST} is the only snapshot to choose from"
    return (
        f"there is no {which}: of the {format_count(count)} snapshots to choose from {LATEST}~{count - 1} is the oldest"
    )


def _nothing_fits(among: Collection[Snapshot], whole: Collection[Snapshot], wanted: SnapshotFilter) -> str:
    """Why none of `whole`, those of `among` that are not partial, fits, with what could be asked for instead."""
    if not among:
        return "the repository has no snapshot yet. Make one with `chunkstore snapshot PATH`"
    partial = [each for each in among if each.record.partial and wanted.fits(each)]
    if partial:
        newest = max(partial, key=lambda each: each.age_order).record
        return (
            f"{'all snapshots' if not whole else 'all that fit'} are partial: runs that did not come to their end made them. "
            f"{LATEST} is never one of them; the newest is {newest.id[:_SHOWN]} of {format_time(newest.time)}: "
            "give that id to have what it has"
        )
    at_any_time = [each.record.time for each in whole if replace(wanted, not_after=None).fits(each)]
    if at_any_time:
        return f"no snapshot is as old as that: the oldest is of {format_time(min(at_any_time))}"
    lines = ["no snapshot fits. There are:"]
    if wanted.hosts:
        lines.append(f"  hosts: {_some({_shown(each.record.host) for each in whole})}")
    if wanted.tags:
        lines.append(f"  tags: {_some({_shown(tag) for each in whole for tag in each.tags})}")
    if wanted.roots:
        lines.append(f"  paths: {_some({display_path(root) for each in whole for root in each.record.roots})}")
    return "\n".join(lines)


def _some(of: Collection[str]) -> str:
    shown = sorted(of)[:_SHOWN]
    more = f" and {format_count(len(of) - _SHOWN)} more" if len(of) > _SHOWN else ""
    return ", ".join(shown) + more if shown else "none"


def _shown(text: str) -> str:
    return display_path(text.encode("utf-8", "surrogateescape"))
