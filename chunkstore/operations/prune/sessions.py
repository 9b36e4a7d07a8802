"""Waiting for the sessions that may rely on what a plan condemns (I-5), and fencing those that are dead.

A session has ended when `snapshots/<id>` exists: its own record, or a tombstone. One that shows no sign of life for long gets
a tombstone: if its writer lives after all, it finds the tombstone and goes on under a new id. So clocks decide when a
pruner tries, never whether data is safe; and as far as the storage tells times, it is its clock that is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from chunkstore.errors import Damaged, Interrupted, ObjectMissing, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import Tombstone, encode_tombstone, stored_time
from chunkstore.format.runs import decode_session
from chunkstore.ids import SnapshotId, is_snapshot_id
from chunkstore.operations.prune.values import LivingSession, PruneOptions
from chunkstore.progress import Progress
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.storage import ObjectInfo

Pause = Callable[[float], None]
"""Wait so many seconds."""

_LOOK_EVERY_S = 20.0
_S = 10**9


def session_ids(repository: Repository) -> list[SnapshotId]:
    """The sessions there are, by the names of their objects: what is in them is not needed."""
    found = (info.name[len(names.SESSIONS) :] for info in repository.storage.list(names.SESSIONS))
    return [SnapshotId(text) for text in found if is_snapshot_id(text)]


class Sessions:
    """Ends all sessions that exist at one moment."""

    def __init__(
        self, repository: Repository, options: PruneOptions, around: Surroundings, progress: Progress, pause: Pause
    ) -> None:
        self.fenced = 0
        self._repository = repository
        self._options = options
        self._around = around
        self._progress = progress
        self._pause = pause
        self._offset: float | None = None

    def end_all(self, probe: str) -> tuple[LivingSession, ...]:
        """Wait until every session that exists now has ended. Those that are alive when the patience is over are returned.

        `probe`: a name below `prunes/` that only this process uses, to learn what time the storage has.
        """
        left = session_ids(self._repository)
        if not left:
            return ()
        self._ask_the_time(probe)
        began = self._around.clock()
        while True:
            living = [session for each in left if (session := self._still_alive(each))]
            patience = self._options.patience_ns
            if not living or (patience is not None and self._around.clock() - began >= patience):
                return tuple(living)
            if self._around.stop():
                raise Interrupted("interrupted; the plan stays open, and the next prune goes on with it")
            self._progress.current(f"waiting for a snapshot of {living[0].host or '?'}".encode())
            self._pause(_LOOK_EVERY_S)
            left = [session.id for session in living]

    def look(self) -> tuple[LivingSession, ...]:
        """The sessions that have not ended, without ending any."""
        left = [each for each in session_ids(self._repository) if not self._has_ended(each)]
        return tuple(session for each in left if (session := self._described(each, self._info(each))))

    # -- one session

    def _still_alive(self, session: SnapshotId) -> LivingSession | None:
        """None when it has ended, by itself or by being fenced."""
        if self._has_ended(session):
            self._clear(session)
            return None
        info = self._info(session)
        living = self._described(session, info)
        stale = living is None or living.quiet_ns is None or abs(living.quiet_ns) >= self._options.stale_after_ns
        if not self._repository.config.conditional_writes:
            return living  # nobody can fence here: a tombstone might replace a record
        if not stale:
            return living
        # Its object has gone without a record, or it is silent. In either case an order to commit may still be under
        # way somewhere: only what stands in its place ends it for certain.
        self._fence(session)
        return None

    def _has_ended(self, session: SnapshotId) -> bool:
        try:
            self._repository.storage.stat(names.snapshot(session))
        except ObjectMissing:
            return False
        return True

    def _clear(self, session: SnapshotId) -> None:
        """Delete what a pruner that broke off between a tombstone and this has left."""
        name = names.snapshot(session)
        with contextlib.suppress(Damaged, UnsupportedFormat, ObjectMissing):
            kind, _ = self._repository.read(name, ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE)
            if kind == ObjectKind.TOMBSTONE:
                self._repository.storage.delete(names.session(session))

    def _fence(self, session: SnapshotId) -> None:
        body = encode_tombstone(Tombstone(session, stored_time(self._around.clock())))
        name = names.snapshot(session)
        if self._repository.create(ObjectKind.TOMBSTONE, name, body, self._around.random_bytes):
            self.fenced += 1
            # The session object of a run that did commit is its writer's to delete; `forget` goes by that.
            self._repository.storage.delete(names.session(session))

    def _info(self, session: SnapshotId) -> ObjectInfo | None:
        with contextlib.suppress(ObjectMissing):
            return self._repository.storage.stat(names.session(session))
        return None

    def _described(self, session: SnapshotId, info: ObjectInfo | None) -> LivingSession | None:
        """What is known of a session whose object is there; None when it is not."""
        if info is None:
            return None
        now = self._around.clock()
        by_storage = None
        if info.modified is not None and self._offset is not None:
            by_storage = now + int((self._offset - info.modified) * _S)
        try:
            _, body = self._repository.read(names.session(session), ObjectKind.SESSION)
            said = decode_session(body, session)
        except ObjectMissing:
            return None
        except (Damaged, UnsupportedFormat):
            return LivingSession(session, None, None, by_storage)
        return LivingSession(session, said.host, said.started, now - said.beat if by_storage is None else by_storage)

    def _ask_the_time(self, probe: str) -> None:
        """Learn how the storage's clock differs from ours: `_offset` and our seconds since 1970 give its time."""
        storage = self._repository.storage
        storage.put(probe, b"\0")
        try:
            modified = storage.stat(probe).modified
            self._offset = None if modified is None else modified - self._around.clock() / _S
        finally:
            storage.delete(probe)
