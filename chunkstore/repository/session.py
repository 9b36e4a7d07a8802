"""A writer's side of the lock-free protocol: session, plans, index, commit (design, section 5).

The order is the protocol: (1) put the session, (2) list plans, (3) sync the index; then write; (5) commit by
put-if-absent; (6) delete the session. Clocks are told to others but decide nothing here.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from chunkstore.errors import Damaged, Fenced, ObjectMissing, StorageError, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import (
    SignedRecord,
    SnapshotRecord,
    decode_record,
    encode_record,
    record_body,
    signed_bytes,
    stored_time,
)
from chunkstore.format.runs import Session, decode_plan, decode_plan_done, encode_session
from chunkstore.ids import PackId, SnapshotId, new_snapshot_id
from chunkstore.progress import Progress
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.repository import Repository, Surroundings

BEAT_EVERY_NS = 60 * 10**9
_LOOKS = 5
Signing = Callable[[bytes], bytes]
"""Makes a detached OpenPGP signature."""


@dataclass(frozen=True, slots=True)
class Condemned:
    """What open plans name. `everything`: a plan, or the newest index generation, could not be read, so nothing that
    is stored may be relied on.
    """

    packs: frozenset[PackId]
    everything: bool
    plan_open: bool


class WriteSession:
    """One run that will commit as the snapshot of its own id, or not at all."""

    def __init__(self, repository: Repository, index: LocalIndex, around: Surroundings, progress: Progress) -> None:
        self.id: SnapshotId = new_snapshot_id(around.random_bytes)
        self._repository = repository
        self._around = around
        self._progress = progress
        self._committing = False
        self._beat_at = around.clock()
        started = stored_time(self._beat_at)
        self._session = Session(self.id, repository.state.client, around.host, started, started)
        try:
            self._put()
            self.condemned = list_condemned(repository, progress)
            if not sync_index(repository, index, progress):
                self.condemned = replace(self.condemned, everything=True, plan_open=True)
            index.condemn(self.condemned.packs, everything=self.condemned.everything)
            self.generation = index.generation
        except Exception:
            self.give_up()
            raise

    def _put(self) -> None:
        name = names.session(self.id)
        body = encode_session(self._session)
        data = self._repository.seal(ObjectKind.SESSION, name, body, self._around.random_bytes)
        self._repository.storage.put(name, data)

    def beat(self) -> None:
        """Called often: says now and then that the run is alive, and looks whether it was fenced."""
        now = self._around.clock()
        if 0 <= now - self._beat_at < BEAT_EVERY_NS:
            return
        self._beat_at = now
        self._session = replace(self._session, beat=stored_time(now))
        self._put()
        try:
            self._repository.storage.stat(names.snapshot(self.id))
        except ObjectMissing:
            return
        raise Fenced(f"session {self.id} was ended by a prune")

    def commit(self, record: SnapshotRecord, sign: Signing | None) -> SignedRecord:
        """Create the snapshot (I-3); `Fenced` when a tombstone was there first."""
        body = record_body(record)
        signature = sign(signed_bytes(body, self._repository.key.repository_id, record.id)) if sign else None
        data = encode_record(body, signature)
        signed = decode_record(data, self.id)  # a record that nobody could read must not be put (I-6)
        self._committing = True  # until the storage has answered: an order without an answer may still be carried out
        created = self._repository.create(ObjectKind.SNAPSHOT, names.snapshot(self.id), data, self._around.random_bytes)
        self._committing = False
        if not created:
            raise Fenced(f"session {self.id} was ended by a prune")
        return signed

    def successor(self) -> WriteSession | None:
        """A session for what comes after the commit of this one, which relies on all that this one relies on; None when
        a plan is open.

        That is safe: its object is there before the plans are listed, so every later plan waits for it; and a plan made
        since this session began has waited for this one, or this one was fenced and can not commit. What was condemned
        when this one began stays condemned, and the generation is the one that was synced then.
        """
        following = copy.copy(self)
        following.id = new_snapshot_id(self._around.random_bytes)
        following._beat_at = self._around.clock()
        now = stored_time(following._beat_at)
        following._session = replace(self._session, id=following.id, started=now, beat=now)
        with contextlib.ExitStack() as undo:
            undo.callback(following.give_up)
            following._put()
            if _any_open_plan(self._repository, self._progress):
                return None
            undo.pop_all()
        return following

    def give_up(self) -> None:
        """End it, if the storage lets us: a session that is left behind delays a prune, no more."""
        with contextlib.suppress(StorageError):
            self.end()

    def end(self) -> None:
        """Delete the session object; after the commit, or when the run is given up.

        It is left to the next prune, which puts a tombstone, when nobody knows whether the record is there or still
        comes: without the session a prune would not wait for what that record needs.
        """
        if self._committing:
            return
        self._repository.storage.delete(names.session(self.id))


def list_condemned(repository: Repository, progress: Progress) -> Condemned:
    """What the plans that are not carried out yet condemn (I-4).

    A plan or its mark that is gone though it was listed was cleared away by a later prune: then only a new listing counts.
    """
    for _ in range(_LOOKS):
        with contextlib.suppress(ObjectMissing):
            return _list_once(repository, progress)
    progress.warn("prune plans are listed that are not there, so nothing that is stored is relied on")
    return Condemned(frozenset(), everything=True, plan_open=True)


def _any_open_plan(repository: Repository, progress: Progress) -> bool:
    try:
        return any(True for _ in open_plans(repository, progress))
    except ObjectMissing:  # a prune clears away what older ones left
        return True


def _list_once(repository: Repository, progress: Progress) -> Condemned:
    packs: set[PackId] = set()
    everything = plan_open = False
    for number in open_plans(repository, progress):
        plan_open = True
        try:
            _, body = repository.read(names.plan(number), ObjectKind.PLAN)
            packs |= decode_plan(body, number).condemned
        except (Damaged, UnsupportedFormat) as e:
            progress.warn(f"prune plan can not be read, so nothing that is stored is relied on: {e}")
            everything = True
    return Condemned(frozenset(packs), everything, plan_open)


def open_plans(repository: Repository, progress: Progress) -> Iterator[int]:
    """Numbers of the plans that are listed now and not marked as carried out. `ObjectMissing`: a mark went meanwhile."""
    listed = {info.name for info in repository.storage.list(names.PLANS)}
    for name in sorted(listed):
        number = names.number(name, names.PLANS)
        if number is None or (names.plan_done(number) in listed and _is_done(repository, number, progress)):
            continue
        yield number


def _is_done(repository: Repository, number: int, progress: Progress) -> bool:
    try:
        _, body = repository.read(names.plan_done(number), ObjectKind.PLAN_DONE)
        decode_plan_done(body, number)
    except (Damaged, UnsupportedFormat) as e:
        progress.warn(f"mark of a finished prune left out: {e}")
        return False
    return True
