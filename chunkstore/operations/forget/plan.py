"""What a `forget` will do, made from what is there before anything is done; and when it had better not. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from chunkstore.operations.forget.policy import (
    PINNED,
    SESSION,
    Candidate,
    Decision,
    Policy,
    Reason,
    SessionState,
    Wall,
    counted,
    decide,
)
from chunkstore.operations.snapshot_groups import Group, grouped
from chunkstore.tree.display import display_path
from chunkstore.units import format_count

ALWAYS_ALLOWED: Final = 3
"""So many may go from a group whatever their share of it is."""
_NAMED: Final = 3
ASKED_FOR: Final = Reason("asked", "asked for")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a group may shrink at once: by so many per cent (and always by `ALWAYS_ALLOWED`), or by so many snapshots.

    `whole_groups`: all of a group may go. `believed_before` (seconds since 1970): see `is_believable`.
    """

    percent: int | None = 50
    count: int | None = None
    whole_groups: bool = False
    believed_before: float | None = None


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """Snapshots that belong together, and what becomes of each, the oldest first."""

    group: Group
    decisions: tuple[Decision, ...]

    @property
    def going(self) -> list[Candidate]:
        return [each.candidate for each in self.decisions if not each.stays]


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """`others`: how many snapshots it is not about. `refused`: why it must not be carried out, if so."""

    groups: tuple[PlannedGroup, ...]
    others: int
    refused: tuple[str, ...]

    @property
    def going(self) -> list[Candidate]:
        """What is to be forgotten."""
        return [each for group in self.groups for each in group.going]

    @property
    def staying(self) -> int:
        """How many of those that it is about stay."""
        return sum(decision.stays for group in self.groups for decision in group.decisions)


def plan_by_rules(
    everything: Sequence[Candidate],
    chosen: Collection[Candidate],
    policy: Policy,
    keys: Collection[str],
    wall: Wall,
    limits: Limits,
    unreadable: Sequence[str] = (),
) -> ForgetPlan:
    """Apply a policy to each group of `chosen`. `unreadable`: names of records and amendments whose content is not known."""
    by_id = {each.id: each for each in chosen}
    groups = []
    for group in grouped((each.snapshot for each in chosen), keys):
        members = [by_id[each.record.id] for each in group.snapshots]
        groups.append(PlannedGroup(group, decide(members, policy, wall, limits.believed_before)))
    refused = [*_because_unreadable(unreadable), *_because_nothing_would_be_left(everything, groups, limits)]
    for planned in groups:
        refused += _because_of_group(planned, limits)
    return ForgetPlan(tuple(groups), len(everything) - len(chosen), tuple(refused))


def plan_by_names(everything: Sequence[Candidate], named: Sequence[Candidate]) -> ForgetPlan:
    """Just these snapshots go, unless they are pinned or their session is not over."""
    decisions = []
    for each in sorted(named, key=lambda each: each.snapshot.age_order):
        reasons = [PINNED] if each.snapshot.pinned else []
        reasons += [SESSION] if each.session is SessionState.OPEN else []
        decisions.append(Decision(each, bool(reasons), tuple(reasons) or (ASKED_FOR,)))
    group = Group(None, None, None, tuple(each.candidate.snapshot for each in decisions))
    planned = [PlannedGroup(group, tuple(decisions))]
    refused = _because_nothing_would_be_left(everything, planned, Limits(believed_before=float("inf")))
    if pinned := [each.candidate for each in decisions if PINNED in each.reasons]:
        refused.append(f"{_ids(pinned)} pinned: `chunkstore tag --unpin` first")
    return ForgetPlan(tuple(planned), len(everything) - len(named), tuple(refused))


# -- when not to


def _because_unreadable(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {format_count(len(names) - _NAMED)} more" if len(names) > _NAMED else ""
    return [
        f"{', '.join(sorted(names)[:_NAMED])}{more} can not be read: a pin or a snapshot may be unknown, so no rule is "
        "applied. See what `chunkstore check` says of it; `chunkstore repair exclude NAME` goes on without it. "
        "Snapshots that are named one by one can be forgotten all the same"
    ]


def _because_nothing_would_be_left(
    everything: Sequence[Candidate], groups: Iterable[PlannedGroup], limits: Limits
) -> list[str]:
    """A repository without any snapshot is never meant; what rules could not count is no snapshot for this."""
    going = {each.id for group in groups for each in group.going}
    good = counted(everything, limits.believed_before) or everything
    if not going or any(each.id not in going for each in good):
        return []
    return [
        "no snapshot that can be relied on would be left in the repository. Make a new one first, or give a rule "
        "that keeps something"
    ]


def _because_of_group(planned: PlannedGroup, limits: Limits) -> list[str]:
    """What rules could not count is left out of account, so that nobody makes a group look larger than it is."""
    good = counted((each.candidate for each in planned.decisions), limits.believed_before)
    going = {each.id for each in planned.going}
    size, gone = len(good), sum(each.id in going for each in good)
    reasons = []
    if size and gone == size and not limits.whole_groups:
        reasons.append(
            f"{_heading(planned.group)}: nothing would be left of its {format_count(size)} snapshots. If that is meant: "
            "--remove-whole-groups"
        )
    too_many = gone > limits.count if limits.count is not None else _is_too_large_a_part(gone, size, limits.percent)
    if too_many:
        most = format_count(limits.count) if limits.count is not None else f"{limits.percent}%"
        reasons.append(
            f"{_heading(planned.group)}: {format_count(gone)} of {format_count(size)} snapshots would go, more than {most}. "
            "Somebody may have added snapshots to push others out: look at the list (--dry-run). If it is as it must be: "
            f"--max-removed {gone}"
        )
    return reasons


def _is_too_large_a_part(gone: int, size: int, percent: int | None) -> bool:
    return percent is not None and gone > ALWAYS_ALLOWED and gone * 100 > size * percent


def _heading(group: Group) -> str:
    parts = []
    if group.host is not None:
        parts.append(f"host {_shown(group.host)}")
    if group.paths is not None:
        parts.append(" ".join(map(display_path, group.paths)))
    if group.tags is not None:
        parts.append(f"tags {','.join(map(_shown, group.tags)) or '-'}")
    return ", ".join(parts) or "all snapshots"


def _ids(found: Sequence[Candidate]) -> str:
    return f"{', '.join(each.id[:8] for each in found)} {'is' if len(found) == 1 else 'are'}"


def _shown(text: str) -> str:
    return display_path(text.encode("utf-8", "surrogateescape"))
