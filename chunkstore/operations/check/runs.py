"""Sessions and prune plans: what is under way, and what was left behind by runs that broke off."""

from __future__ import annotations

from typing import Final

from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.runs import Plan, PlanDone, Session, decode_plan, decode_plan_done, decode_session
from chunkstore.ids import SnapshotId
from chunkstore.operations.check.findings import Kind, note
from chunkstore.operations.check.looking import Looking
from chunkstore.storage import ObjectInfo
from chunkstore.units import format_duration

STALE_NS: Final = 3600 * 10**9
"""A session that gave no sign of life for so long is said to be stale. Nothing depends on it here."""


def check_runs(looking: Looking) -> None:
    """Report what can not be read, and what a person may want to know of the rest."""
    _check_sessions(looking)
    _check_plans(looking)


def _check_sessions(looking: Looking) -> None:
    def read(info: ObjectInfo, data: bytes) -> Session:
        session_id = SnapshotId(info.name[len(names.SESSIONS) :])
        return decode_session(looking.body(info, data, ObjectKind.SESSION)[1], session_id)

    for info, session in looking.readable(names.SESSIONS, Kind.SESSION, read):
        quiet = looking.around.clock() - session.beat
        if looking.is_there(names.snapshot(session.id)):
            text = f"a run of host {session.host!r} has ended and left its session behind"
        elif abs(quiet) < STALE_NS:
            text = f"a run of host {session.host!r} is under way"
        elif quiet < 0:
            text = f"a run of host {session.host!r} says it is {format_duration(-quiet / 1e9)} ahead: a clock is wrong"
        else:
            text = f"a run of host {session.host!r} broke off {format_duration(quiet / 1e9)} ago, or a clock is wrong"
        looking.report(note(Kind.SESSION, info.name, text, "the next prune ends it" if abs(quiet) >= STALE_NS else ""))


def _check_plans(looking: Looking) -> None:
    def read_plan(info: ObjectInfo, data: bytes) -> Plan:
        return decode_plan(looking.body(info, data, ObjectKind.PLAN)[1], _number(info))

    def read_done(info: ObjectInfo, data: bytes) -> PlanDone:
        return decode_plan_done(looking.body(info, data, ObjectKind.PLAN_DONE)[1], _number(info))

    # Plans first: whoever finishes a prune in between adds the mark.
    plans = [(info.name, plan.number) for info, plan in looking.readable(names.PLANS, Kind.PLAN, read_plan)]
    done = {mark.number for _, mark in looking.readable(names.PLANS, Kind.PLAN_DONE, read_done)}
    for name, number in plans:
        if number not in done and looking.is_there(name):
            text = "a prune is under way, or broke off"
            looking.report(note(Kind.PLAN, name, text, "the next `chunkstore prune` goes on with it"))


def _number(info: ObjectInfo) -> int:
    number = names.number(info.name.removesuffix(names.DONE), names.PLANS)
    assert number is not None
    return number
