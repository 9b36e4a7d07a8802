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
    if plan.refused:
        what = f"Refused: {_snapshots(going)} would go"
    elif done is None:
        what = f"{_snapshots(going)} would be forgotten"
    else:
        what = f"{_snapshots(len(done.gone))} forgotten"
    others = f", {_snapshots(plan.others)} not looked at" if plan.others else ""
    stay = plan.staying + (going - len(done.gone) if done else 0)
    return f"{what}, {format_count(stay)} stay{'s' * (stay == 1)}{others}."


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


def doubts(plan: ForgetPlan) -> list[str]:
    """What a person should know of snapshots that stay because of their dates, and how to go on."""
    decisions = [each for group in plan.groups for each in group.decisions]
    stored = [(each.candidate, _stored(each)) for each in decisions if any(r.rule == "date" for r in each.reasons)]
    copies = [since for candidate, since in stored if candidate.snapshot.record.original is not None]
    others = [since for candidate, since in stored if candidate.snapshot.record.original is None]
    texts = []
    if copies:
        texts.append(
            f"{_snapshots(len(copies))} that `chunkstore copy` brought {_stay(len(copies))}, because only the copies say that they are "
            f"so old; the storage has them {_since(copies)}. If that is when you copied them: --believe-times "
            f"{_until(copies)} counts what the storage has from before then"
        )
    if others:
        texts.append(
            f"{_snapshots(len(others))} {_stay(len(others))}, because their dates and the storage's differ by more than a day; the "
            f"storage has them {_since(others)}. Either the repository was copied, a clock was wrong, or somebody forged them. "
            "Look at them; if they are as they must be, --believe-times TIME counts those that the storage has from before TIME"
        )
    return texts


def _stored(decision: Decision) -> int:
    """When the storage got the record, in ns."""
    return int((decision.candidate.stored or 0) * 1e9)


def _since(times: Sequence[int]) -> str:
    first, last = local_time(min(times)), local_time(max(times))
    return f"since {first}" if first == last else f"from {first} to {last}"


def _until(times: Sequence[int]) -> str:
    """As --believe-times wants it: to the end of the second."""
    return local_time(max(times)).replace(" ", "T")


def _stay(count: int) -> str:
    return f"stay{'s' * (count == 1)}"


def _snapshots(count: int) -> str:
    return f"{format_count(count)} snapshot{'s' * (count != 1)}"
