"""Every interleaving of writers, `forget` and `prune`: the real code, switched at each storage call, killed at each write.

How it is done, and what it leaves out, is in `tests.exploring`. Each test prints what it explored (`pytest -s`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.exploring import Exploration, Explored
from tests.interleavings import Judge, Promises, World, small_world
from tests.protocol_mistakes import Mistake, dead_not_condemned, deletes_before_the_generation, no_fencing
from tests.scheduling import Program


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Three snapshots are there; see `World`."""
    with small_world() as made:
        yield made


@pytest.fixture(scope="module")
def waste(world: World) -> World:
    """The same after two of them were forgotten: there are packs that are dead, and packs to repack."""
    return world.forgotten(world.both, world.other)


def exploration(world: World, *programs: Program, **options: Any) -> Exploration:
    judge = Judge(world)
    return Exploration(world.first, programs, judge, Promises(judge, {}), **options)


def explored(exploring: Exploration, record: Any = None, seconds: float = 1e9) -> Explored:
    """Everything, told to whoever looks."""
    done = exploring.explore(seconds)
    print(f"\n{', '.join(each.name for each in exploring.programs)}: {done}")
    if record is not None:
        record("explored", str(done).splitlines()[0])
    return done


# -- nothing is lost


def test_a_writer_and_a_pruner_of_which_one_may_be_killed(waste: World, record_property: Any) -> None:
    exploring = exploration(waste, waste.writer("writer1", "other"), waste.pruner("pruner1"), kills=1)
    done = explored(exploring, record_property)
    assert done.complete
    assert done.wrong == "", done
    assert any("fenced 1" in str(end) for end in exploring.outcomes("pruner1"))
    assert len(exploring.outcomes("writer1")) > 1, "it never had to go on under a new id"


# -- what would be found


@pytest.mark.parametrize("mistake", [no_fencing, deletes_before_the_generation])
def test_a_mistake_of_the_pruner_is_found(waste: World, mistake: Mistake) -> None:
    """Sessions that are not waited for; deleting what an index in force still names."""
    writer, pruner = waste.writer("writer1", "other"), waste.pruner("pruner1", patched=mistake)
    done = explored(exploration(waste, writer, pruner), seconds=60)
    assert done.wrong


def test_a_writer_that_relies_on_dead_packs_is_found(waste: World) -> None:
    writer = waste.writer("writer1", "other", patched=dead_not_condemned)
    done = explored(exploration(waste, writer, waste.pruner("pruner1")), seconds=60)
    assert done.wrong
