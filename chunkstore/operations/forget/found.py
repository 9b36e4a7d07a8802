"""What a `forget` has to know of a repository before it decides anything."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chunkstore.errors import Damaged, ObjectMissing, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import Amendment, SignedRecord
from chunkstore.format.runs import decode_session
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import Snapshot, listed_amendments, listed_records, with_amendments
from chunkstore.operations.forget.policy import Candidate, SessionState
from chunkstore.operations.prune.values import PruneOptions
from chunkstore.parallel import ordered_map
from chunkstore.progress import Progress
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.storage import ObjectInfo

_NS = 10**9
STALE_AFTER_NS: Final = PruneOptions().stale_after_ns


@dataclass(frozen=True, slots=True)
class Found:
    """All snapshots, the names of the amendments of each (also of snapshots that are not there), and what is unreadable.

    `fenced`: sessions whose objects are there though a tombstone is, too. Of the records only what rules, tables and filters need is in memory: neither their bytes nor their statistics.
    """

    candidates: tuple[Candidate, ...]
    amendments: Mapping[SnapshotId, tuple[str, ...]]
    unreadable: tuple[str, ...]
    fenced: tuple[SnapshotId, ...] = ()


def find_all(
    repository: Repository, around: Surroundings, progress: Progress, stale_after_ns: int = STALE_AFTER_NS
) -> Found:
    """Read amendments, then snapshots, then sessions: a snapshot whose session is not listed any more is really over.

    What can not be read is reported and named in `unreadable`. `stale_after_ns`: see `PruneOptions`.
    """
    unreadable: list[str] = []
    said: dict[SnapshotId, list[tuple[int, str, Amendment]]] = {}
    for info, amendment in listed_amendments(repository, progress, around.workers, unreadable):
        said.setdefault(amendment.snapshot, []).append((amendment.time, info.name, amendment))
    shared, tombs = _Shared(), set()
    found: list[tuple[ObjectInfo, Snapshot]] = []
    for info, signed in listed_records(repository, progress, around.workers, unreadable):
        if signed is None:
            tombs.add(SnapshotId(info.name[len(names.SNAPSHOTS) :]))
        else:
            found.append((info, _slim(signed, said.get(signed.record.id, []), shared)))
    sessions = dict(_sessions(repository))
    still = {each: sessions[each] for _, snapshot in found if (each := snapshot.record.id) in sessions}
    states = _states(repository, still, around, stale_after_ns)
    return Found(
        tuple(
            Candidate(snapshot, info.modified, states.get(snapshot.record.id, SessionState.OVER), info.size)
            for info, snapshot in found
        ),
        {snapshot: tuple(name for _, name, _ in each) for snapshot, each in said.items()},
        tuple(unreadable),
        tuple(sorted(tombs & sessions.keys())),
    )


class _Shared:
    """One object for all equal values: hosts and paths are nearly always the same."""

    def __init__(self) -> None:
        self._roots: dict[tuple[bytes, ...], tuple[bytes, ...]] = {}
        self._tags: dict[tuple[str, ...], tuple[str, ...]] = {}

    def roots(self, roots: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return self._roots.setdefault(roots, roots)

    def tags(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        return self._tags.setdefault(tags, tags)


def _slim(signed: SignedRecord, said: Sequence[tuple[int, str, Amendment]], shared: _Shared) -> Snapshot:
    """The snapshot with its amendments, without what takes the most memory."""
    record = signed.record
    record = replace(
        record,
        host=sys.intern(record.host),
        user=sys.intern(record.user),
        roots=shared.roots(record.roots),
        tags=(),
        description="",
        previous=b"",
        statistics={},
        program="",
    )
    whole = with_amendments(signed, (amendment for _, _, amendment in sorted(said, key=lambda each: each[:2])))
    return replace(whole, signed=SignedRecord(record, b"", None), tags=shared.tags(whole.tags), description="")


def _sessions(repository: Repository) -> Iterator[tuple[SnapshotId, ObjectInfo]]:
    for info in repository.storage.list(names.SESSIONS):
        yield SnapshotId(info.name[len(names.SESSIONS) :]), info


def _states(
    repository: Repository, sessions: Mapping[SnapshotId, ObjectInfo], around: Surroundings, stale_after_ns: int
) -> dict[SnapshotId, SessionState]:
    """Of sessions whose objects are still there, though they committed."""
    now = around.clock()

    def state(session: SnapshotId) -> tuple[SnapshotId, SessionState]:
        last = _last_sign(repository, session, sessions[session])
        # Clocks may be wrong, this one too: a session that was alive long after now is no surer than a silent one.
        is_open = last is not None and abs(now - last) < stale_after_ns
        return session, SessionState.OPEN if is_open else SessionState.STALE

    return dict(ordered_map(state, sessions, around.workers, 64, "sessions"))


def _last_sign(repository: Repository, session: SnapshotId, info: ObjectInfo) -> int | None:
    """When a session was last heard of, in ns: by the storage's clock if it has one. None: nobody can say."""
    if info.modified is not None:
        return int(info.modified * _NS)
    with contextlib.suppress(Damaged, UnsupportedFormat, ObjectMissing):
        _, body = repository.read(info.name, ObjectKind.SESSION)
        return decode_session(body, session).beat
    return None
