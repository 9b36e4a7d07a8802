"""The rules of `forget`, compared with a second, naive reading of them; and what holds for all policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from chunkstore.operations.forget.policy import PERIODS, Candidate, Policy, counted, decide
from tests.forgetting import HOUR, NS, at, candidate, staying, utc

START = at("2023-12-28 00:00")
COUNTS = ("last", *PERIODS)

counts = st.integers(0, 5)
policies = st.builds(
    Policy,
    last=counts,
    hourly=counts,
    daily=counts,
    weekly=counts,
    monthly=counts,
    yearly=counts,
    within=st.one_of(st.none(), st.integers(0, 40 * 86400)),
    tags=st.lists(st.frozensets(st.sampled_from("ab"), min_size=1), max_size=2).map(tuple),
)
candidates = st.builds(
    candidate,
    st.one_of(st.integers(0, 60), st.integers(0, 20_000)).map(lambda hours: START + hours * HOUR),
    tags=st.lists(st.sampled_from("ab"), unique=True).map(tuple),
    pinned=st.booleans(),
    partial=st.sampled_from([False, False, False, True]),
    stored=st.sampled_from([None, None, None, 5.0]),
)
groups = st.lists(candidates, max_size=30)


def ids(found: Sequence[Candidate]) -> set[str]:
    return {each.id for each in found}


def names_of(each: Candidate, rule: str) -> object:
    when = datetime.fromtimestamp(each.order[0] // NS, UTC)
    formats = {"hourly": "%Y%m%d%H", "daily": "%Y%m%d", "weekly": "%G-%V", "monthly": "%Y%m", "yearly": "%Y"}
    return each.id if rule == "last" else when.strftime(formats[rule])


def reference(pool: Sequence[Candidate], policy: Policy) -> set[str]:
    """What rules keep, read from their description: slowly, rule by rule."""
    kept: set[str] = set()
    for rule in COUNTS:
        newest_of_each = [
            each
            for each in pool
            if not any(other.order > each.order and names_of(other, rule) == names_of(each, rule) for other in pool)
        ]
        newest_of_each.sort(key=lambda each: each.order)
        n = getattr(policy, rule)
        kept |= ids(newest_of_each[max(len(newest_of_each) - n, 0) :])
        if len(newest_of_each) < n:
            kept |= ids(sorted(pool, key=lambda each: each.order)[:1])
    for each in pool:
        if any(wanted <= set(each.snapshot.tags) for wanted in policy.tags):
            kept.add(each.id)
        if policy.within is not None and max(other.order[0] for other in pool) - each.order[0] <= policy.within * NS:
            kept.add(each.id)
    return kept


@given(groups, policies)
def test_the_rules_agree_with_a_second_reading(group: list[Candidate], policy: Policy) -> None:
    pool = counted(group)
    whole = [each for each in pool if not each.snapshot.record.partial]
    expected = reference(pool, policy)
    for each in group:
        disbelieved = each.stored == 5.0
        later = [other for other in whole if other.snapshot.record.end >= each.snapshot.record.end]
        alone = bool(whole) and each.snapshot.record.partial and not later
        if each.snapshot.pinned or disbelieved or alone:
            expected.add(each.id)
    assert ids(staying(decide(group, policy, utc))) == expected


@given(groups, policies)
def test_a_rule_never_keeps_more_than_its_number(group: list[Candidate], policy: Policy) -> None:
    for rule in COUNTS:
        keepers = [each for each in decide(group, policy, utc) if any(reason.rule == rule for reason in each.reasons)]
        assert len(keepers) <= getattr(policy, rule)


@given(groups, policies, st.sampled_from(COUNTS), st.integers(1, 4))
def test_a_larger_number_never_removes_more(group: list[Candidate], policy: Policy, rule: str, more: int) -> None:
    larger = replace(policy, **{rule: getattr(policy, rule) + more})
    assert ids(staying(decide(group, policy, utc))) <= ids(staying(decide(group, larger, utc)))


@given(groups, policies, st.integers())
def test_the_order_in_which_snapshots_are_found_means_nothing(
    group: list[Candidate], policy: Policy, seed: int
) -> None:
    shuffled = Random(seed).sample(group, len(group))
    assert decide(group, policy, utc) == decide(shuffled, policy, utc)


def are_partial(pool: list[Candidate]) -> bool:
    return all(each.snapshot.record.partial for each in pool)


@given(groups, policies)
def test_who_forgets_twice_forgets_no_more(group: list[Candidate], policy: Policy) -> None:
    """But where no rule keeps a complete snapshot: partial ones that came after the last are what the rules are about then."""
    once = staying(decide(group, policy, utc))
    assume(are_partial(counted(once)) == are_partial(counted(group)))
    assert ids(staying(decide(once, policy, utc))) == ids(once)


@given(groups, policies)
def test_every_snapshot_is_judged_once_and_with_a_reason(group: list[Candidate], policy: Policy) -> None:
    decisions = decide(group, policy, utc)
    assert sorted(each.candidate.id for each in decisions) == sorted(each.id for each in group)
    assert all(each.reasons for each in decisions)


@given(groups, policies, st.lists(st.integers(-(10**6), 10**6), max_size=10))
def test_forged_dates_push_nobody_out(group: list[Candidate], policy: Policy, offsets: list[int]) -> None:
    """Complete records that appear today and claim any day but today: whatever stayed stays."""
    today = (START + 30_000 * HOUR) / NS
    forged = [candidate(START + 30_000 * HOUR + n * HOUR, stored=today) for n in offsets if abs(n) > 25]
    before, after = decide(group, policy, utc), decide([*group, *forged], policy, utc)
    assert ids(staying(before)) <= ids(staying(after))
