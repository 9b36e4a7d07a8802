"""When `forget` had better do nothing: guards against forged snapshots, lost pins and rules that keep nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chunkstore.operations.forget.plan import ForgetPlan, Limits, plan_by_names, plan_by_rules
from chunkstore.operations.forget.policy import Candidate, Policy, SessionState
from tests.forgetting import DAY, HOUR, NS, at, candidate, utc

START = at("2026-03-02 10:00")
HOST_AND_PATHS = ("host", "paths")


def group(count: int, host: str = "host", **changes: object) -> list[Candidate]:
    return [candidate(START + number * DAY, host=host, **changes) for number in range(count)]  # type: ignore[arg-type]


def plan(
    everything: Sequence[Candidate], policy: Policy, limits: Limits | None = None, unreadable: Sequence[str] = ()
) -> ForgetPlan:
    return plan_by_rules(everything, everything, policy, HOST_AND_PATHS, utc, limits or Limits(), unreadable)


def test_each_host_and_set_of_paths_is_a_group_of_its_own() -> None:
    everything = [
        *group(4, "a"),
        *group(4, "b"),
        *group(4, "a", roots=(b"/etc", b"/home")),
        *group(2, "a", roots=(b"/home", b"/etc")),
    ]
    made = plan(everything, Policy(last=1), Limits(percent=100))
    assert [(each.group.host, each.group.paths, len(each.going)) for each in made.groups] == [
        ("a", (b"/etc", b"/home"), 5),
        ("a", (b"/home",), 3),
        ("b", (b"/home",), 3),
    ]
    assert (made.staying, len(made.going), made.others, made.refused) == (3, 11, 0, ())
    together = plan_by_rules(everything, everything, Policy(last=1), (), utc, Limits(percent=100))
    assert len(together.groups) == 1
    assert together.staying == 1


def test_what_was_not_chosen_is_counted_and_left_alone() -> None:
    everything = group(5, "a") + group(5, "b")
    made = plan_by_rules(everything, everything[:5], Policy(last=3), HOST_AND_PATHS, utc, Limits())
    assert (made.others, len(made.groups), len(made.going)) == (5, 1, 2)
    assert not made.refused


@pytest.mark.parametrize(
    ("size", "kept", "limits", "refused"),
    [
        (10, 5, Limits(), False),
        (10, 4, Limits(), True),
        (4, 1, Limits(), False),  # three may always go
        (5, 1, Limits(), True),
        (10, 1, Limits(percent=90), False),
        (10, 1, Limits(percent=89), True),
        (10, 1, Limits(percent=100), False),
        (10, 5, Limits(None, 5), False),
        (10, 5, Limits(None, 4), True),
        (3, 1, Limits(None, 1), True),
    ],
)
def test_a_group_that_shrinks_too_much_is_refused(size: int, kept: int, limits: Limits, refused: bool) -> None:
    made = plan(group(size), Policy(last=kept), limits)
    assert bool(made.refused) is refused
    if refused:
        assert f"{size - kept} of {size} snapshots would go" in made.refused[0]
        assert f"--max-removed {size - kept}" in made.refused[0]
        assert not plan(group(size), Policy(last=kept), Limits(None, size - kept)).refused


def test_every_group_that_shrinks_too_much_is_named() -> None:
    made = plan(group(20, "a") + group(3, "b") + group(30, "c"), Policy(last=2))
    assert [text.partition(":")[0] for text in made.refused] == ["host a, /home", "host c, /home"]


def test_a_flood_of_snapshots_of_today_is_refused() -> None:
    """A stolen client makes as many as the rule keeps, all with true dates."""
    good = group(10)
    flood = [candidate(START + 10 * DAY + number * HOUR) for number in range(8)]
    assert plan([*good, *flood], Policy(last=7)).refused


def test_records_that_are_not_believed_do_not_make_a_group_look_larger() -> None:
    good = group(10)
    forged = [candidate(START + number * 900 * DAY, stored=START / NS) for number in range(1, 50)]
    assert plan([*good, *forged], Policy(last=1)).refused
    assert len(plan([*good, *forged], Policy(last=1)).going) == 9


def test_many_partial_snapshots_of_one_run_do_not_count_for_the_guard() -> None:
    checkpoints = [candidate(START + number * HOUR, partial=True) for number in range(100)]
    made = plan([*checkpoints, candidate(START + 20 * DAY)], Policy(last=3))
    assert len(made.going) == 100
    assert not made.refused


def test_a_group_is_not_emptied_unless_that_is_said() -> None:
    everything = group(3, "a") + group(3, "b", tags=("kept",))
    rule = Policy(tags=(frozenset({"kept"}),))
    assert ["host a, /home: nothing would be left" in text for text in plan(everything, rule).refused] == [True]
    assert not plan(everything, rule, Limits(whole_groups=True)).refused
    many = group(9, "a") + group(3, "b", tags=("kept",))
    assert "--max-removed 9" in plan(many, rule, Limits(whole_groups=True)).refused[0]
    assert not plan(many, rule, Limits(None, 9, whole_groups=True)).refused


def test_the_repository_is_never_emptied_by_a_rule() -> None:
    everything = group(3)
    rule, limits = Policy(tags=(frozenset({"x"}),)), Limits(100, whole_groups=True)
    assert any("would be left in the repository" in text for text in plan(everything, rule, limits).refused)


def test_what_is_not_believed_or_partial_is_not_what_is_left() -> None:
    good = group(3)
    others = [candidate(START, stored=5.0, host="b"), candidate(START, partial=True, host="c")]
    rule, limits = Policy(tags=(frozenset({"x"}),)), Limits(100, whole_groups=True)
    made = plan([*good, *others], rule, limits)
    assert any("would be left in the repository" in text for text in made.refused)


def test_nothing_to_forget_is_nothing_to_refuse() -> None:
    assert plan([], Policy(last=1)) == ForgetPlan((), 0, ())
    assert not plan(group(3), Policy(last=5)).refused


def test_no_rule_is_applied_while_something_can_not_be_read() -> None:
    names = [f"amendments/{number:032x}" for number in range(5)]
    (text,) = plan(group(5), Policy(last=4), unreadable=names).refused
    assert names[0] in text
    assert "and 2 more" in text
    assert "chunkstore repair exclude" in text


# -- by name


def test_named_snapshots_go_and_nothing_else() -> None:
    everything = group(5)
    made = plan_by_names(everything, everything[3:1:-1])
    assert made.going == everything[2:4]
    assert (made.others, made.staying, made.refused) == (3, 0, ())


def test_a_pinned_one_is_refused_and_one_with_a_session_stays() -> None:
    everything = [*group(2), candidate(START, pinned=True), candidate(START, session=SessionState.OPEN)]
    made = plan_by_names(everything, everything[2:])
    assert made.going == []
    assert "unpin" in made.refused[0]
    assert everything[2].id[:8] in made.refused[0]


def test_the_last_one_is_refused() -> None:
    everything = [*group(3), candidate(START, partial=True)]
    assert not plan_by_names(everything, everything[:2]).refused
    assert plan_by_names(everything, everything[:3]).refused
    old = group(2, stored=5.0)  # dates do not matter where a person names them
    assert not plan_by_names(old, old[:1]).refused
