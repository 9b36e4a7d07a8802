"""Take snapshots out of the repository. Needs no private key; the data goes with the next prune.

For each snapshot: its record, then its amendments. Nothing else says that it exists, so after a crash at any point it is
either still there, whole, or gone; what is left of its amendments is removed by the next forget.

A session ends when `snapshots/<id>` exists (design, section 5). Where the session object is still there, its writer may
not know yet that it committed, and may try again: then a tombstone has to take the place of the record. Without a session
object the writer is done with it. Two that forget at once see it so: whoever puts a tombstone deletes the session
object after it; so who found no session object reads the record again, and leaves a tombstone that stands there by now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chunkstore.errors import Damaged, Interrupted, ObjectMissing, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import Tombstone, encode_tombstone, stored_time
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import listed_amendments, read_record
from chunkstore.operations.forget.found import Found
from chunkstore.operations.forget.policy import Candidate, SessionState
from chunkstore.parallel import ordered_map
from chunkstore.progress import Silent
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.storage.protocol import delete_many
from chunkstore.units import format_count

_AT_ONCE = 1000
"""Snapshots between two looks at who wants the run to stop: what an S3 server deletes in one request."""
_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of it. `left`: snapshots that stay all the same, and why."""

    gone: tuple[SnapshotId, ...]
    left: tuple[tuple[SnapshotId, str], ...]


def forget(repository: Repository, found: Found, going: Sequence[Candidate], around: Surroundings) -> Forgotten:
    """Carry out what was planned from `found`. Raises `Interrupted`, and what the storage raises: run it again then."""
    left = _amended_meanwhile(repository, found, around)
    gone: list[SnapshotId] = []
    wanted = [each for each in going if each.id not in left]
    try:
        for start in range(0, len(wanted), _AT_ONCE):
            if around.stop():
                raise Interrupted(
                    f"interrupted; {format_count(len(gone))} snapshots are forgotten, the others are there"
                )
            gone += _forget_some(repository, found, wanted[start : start + _AT_ONCE], around, left)
        if found.candidates:
            _remove_orphans(repository, found, around)
            # Somebody who put a tombstone did not come as far as this: what it fences needs its object no more.
            delete_many(repository.storage, [names.session(each) for each in found.fenced])
    finally:
        _forget_copies(repository, found, gone)
    return Forgotten(tuple(gone), tuple(left.items()))


def _amended_meanwhile(repository: Repository, found: Found, around: Surroundings) -> dict[SnapshotId, str]:
    """Snapshots about which something is said now that was not known when the plan was made: it may be a pin."""
    known = {name for each in found.amendments.values() for name in each}
    unreadable: list[str] = []
    amended = {
        amendment.snapshot: "its tags or its pin were changed meanwhile"
        for info, amendment in listed_amendments(repository, Silent(), around.workers, unreadable)
        if info.name not in known
    }
    if new := set(unreadable).difference(found.unreadable):
        raise Damaged("came meanwhile and can not be read; nothing is forgotten", min(new))
    return amended


def _forget_some(
    repository: Repository,
    found: Found,
    some: Sequence[Candidate],
    around: Surroundings,
    left: dict[SnapshotId, str],
) -> list[SnapshotId]:
    """Records first, amendments after them."""
    over = [each.id for each in some if each.session is SessionState.OVER]
    gone: list[SnapshotId] = []
    for snapshot_id, trouble in ordered_map(
        lambda each: (each, _trouble(repository, each)), over, around.workers, 64, "forget"
    ):
        if trouble:
            left[snapshot_id] = trouble
        else:
            gone.append(snapshot_id)
    delete_many(repository.storage, [names.snapshot(each) for each in gone])
    for candidate in some:
        if candidate.session is SessionState.STALE:
            _bury(repository, candidate, around)
            gone.append(candidate.id)
        elif candidate.session is SessionState.OPEN:
            left[candidate.id] = "its session is not over"
    delete_many(repository.storage, [name for each in gone for name in found.amendments.get(each, ())])
    return gone


def _trouble(repository: Repository, snapshot_id: SnapshotId) -> str:
    """Why the record must not be deleted; empty where it may be, or has been by somebody else."""
    try:
        return "" if read_record(repository, snapshot_id) else "a tombstone stands there by now"
    except ObjectMissing:
        return ""
    except (Damaged, UnsupportedFormat) as e:
        return str(e)


def _bury(repository: Repository, candidate: Candidate, around: Surroundings) -> None:
    """Put a tombstone in the place of the record, then delete the session object."""
    storage, name = repository.storage, names.snapshot(candidate.id)
    body = encode_tombstone(Tombstone(candidate.id, stored_time(around.clock())))
    for _ in range(_TRIES):
        # Copies on other machines are known by name and length (`record_cache`): it must not have the record's.
        data = repository.seal(ObjectKind.TOMBSTONE, name, body, around.random_bytes)
        if len(data) != candidate.size:
            break
    storage.put(name, data)
    storage.delete(names.session(candidate.id))


def _remove_orphans(repository: Repository, found: Found, around: Surroundings) -> None:
    """Delete amendments of snapshots that are not there: somebody who forgot them did not come this far.

    They were listed before the snapshots were, so they are not older than their snapshot; but a listing may miss an
    object, and so each is looked for by its name.
    """
    there = {each.id for each in found.candidates}
    suspects = [each for each in found.amendments if each not in there]

    def absent(snapshot_id: SnapshotId) -> tuple[SnapshotId, bool]:
        try:
            return snapshot_id, read_record(repository, snapshot_id) is None
        except ObjectMissing:
            return snapshot_id, True
        except (Damaged, UnsupportedFormat):
            return snapshot_id, False

    orphans = (each for each, gone in ordered_map(absent, suspects, around.workers, 64, "forget") if gone)
    delete_many(repository.storage, [name for each in orphans for name in found.amendments[each]])


def _forget_copies(repository: Repository, found: Found, gone: Sequence[SnapshotId]) -> None:
    """The copies of records on this machine go with them."""
    if repository.records is None or not gone:
        return
    dead = set(gone)
    repository.records.keep_only(names.SNAPSHOTS, _kept(found, dead))


def _kept(found: Found, dead: set[SnapshotId]) -> Iterator[str]:
    return (names.snapshot(each.id) for each in found.candidates if each.id not in dead)
