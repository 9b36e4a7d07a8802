"""The rules of `forget`: which snapshots stay, and what is said of each."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from chunkstore.format.records import Original
from chunkstore.ids import RepositoryId
from chunkstore.operations.forget.policy import Candidate, Policy, SessionState, counted_time, decide
from tests.forgetting import DAY, HOUR, NS, at, candidate, record, staying, utc, why

START = at("2026-03-02 10:00")  # a Monday


def daily(count: int, start: int = START) -> list[Candidate]:
    return [candidate(start + number * DAY) for number in range(count)]


def test_last_counts_from_the_newest() -> None:
    group = [candidate(START + number * HOUR) for number in range(5)]
    assert why(decide(group, Policy(last=2), utc)) == [*["(no rule keeps it)"] * 3, "last 2 of 2", "last 1 of 2"]
    assert staying(decide(group, Policy(last=9), utc)) == group


def test_a_period_keeps_its_newest() -> None:
    times = ["2026-03-02 10:00", "2026-03-02 22:00", "2026-03-03 01:00", "2026-03-05 08:00", "2026-03-05 09:00"]
    group = [candidate(at(text)) for text in times]
    assert why(decide(group, Policy(daily=2), utc)) == [
        "(no rule keeps it)",
        "(no rule keeps it)",
        "daily 2 of 2",
        "(no rule keeps it)",
        "daily 1 of 2",
    ]


def test_days_without_a_snapshot_do_not_count() -> None:
    group = [candidate(at(text)) for text in ("2020-01-01 00:00", "2023-05-05 00:00", "2026-03-03 00:00")]
    assert staying(decide(group, Policy(daily=3), utc)) == group


def test_where_a_rule_has_places_left_the_oldest_gets_one() -> None:
    group = [candidate(START + number * HOUR) for number in range(4)]
    assert why(decide(group, Policy(daily=7), utc)) == [
        "daily 2 of 7, the oldest",
        "(no rule keeps it)",
        "(no rule keeps it)",
        "daily 1 of 7",
    ]
    assert why(decide(group, Policy(daily=1), utc))[0] == "(no rule keeps it)"


@pytest.mark.parametrize(
    ("period", "same", "other"),
    [
        ("hourly", "2026-03-02 10:59", "2026-03-02 11:00"),
        ("daily", "2026-03-02 23:59", "2026-03-03 00:00"),
        ("weekly", "2026-03-08 23:59", "2026-03-09 00:00"),
        ("monthly", "2026-03-31 23:59", "2026-04-01 00:00"),
        ("yearly", "2026-12-31 23:59", "2027-01-01 00:00"),
    ],
)
def test_where_periods_end(period: str, same: str, other: str) -> None:
    """Three snapshots, so that the one that is judged is not the oldest."""
    oldest, first = candidate(at("2025-06-01 00:00")), candidate(START)
    policy = Policy(**{period: 2})  # type: ignore[arg-type]
    assert first not in staying(decide([oldest, first, candidate(at(same))], policy, utc))
    assert first in staying(decide([oldest, first, candidate(at(other))], policy, utc))


def test_weeks_are_those_of_the_iso_calendar() -> None:
    """The last days of 2024 are in the first week of 2025; the first of January 2027 in the last of 2026."""
    for earlier, later, together in (
        ("2024-12-30 12:00", "2025-01-05 12:00", True),
        ("2026-12-28 12:00", "2027-01-03 12:00", True),
        ("2027-01-03 12:00", "2027-01-04 12:00", False),
    ):
        group = [candidate(at("2020-01-01 00:00")), candidate(at(earlier)), candidate(at(later))]
        assert (group[1] not in staying(decide(group, Policy(weekly=2), utc))) is together


def test_days_are_those_of_whoever_made_the_rule() -> None:
    group = [candidate(at("2026-01-01 00:00")), candidate(at("2026-03-02 23:30")), candidate(at("2026-03-03 08:00"))]
    assert group[1] in staying(decide(group, Policy(daily=2), utc))
    berlin = ZoneInfo("Europe/Berlin")
    assert group[1] not in staying(decide(group, Policy(daily=2), lambda instant: instant.astimezone(berlin)))


def test_an_hour_that_clocks_show_twice_is_two_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    group = [candidate(at(text)) for text in ("2026-10-01 00:00", "2026-10-25 00:30", "2026-10-25 01:30")]
    walls = {datetime.fromtimestamp(each.order[0] // NS, berlin).hour for each in group[1:]}
    assert walls == {2}
    assert group[1] in staying(decide(group, Policy(hourly=2), lambda instant: instant.astimezone(berlin)))


def test_within_counts_from_the_newest_and_asks_no_clock() -> None:
    group = daily(40, at("1999-01-01 00:00"))
    kept = staying(decide(group, Policy(within=30 * 86400), utc))
    assert kept == group[-31:]
    assert why(decide(group, Policy(within=30 * 86400), utc))[-1] == "within 30d of the newest"


def test_tags_and_pins_stay_and_count() -> None:
    group = [
        candidate(START, tags=("a", "b")),
        candidate(START + DAY, tags=("a",)),
        candidate(START + 2 * DAY, pinned=True),
        candidate(START + 3 * DAY),
    ]
    policy = Policy(last=2, tags=(frozenset({"b", "a"}), frozenset({"x"})))
    assert why(decide(group, policy, utc)) == ["tag a,b", "(no rule keeps it)", "pinned, last 2 of 2", "last 1 of 2"]


def test_each_rule_that_keeps_a_snapshot_is_named() -> None:
    group = [candidate(START)]
    policy = Policy(1, 1, 1, 1, 1, 1, 60)
    assert why(decide(group, policy, utc)) == [
        "last 1 of 1, hourly 1 of 1, daily 1 of 1, weekly 1 of 1, monthly 1 of 1, yearly 1 of 1, within 1m00s of the newest"
    ]


# -- partial ones


def test_partial_snapshots_go_when_a_complete_one_came_and_take_no_place() -> None:
    group = [
        candidate(START, partial=True),
        candidate(START + DAY),
        candidate(START + 2 * DAY, partial=True),
        candidate(START + 3 * DAY),
        candidate(START + 4 * DAY, partial=True),
        candidate(START + 5 * DAY, partial=True),
    ]
    newest = group[3].id[:8]
    assert why(decide(group, Policy(last=2), utc)) == [
        f"(partial, and {newest} is complete)",
        "last 2 of 2",
        f"(partial, and {newest} is complete)",
        "last 1 of 2",
        "partial, and no complete one came after it",
        "partial, and no complete one came after it",
    ]


def test_what_a_run_left_on_its_way_goes_when_it_has_come_to_its_end() -> None:
    """All have the start of the run."""
    for hours in (3, 100):
        group = [candidate(START, end=START + number * HOUR, partial=number < hours) for number in range(1, hours + 1)]
        assert staying(decide(group, Policy(last=5), utc)) == group[-1:]


def test_where_all_are_partial_rules_count_them() -> None:
    group = [candidate(START + number * DAY, partial=True) for number in range(3)]
    assert staying(decide(group, Policy(last=2), utc)) == group[1:]


def test_a_partial_one_that_is_pinned_stays() -> None:
    group = [candidate(START, partial=True, pinned=True), candidate(START + DAY)]
    assert staying(decide(group, Policy(last=1), utc)) == group


# -- dates


def test_a_date_that_the_storage_does_not_confirm_takes_no_place_and_stays() -> None:
    honest = daily(4)
    stored = (START + 4 * DAY) / NS
    forged = [candidate(START + number * 400 * DAY, stored=stored) for number in (-3, 1, 2, 3)]
    decisions = decide([*honest, *forged], Policy(last=2, yearly=1), utc)
    assert staying(decisions) == sorted([*honest[2:], *forged], key=lambda each: each.order)
    texts = dict(zip((each.candidate for each in decisions), why(decisions), strict=True))
    assert {texts[each] for each in forged} == {"stored 2026-03-06: its date is not believed"}


def test_what_calls_itself_a_copy_is_believed_no_more_than_others() -> None:
    """Whoever can forge a date can forge that: one for each day of the past would push every good one out."""
    stored = (START + 9 * DAY) / NS
    original = Original(RepositoryId(b"r" * 32), candidate(START).id)
    forged = [candidate(START + number * DAY + HOUR, stored=stored, original=original) for number in range(7)]
    good = daily(7)
    decisions = decide([*good, *forged], Policy(daily=7), utc)
    assert all(each.stays for each in decisions)
    texts = dict(zip((each.candidate for each in decisions), why(decisions), strict=True))
    assert {texts[each] for each in forged} == {"a copy, stored 2026-03-11: its date is not believed"}
    believed = decide(forged, Policy(last=1), utc, believed_before=stored + 1)
    assert staying(believed) == forged[-1:]


def test_a_time_of_the_storage_that_no_calendar_has_is_another_time() -> None:
    for stored in (1e300, -1e300, 1e14):
        (text,) = why(decide([candidate(START, stored=stored)], Policy(last=1), utc))
        assert text == "stored at another time: its date is not believed"


@pytest.mark.parametrize(("off", "believed"), [(0, True), (23, True), (-23, True), (25, False), (-25, False)])
def test_a_day_of_disagreement_is_allowed(off: int, believed: bool) -> None:
    """Of two with `last=1` the older one goes, unless its date is not believed."""
    older = candidate(START, stored=(START + off * HOUR) / NS)
    assert (older in staying(decide([older, candidate(START + 30 * DAY)], Policy(last=1), utc))) is not believed


def test_what_the_storage_does_not_say_is_not_judged() -> None:
    unknown = replace(candidate(START), stored=None)
    assert [each.stays for each in decide([unknown, candidate(START + DAY)], Policy(last=1), utc)] == [False, True]


def test_a_long_run_is_honest_and_counts_when_it_ended() -> None:
    """Its record is stored at its end; its start could be any day, so that it takes no place in the past."""
    long = candidate(START, end=START + 20 * DAY)
    assert counted_time(long.snapshot.record) == START + 20 * DAY
    good = [candidate(START + number * DAY - HOUR) for number in range(15)]
    decisions = decide([long, *good], Policy(daily=16), utc)
    assert [each.stays for each in decisions] == [True] * 16
    assert decisions[-1].candidate == long


def test_a_forged_start_does_not_take_the_place_of_that_day() -> None:
    good = daily(10)
    forged = [
        candidate(START + number * DAY + HOUR, end=START + 10 * DAY, stored=(START + 10 * DAY) / NS)
        for number in range(9)
    ]
    kept = staying(decide([*good, *forged], Policy(daily=7), utc))
    assert [each for each in kept if each in good] == good[-6:]


def test_a_start_after_the_end_is_not_believed() -> None:
    forged = candidate(START + 900 * DAY, end=START)
    assert why(decide([forged, candidate(START - DAY)], Policy(last=1), utc)) == [
        "last 1 of 1",
        "stored 2026-03-02: its date is not believed",
    ]


def test_a_copied_repository_keeps_everything_until_its_times_are_believed() -> None:
    copied_at = (START + 300 * DAY) / NS
    group = [candidate(START + number * DAY, stored=copied_at + number) for number in range(10)]
    newer = candidate(START + 301 * DAY)
    assert staying(decide([*group, newer], Policy(last=2), utc)) == [*group, newer]
    decisions = decide([*group, newer], Policy(last=2), utc, believed_before=copied_at + 3600)
    assert staying(decisions) == [group[-1], newer]
    forged = candidate(START + 5 * DAY, stored=copied_at + 7200)
    assert forged in staying(decide([*group, newer, forged], Policy(last=2), utc, believed_before=copied_at + 3600))


# -- sessions


def test_a_snapshot_whose_session_is_not_over_stays_and_counts() -> None:
    group = [
        candidate(START, session=SessionState.OPEN),
        candidate(START + DAY, session=SessionState.STALE),
        candidate(START + 2 * DAY, session=SessionState.OPEN),
    ]
    assert why(decide(group, Policy(last=1), utc)) == ["its session is not over", "(no rule keeps it)", "last 1 of 1"]


def test_an_empty_policy_is_none() -> None:
    assert not Policy()
    assert Policy(within=0)
    assert Policy(tags=(frozenset({"a"}),))


def test_times_that_no_calendar_should_have_do_no_harm() -> None:
    group = [candidate(time) for time in (0, 2**63 - 2 * NS)]
    assert staying(decide(group, Policy(last=1, hourly=1, daily=1, weekly=1, monthly=1, yearly=1), utc)) == group[1:]
    assert counted_time(record(5, end=0)) == 5
