"""What `forget` says of each snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from chunkstore.operations.forget.forgetting import Forgotten
from chunkstore.operations.forget.plan import ForgetPlan, PlannedGroup
from chunkstore.operations.forget.policy import Decision
from chunkstore.units import format_count

from .commands.snapshots import group_as_json, heading, shown_text
from .output import iso_time, local_time, write_table

NOTHING = Forgotten((), ())


def write_plan(plan: ForgetPlan) -> None:
    """A table for each group: every snapshot, and why it stays or goes."""
    for number, planned in enumerate(plan.groups):
        if title := heading(planned.group):
            click.echo("\n" * bool(number) + title)
        write_table(["ID", "Time", "Tags", "", "Why"], [_row(each) for each in planned.decisions])


def _row(decision: Decision) -> list[str]:
    snapshot = decision.candidate.snapshot
    return [
        snapshot.record.id[:8],
        local_time(snapshot.record.time),
        " ".join([*map(shown_text, snapshot.tags), *["(partial)"] * snapshot.record.partial]),
        "stays" if decision.stays else "goes",
        ", ".join(shown_text(reason.text) for reason in decision.reasons),
    ]


def summary(plan: ForgetPlan, done: Forgotten | None) -> str:
    """A line at the end. `done` is None where nothing was to be done."""
    going = len(plan.going)
    if done is None:
        what = f"{_snapshots(going)} would be forgotten"
    else:
        what = f"{_snapshots(len(done.gone))} forgotten"
    others = f", {_snapshots(plan.others)} not looked at" if plan.others else ""
    stay = plan.staying + (going - len(done.gone) if done else 0)
    prune = ". `chunkstore prune` frees the space" if done and done.gone else ""
    return f"{what}, {format_count(stay)} stay{'s' * (stay == 1)}{others}{prune}."


def as_json(plan: ForgetPlan, done: Forgotten, dry_run: bool) -> dict[str, Any]:
    """All of it."""
    return {
        "dry_run": dry_run,
        "groups": [_group(each) for each in plan.groups],
        "others": plan.others,
        "refused": list(plan.refused),
        "forgotten": list(done.gone),
        "left": [{"id": each, "why": why} for each, why in done.left],
    }


def _group(planned: PlannedGroup) -> dict[str, Any]:
    return {**group_as_json(planned.group), "snapshots": [_decision(each) for each in planned.decisions]}


def _decision(decision: Decision) -> dict[str, Any]:
    snapshot, stored = decision.candidate.snapshot, decision.candidate.stored
    return {
        "id": snapshot.record.id,
        "time": iso_time(snapshot.record.time),
        "end": iso_time(snapshot.record.end),
        "stored": None if stored is None else iso_time(int(stored * 1e9)),
        "tags": list(snapshot.tags),
        "pinned": snapshot.pinned,
        "partial": snapshot.record.partial,
        "stays": decision.stays,
        "reasons": [{"rule": reason.rule, "text": reason.text} for reason in decision.reasons],
    }


def dates_not_believed(plan: ForgetPlan) -> int:
    """How many snapshots stay because of their dates."""
    return sum(any(reason.rule == "date" for reason in each.reasons) for each in _decisions(plan))


def _decisions(plan: ForgetPlan) -> Sequence[Decision]:
    return [each for group in plan.groups for each in group.decisions]


def _snapshots(count: int) -> str:
    return f"{format_count(count)} snapshot{'s' * (count != 1)}"
