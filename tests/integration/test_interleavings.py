"""Every interleaving of writers, `forget` and `prune`: the real code, switched at each storage call, killed at each write.

How it is done, and what it leaves out, is in `tests.exploring`; which programs, in `tests.interleaving_cases`. Each test prints
what it explored (`pytest -s`); `python -m benchmarks.interleavings` makes a table of all of it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.explored import Explored
from tests.interleaving_cases import KILLED, LARGE, MISTAKES, SMALL, Case, Done, explore
from tests.interleavings import small_world

Record = Callable[[str, object], None]


def titles(cases: list[Case]) -> list[str]:
    return [f"{case.title}{'' if case.bound is None else f' ({case.bound})'}" for case in cases]


def told(case: Case, record_property: Record) -> Done:
    """Everything, told to whoever looks."""
    done = explore(case)
    print(f"\n{case.title}: {done.explored}")
    record_property("explored", str(done.explored).splitlines()[0])
    return done


IN_EACH_RUN = ("no fencing", "orphans not condemned")


@pytest.mark.parametrize("case", SMALL, ids=titles(SMALL))
def test_every_committed_snapshot_is_whole_whatever_the_order(case: Case, record_property: Record) -> None:
    done = told(case, record_property)
    assert done.explored.wrong == "", str(done.explored)
    assert done.explored.complete or case.walks, "there was no time for all of it"
    assert done.explored.interleavings > 1
    if case is KILLED:
        assert {
            "writer1: committed, 2 ids",
            "writer1: killed",
            "pruner1: fenced 1",
            "pruner1: killed",
        } <= done.hows.keys()


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", LARGE, ids=titles(LARGE))
def test_the_same_at_length(case: Case, record_property: Record) -> None:
    done = told(case, record_property)
    assert done.explored.wrong == "", str(done.explored)


@pytest.mark.parametrize(
    "mistake", [each if each in IN_EACH_RUN else pytest.param(each, marks=pytest.mark.exhaustive) for each in MISTAKES]
)
def test_a_mistake_in_the_protocol_is_found(mistake: str, record_property: Record) -> None:
    done: Explored = told(MISTAKES[mistake], record_property).explored
    assert "lost" in done.wrong or "gone" in done.wrong, str(done)
    assert done.trace, "and it says how"


def test_what_was_found_can_be_done_again() -> None:
    """Code that runs anew, in the order that was found, makes the same calls and gets the same answers."""
    case = MISTAKES["no fencing"]
    with small_world(case.old, lean=case.lean) as world:
        found = case.exploration(world).explore()
        assert case.exploration(world).tell(found.schedule) == found.trace
