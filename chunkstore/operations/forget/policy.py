"""Which snapshots of a group stay, by rules, and why. Pure; no clock is asked.

A rule counts snapshots from the newest on: `last` each of them, the others the newest of each hour, day ... in which there
is one; where a rule has places left, the oldest snapshot gets one too. `within` counts back from the newest snapshot, not
from today. That is what restic documents for its options of the same names.

Dates are claims of the client that made a record, and whoever stole a client can forge them. So a record counts only when
the storage's own clock agrees with its end; one that does not stays, and takes no place in a rule. And a start long before
the end is not what counts for a rule, for it could be any day of the past, whose good snapshot would then have to go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from chunkstore.format.records import SnapshotRecord
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import Snapshot
from chunkstore.units import format_duration

DISAGREEMENT_NS: Final = 24 * 3600 * 10**9
"""So far the clocks of a client and of a storage may be apart, and so long may a run last that counts at its start."""
PERIODS: Final = ("hourly", "daily", "weekly", "monthly", "yearly")

Wall = Callable[[datetime], datetime]
"""An instant as it is on the wall of whoever made the rules: `datetime.astimezone`."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS: Final = 10**9


class SessionState(Enum):
    """What is known of the session that made a snapshot."""

    OVER = "over"
    OPEN = "open"
    STALE = "stale"
    """Its object is there, and nobody has kept it alive for long."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot, when the storage says that it was stored (seconds since 1970, None: it does not say), its session.

    `size`: bytes of its record as it is stored.
    """

    snapshot: Snapshot
    stored: float | None = None
    session: SessionState = SessionState.OVER
    size: int = 0

    @property
    def id(self) -> SnapshotId:
        return self.snapshot.record.id

    @property
    def order(self) -> tuple[int, int, SnapshotId]:
        """Sorts the oldest first, by the time that counts for rules; those of one run by when each was committed."""
        return counted_time(self.snapshot.record), self.snapshot.record.end, self.id


@dataclass(frozen=True, slots=True)
class Policy:
    """How many to keep of each kind (0: the rule is not there), `within` so many seconds, with all tags of one of `tags`."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: int | None = None
    tags: tuple[frozenset[str], ...] = ()

    def __bool__(self) -> bool:
        return self != Policy()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a snapshot stays or goes. `rule` is one word of a fixed set, `text` is for people."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a snapshot, with at least one reason."""

    candidate: Candidate
    stays: bool
    reasons: tuple[Reason, ...]


PINNED: Final = Reason("pinned", "pinned")
SESSION: Final = Reason("session", "its session is not over")
LATEST_PARTIAL: Final = Reason("partial", "partial, and no complete one came after it")
NO_RULE: Final = Reason("none", "no rule keeps it")


def counted_time(record: SnapshotRecord) -> int:
    """When a snapshot counts as made (ns): at its start, or at its end where the run took longer than a day."""
    return record.time if record.end - record.time <= DISAGREEMENT_NS else record.end


def is_believable(candidate: Candidate, believed_before: float | None = None) -> bool:
    """Whether the times of a record agree with the storage's clock, or were stored before `believed_before` (s)."""
    record, stored = candidate.snapshot.record, candidate.stored
    if stored is None or (believed_before is not None and stored < believed_before):
        return True
    # The record is stored at the end of a run.
    return abs(record.end - stored * _NS) <= DISAGREEMENT_NS and record.time - record.end <= DISAGREEMENT_NS


def counted(group: Iterable[Candidate], believed_before: float | None = None) -> list[Candidate]:
    """Those that rules are about, oldest first: complete and believable; partial ones where there are no others."""
    believed = sorted((each for each in group if is_believable(each, believed_before)), key=lambda each: each.order)
    return [each for each in believed if not each.snapshot.record.partial] or believed


def decide(
    group: Sequence[Candidate], policy: Policy, wall: Wall, believed_before: float | None = None
) -> tuple[Decision, ...]:
    """What becomes of each snapshot of a group, oldest first."""
    pool = counted(group, believed_before)
    kept: dict[SnapshotId, list[Reason]] = {}
    for each, reason in _kept_by_rules(pool, policy, wall):
        kept.setdefault(each.id, []).append(reason)
    # By their ends: a run and the partial snapshots that it left have one start.
    newest = max(pool, key=lambda each: each.snapshot.record.end, default=None)
    return tuple(
        _decision(each, kept.get(each.id, []), newest, _disbelief(each, wall, believed_before))
        for each in sorted(group, key=lambda each: each.order)
    )


def _disbelief(each: Candidate, wall: Wall, believed_before: float | None) -> Reason | None:
    """Why the date of a snapshot is not believed, if so. What its record says of being a copy is a claim as well."""
    if is_believable(each, believed_before) or each.stored is None:
        return None
    try:
        when = f"stored {wall(_EPOCH + timedelta(seconds=each.stored)):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):  # no calendar has it
        when = "stored at another time"
    kind = "a copy, " if each.snapshot.record.original is not None else ""
    return Reason("date", f"{kind}{when}: its date is not believed")


def _decision(each: Candidate, by_rule: list[Reason], newest: Candidate | None, disbelief: Reason | None) -> Decision:
    reasons = [PINNED] if each.snapshot.pinned else []
    gone = NO_RULE
    if disbelief:
        reasons.append(disbelief)
    elif each.snapshot.record.partial and newest is not None and not newest.snapshot.record.partial:
        if each.snapshot.record.end > newest.snapshot.record.end:
            reasons.append(LATEST_PARTIAL)
        else:
            gone = Reason("superseded", f"partial, and {newest.id[:8]} is complete")
    reasons += by_rule
    if not reasons and each.session is SessionState.OPEN:
        reasons.append(SESSION)
    return Decision(each, bool(reasons), tuple(reasons) or (gone,))


def _kept_by_rules(pool: Sequence[Candidate], policy: Policy, wall: Wall) -> Iterator[tuple[Candidate, Reason]]:
    """`pool` is in order, the oldest first."""
    newest_first = pool[::-1]
    for number, each in enumerate(newest_first[: policy.last], 1):
        yield each, Reason("last", f"last {number} of {policy.last}")
    for period in PERIODS:
        yield from _kept_by_period(newest_first, period, getattr(policy, period), wall)
    if policy.within is not None and pool:
        oldest_kept = pool[-1].order[0] - policy.within * _NS
        reason = Reason("within", f"within {_age(policy.within)} of the newest")
        yield from ((each, reason) for each in newest_first if each.order[0] >= oldest_kept)
    for wanted in policy.tags:
        reason = Reason("tag", f"tag {','.join(sorted(wanted))}")
        yield from ((each, reason) for each in newest_first if wanted <= set(each.snapshot.tags))


def _kept_by_period(
    newest_first: Sequence[Candidate], period: str, count: int, wall: Wall
) -> Iterator[tuple[Candidate, Reason]]:
    seen: set[object] = set()
    for each in newest_first:
        if len(seen) == count:
            return
        name = _period(each.order[0], period, wall)
        oldest = each is newest_first[-1]
        if name not in seen:
            seen.add(name)
            yield each, Reason(period, f"{period} {len(seen)} of {count}")
        elif oldest:
            yield each, Reason(period, f"{period} {len(seen) + 1} of {count}, the oldest")


def _age(seconds: int) -> str:
    days, rest = divmod(seconds, 24 * 3600)
    return format_duration(seconds) if rest else f"{days}d"


def _period(time_ns: int, period: str, wall: Wall) -> object:
    """The name of the hour, day ... that a time is in."""
    at = wall(_EPOCH + timedelta(seconds=time_ns // _NS))
    match period:
        case "hourly":  # an hour that clocks show twice is two
            return at.replace(minute=0, second=0, microsecond=0, tzinfo=None), at.utcoffset()
        case "daily":
            return at.date()
        case "weekly":
            return at.isocalendar()[:2]
        case "monthly":
            return at.year, at.month
        case _:
            return at.year
