"""The snapshots of a repository as they count now: records with what was said about them later.

A record is never replaced. Amendments are objects of their own, and count in the order of (time, object name): each takes
tags away, then adds tags, then sets what else it names. What is not authentic is reported once and left out; an amendment
of a snapshot that is not there means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from chunkstore.errors import ChunkstoreError, Damaged, ObjectMissing, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import Amendment, SignedRecord, SnapshotRecord, decode_amendment, decode_record
from chunkstore.ids import SnapshotId, is_snapshot_id
from chunkstore.parallel import ordered_map
from chunkstore.progress import Progress
from chunkstore.repository.repository import Repository
from chunkstore.storage import ObjectInfo

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as it counts now. `amended_at` is the time (ns) of its newest amendment, None where it has none."""

    signed: SignedRecord
    tags: tuple[str, ...]
    description: str
    pinned: bool = False
    amended_at: int | None = None

    @property
    def record(self) -> SnapshotRecord:
        """As it was committed."""
        return self.signed.record

    @property
    def age_order(self) -> tuple[int, int, SnapshotId]:
        """Sorts the oldest first; of equal times, as those of one run are, what ended first, then the smaller id."""
        return self.record.time, self.record.end, self.record.id


def as_committed(signed: SignedRecord) -> Snapshot:
    """A snapshot about which nothing was said later."""
    return Snapshot(signed, tuple(dict.fromkeys(signed.record.tags)), signed.record.description)


def amended(snapshot: Snapshot, amendment: Amendment) -> Snapshot:
    """The snapshot with one more amendment."""
    kept = [tag for tag in snapshot.tags if tag not in amendment.remove_tags]
    return replace(
        snapshot,
        tags=tuple(dict.fromkeys([*kept, *amendment.add_tags])),
        description=snapshot.description if amendment.description is None else amendment.description,
        pinned=snapshot.pinned if amendment.pinned is None else amendment.pinned,
        amended_at=amendment.time,
    )


def snapshots(
    repository: Repository, progress: Progress, workers: int = 0, unreadable: list[str] | None = None
) -> Iterator[Snapshot]:
    """All snapshots, in no particular order. `unreadable` gets the names of the records that are left out."""
    said = _amendments(repository, progress, workers)
    for _, signed in listed_records(repository, progress, workers, unreadable):
        if signed is not None:
            yield with_amendments(signed, said.get(signed.record.id, []))


def current(repository: Repository, signed: SignedRecord, progress: Progress, workers: int = 0) -> Snapshot:
    """One snapshot whose record was read already."""
    return with_amendments(signed, _amendments(repository, progress, workers).get(signed.record.id, []))


def records(repository: Repository, progress: Progress, workers: int = 0) -> Iterator[SignedRecord]:
    """All records as they were committed, in no particular order; what is not authentic is reported and left out."""
    for _, found in listed_records(repository, progress, workers):
        if found is not None:
            yield found


def listed_records(
    repository: Repository, progress: Progress, workers: int = 0, unreadable: list[str] | None = None
) -> Iterator[tuple[ObjectInfo, SignedRecord | None]]:
    """The same with the object of each; None stands for a tombstone. `unreadable` gets the names of what is left out."""

    def read(info: ObjectInfo) -> SignedRecord | None:
        return _decoded(info.name, *repository.read_listed(info, ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE))

    listed = _listed(repository, names.SNAPSHOTS, "a snapshot", progress)
    yield from _read_all(read, listed, "snapshot", progress, workers, unreadable)


def read_record(repository: Repository, snapshot_id: SnapshotId) -> SignedRecord | None:
    """The snapshot of this id, as it is in the storage now; None when a tombstone stands there."""
    name = names.snapshot(snapshot_id)
    return _decoded(name, *repository.read(name, ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE))


def _decoded(name: str, kind: ObjectKind, body: bytes) -> SignedRecord | None:
    if kind == ObjectKind.TOMBSTONE:
        return None
    try:
        return decode_record(body, SnapshotId(name[len(names.SNAPSHOTS) :]))
    except Damaged as e:
        raise Damaged(e.reason, name) from e


def with_amendments(signed: SignedRecord, amendments: Iterable[Amendment]) -> Snapshot:
    """The snapshot with all its amendments, which come in the order in which they count."""
    snapshot = as_committed(signed)
    for amendment in amendments:
        snapshot = amended(snapshot, amendment)
    return snapshot


def _amendments(repository: Repository, progress: Progress, workers: int) -> dict[SnapshotId, list[Amendment]]:
    """Snapshot -> its amendments, in the order in which they count."""
    found = listed_amendments(repository, progress, workers)
    said: dict[SnapshotId, list[Amendment]] = {}
    for _, amendment in sorted(found, key=lambda each: (each[1].time, each[0].name)):
        said.setdefault(amendment.snapshot, []).append(amendment)
    return said


def listed_amendments(
    repository: Repository, progress: Progress, workers: int = 0, unreadable: list[str] | None = None
) -> Iterator[tuple[ObjectInfo, Amendment]]:
    """All amendments, with the object of each, in no particular order. `unreadable` gets the names of what is left out."""

    def read(info: ObjectInfo) -> Amendment:
        _, body = repository.read_listed(info, ObjectKind.AMENDMENT)
        try:
            return decode_amendment(body)
        except Damaged as e:
            raise Damaged(e.reason, info.name) from e

    listed = _listed(repository, names.AMENDMENTS, "an amendment", progress)
    yield from _read_all(read, listed, "amendment", progress, workers, unreadable)


def _listed(repository: Repository, prefix: str, what: str, progress: Progress) -> Iterator[ObjectInfo]:
    """The objects below `prefix` whose names end in an id of 32 hex digits."""
    found = []
    for info in repository.storage.list(prefix):
        if is_snapshot_id(info.name[len(prefix) :]):
            found.append(info.name)
            yield info
        else:
            progress.warn(f"left out, not {what}: {info.name}")
    if repository.records is not None:
        repository.records.keep_only(prefix, found)


def _read_all(
    read: Callable[[ObjectInfo], T],
    listed: Iterable[ObjectInfo],
    what: str,
    progress: Progress,
    workers: int,
    unreadable: list[str] | None,
) -> Iterator[tuple[ObjectInfo, T]]:
    """What can be read; what has gone since it was listed is left out in silence."""

    def attempt(info: ObjectInfo) -> tuple[ObjectInfo, T | ChunkstoreError]:
        try:
            return info, read(info)
        except (Damaged, UnsupportedFormat, ObjectMissing) as e:
            return info, e

    for info, found in ordered_map(attempt, listed, workers, 2 * workers, "records"):
        if isinstance(found, Damaged | UnsupportedFormat):
            progress.warn(f"{what} left out: {found}")
            if unreadable is not None:
                unreadable.append(info.name)
        elif not isinstance(found, ChunkstoreError):
            yield info, found
