"""Mistakes for the real code: each context leaves out or swaps one step of the protocol while it is entered.

Every sentence of the protocol that looks like hair-splitting closes a hole. These open the holes again, so that a test can
show that the exploration would find each of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from chunkstore.format import names
from chunkstore.format.records import stored_time
from chunkstore.format.runs import Session
from chunkstore.ids import new_snapshot_id
from chunkstore.operations.forget import found as forget_found
from chunkstore.operations.pack_listing import PackListing
from chunkstore.operations.prune import carry_out as prune_carry_out
from chunkstore.operations.prune.carry_out import CarryingOut
from chunkstore.operations.prune.deleting import Deleting
from chunkstore.operations.prune.pruning import Pruner
from chunkstore.operations.prune.sessions import Sessions
from chunkstore.operations.prune.survey import Survey
from chunkstore.operations.snapshot import run as snapshot_run
from chunkstore.repository import session
from chunkstore.repository.session import WriteSession

Mistake: TypeAlias = Callable[[], AbstractContextManager[object]]


def _with(*changes: tuple[Any, str, Any]) -> Mistake:
    """Replaces attributes while it is entered."""

    @contextlib.contextmanager
    def entered() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for owner, name, value in changes:
                patch.setattr(owner, name, value)
            yield

    return entered


# -- writers


def _plan_without(**parts: frozenset[Any]) -> Any:
    real = session.decode_plan
    return lambda body, number: replace(real(body, number), **parts)


orphans_not_condemned = _with((session, "decode_plan", _plan_without(orphans=frozenset())))
repacked_not_condemned = _with((session, "decode_plan", _plan_without(repack=frozenset())))
dead_not_condemned = _with((session, "decode_plan", _plan_without(dead=frozenset())))


def _begin(order: Callable[[WriteSession, Any, Any, Any], None]) -> Any:
    """`WriteSession.__init__` with the three steps of its beginning in another order."""

    def begin(self: WriteSession, repository: Any, index: Any, around: Any, progress: Any) -> None:
        self.id = new_snapshot_id(around.random_bytes)
        self._repository, self._around, self._progress = repository, around, progress
        started = stored_time(around.clock())
        self._session = Session(self.id, repository.state.client, around.host, started, started)
        order(self, repository, index, progress)
        index.condemn(self.condemned.packs, everything=self.condemned.everything)
        self.generation = index.generation

    return begin


def _index_then_plans(self: WriteSession, repository: Any, index: Any, progress: Any) -> None:
    self._put()
    session.sync_index(repository, index, progress)
    self.condemned = session.list_condemned(repository, progress)


def _session_last(self: WriteSession, repository: Any, index: Any, progress: Any) -> None:
    self.condemned = session.list_condemned(repository, progress)
    session.sync_index(repository, index, progress)
    self._put()


index_before_plans = _with((WriteSession, "__init__", _begin(_index_then_plans)))
session_last = _with((WriteSession, "__init__", _begin(_session_last)))
takes_over_blindly = _with((snapshot_run.Run, "_may_take_over", lambda self, last: True))


def _commit_over_a_tombstone(self: Any, kind: Any, name: str, body: bytes, random_bytes: Any) -> bool:
    self.storage.put(name, self.seal(kind, name, body, random_bytes))
    return True


commits_over_tombstones = _with((session.Repository, "create", _commit_over_a_tombstone))

# -- pruners

no_fencing = _with((Sessions, "end_all", lambda self, probe: ()))
second_plan_beside_an_open_one = _with((Pruner, "_open_plan", lambda self, number: None))


def _fenced_before_the_plan() -> Mistake:
    real_end, real_put = Sessions.end_all, Pruner._put_plan

    def put(self: Pruner, number: int, choice: Any) -> Any:
        real_end(self._sessions, f"{names.plan(number)}.clock")
        return real_put(self, number, choice)

    return _with((Sessions, "end_all", lambda self, probe: ()), (Pruner, "_put_plan", put))


fences_before_the_plan = _fenced_before_the_plan()


def _without_dropped() -> Mistake:
    real = prune_carry_out.publish
    return _with(
        (prune_carry_out, "publish", lambda repository, generation, random_bytes: real(
            repository, replace(generation, dropped=frozenset()), random_bytes))
    )  # fmt: skip


orphans_not_dropped = _without_dropped()


def _look_once() -> Mistake:
    real = Survey.look

    def look(self: Survey) -> None:
        if not self.known:
            real(self)

    return _with((Survey, "look", look))


no_second_look = _look_once()


# Two orders that look like mistakes and lose nothing, as exploring a writer and a pruner with them shows (one killed, all
# orders): records that are read after the index are of snapshots whose packs the reader then asks for by itself; and packs
# that are listed after the index are called orphans at worst, which the second look spares.


def _delete_first(self: CarryingOut) -> None:
    """`CarryingOut.run`, but what the plan calls dead goes before the generation is there."""
    with PackListing(self._storage, self._survey.directory, self._survey.progress) as listed:
        deleting = Deleting(self._storage, self._around, self._result, self._survey.progress)
        deleting.packs(pack for pack in listed if pack.pack_id in self._plan.dead)
    self._decide()
    self._delete()
    self._mark_done()


deletes_before_the_generation = _with((CarryingOut, "run", _delete_first))


def _by_own_listing() -> Mistake:
    real = CarryingOut._publish

    def publish(self: CarryingOut, usage: Any, verdict: Any) -> Any:
        _OWN[id(self)] = verdict.spared
        return real(self, usage, verdict)

    def delete(self: CarryingOut) -> None:
        spared = _OWN.pop(id(self), None)
        if spared is None:
            _REAL_DELETE(self)
            return
        gone = self._plan.condemned - spared
        with PackListing(self._storage, self._survey.directory, self._survey.progress) as listed:
            deleting = Deleting(self._storage, self._around, self._result, self._survey.progress)
            deleting.packs(pack for pack in listed if pack.pack_id in gone)

    return _with((CarryingOut, "_publish", publish), (CarryingOut, "_delete", delete))


_OWN: dict[int, frozenset[Any]] = {}
_REAL_DELETE = CarryingOut._delete
deletes_by_own_listing = _by_own_listing()

# -- forget

forgets_open_sessions = _with((forget_found, "_states", lambda *_: {}))
