"""Which programs are explored together: for the tests, and for `benchmarks/interleavings.py`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from chunkstore.ids import SnapshotId
from tests import protocol_mistakes as mistakes
from tests.explored import Explored
from tests.exploring import Exploration
from tests.interleaving_judge import Judge, Promises, how
from tests.interleavings import PATIENT, Mistake, World, small_world
from tests.scheduling import Program

Programs: TypeAlias = Callable[[World], Sequence[Program]]
Start: TypeAlias = tuple[tuple[int, str], ...]
"""Which programs have gone on alone, one after the other, and until which call ("": to the end), before all begins."""


@dataclass(frozen=True)
class Case:
    """Programs beside each other. `old`, `lean`: see `small_world`; `kept`: `old` is not forgotten before.

    `bound`: at most so many pre-emptions, None: every interleaving. `walks`: so many at random instead. `seconds` of CPU time: it
    stops then, and says so; `deeper`: the case that takes minutes. `readers`: the programs that read `old`.
    """

    title: str
    programs: Programs
    old: str = "both"
    lean: bool = True
    kept: bool = False
    start: Start = ()
    kills: int = 0
    bound: int | None = None
    walks: int = 0
    seconds: float = 60.0
    allowed: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()

    def exploration(self, world: World) -> Exploration:
        """For a world that `small_world` made."""
        world = world if self.kept else world.waste
        judge = Judge(world)
        readers: Mapping[str, SnapshotId] = dict.fromkeys(self.readers, world.old)
        promises = Promises(judge, readers, self.allowed)
        exploring = Exploration(world.first, self.programs(world), judge, promises, self.kills, self.bound)
        for who, until in self.start:
            exploring.go_on_alone(who, until)
        return exploring


@dataclass
class Done:
    """What became of a case. `hows`: how programs ended, and in how many last states."""

    case: Case
    explored: Explored
    hows: Counter[str] = field(default_factory=Counter)


def explore(case: Case, seed: int = 1) -> Done:
    """Explore a case in a world of its own."""
    with small_world(case.old, lean=case.lean) as world:
        exploring = case.exploration(world)
        found = exploring.walks(random.Random(seed), case.walks) if case.walks else exploring.explore(case.seconds)
    done = Done(case, found)
    for ended, states in found.endings.items():
        done.hows[f"{ended.name}: {how(ended)}"] += states
    return done


# -- nothing is lost


def _writer_and(*others: Callable[[World], Program], tree: str = "") -> Programs:
    return lambda world: [world.writer("writer1", tree or world.of), *(each(world) for each in others)]


def _pruner(number: int) -> Callable[[World], Program]:
    return lambda world: world.pruner(f"pruner{number}")


def _forget_old(world: World) -> Program:
    return world.forget("forget1", world.old)


def _reader(world: World) -> Program:
    return world.reader("reader1", world.old, world.of)


def _two_writers(world: World) -> Sequence[Program]:
    return [world.writer("writer1", world.of), world.writer("writer2", "new"), world.pruner("pruner1")]


def _same_twice(world: World) -> Sequence[Program]:
    return [world.writer(f"writer{n}", world.of) for n in (1, 2)] + [world.pruner("pruner1")]


def _checkpoints(world: World) -> Sequence[Program]:
    return [world.writer("writer1", "deep", checkpoint_every=1), world.pruner("pruner1")]


def _stuttering(world: World) -> Sequence[Program]:
    return [world.writer("writer1", world.of, stutters=True), world.forget("forget1"), world.pruner("pruner1")]


def _patient(world: World) -> Sequence[Program]:
    return [world.writer("writer1", world.of), world.pruner("pruner1", PATIENT)]


def _many(world: World) -> Sequence[Program]:
    writers = [world.writer(f"writer{n}", tree) for n, tree in enumerate(("both", "other", "new"), 1)]
    pruners = [world.pruner(f"pruner{n}") for n in (1, 2)]
    return [*writers, *pruners, _forget_old(world), _reader(world)]


def _resumed(world: World) -> Sequence[Program]:
    pruners = [world.pruner(f"pruner{n}") for n in (1, 2)]
    return [world.writer("writer1", world.of), *pruners, world.forget("forget1")]


_ANOTHER_PRUNE = ("a prune has made a new index meanwhile", "another prune has just begun")

_ASKED: Start = ((0, "put_if_absent snapshots/"),)
_COMMITTED: Start = (*_ASKED, (1, "list sessions/"), (0, ""))
"""The first process, a writer, committed after the second, a pruner, had put a plan that names what the snapshot needs."""
KILLED = Case(
    "a writer and a pruner, one killed", _writer_and(_pruner(1)), old="half", lean=False, kills=1
)  # fmt: skip
REPACKED = Case(
    "a writer of something new and a pruner that repacks, one killed",
    _writer_and(_pruner(1), tree="other"),
    kills=1,
    seconds=300,
)
TWO_WRITERS = Case("two writers and a pruner", _two_writers, old="half", bound=1)
TWO_PRUNERS = Case(
    "a writer and two pruners, one killed", _writer_and(_pruner(1), _pruner(2)), old="half", bound=0, kills=1
)
SMALL = [
    KILLED,
    TWO_WRITERS,
    TWO_PRUNERS,
    Case("a writer, a forget and a pruner", _writer_and(_forget_old, _pruner(1)), kept=True, bound=2),
    Case("a commit asked for twice, a forget and a pruner", _stuttering, old="half", bound=1),
    Case("a reader of what a pruner repacks", lambda w: [w.reader("reader1", w.one, "one"), w.pruner("pruner1")]),
    Case(
        "a reader, a forget and a pruner", lambda w: [_reader(w), _forget_old(w), w.pruner("pruner1")], kept=True, kills=1,
        readers=("reader1",),
    ),
    Case(
        "a forget while two pruners carry out one plan", _resumed, old="half", bound=0,
        start=(*_COMMITTED, (1, "list index/run"), (3, "delete snapshots/")),
    ),
    Case("checkpoints and a pruner", _checkpoints, old="half", bound=1),
    Case("a writer and a pruner that waits", _patient, old="half"),
    Case("a writer and repair index", _writer_and(lambda w: w.repairer("repair1"), tree="other"), allowed=_ANOTHER_PRUNE),
    Case(
        "three writers, two pruners, a forget and a reader at random", _many, kept=True, kills=2, walks=15, readers=("reader1",),
        lean=False,
    ),
]  # fmt: skip
"""Each takes seconds."""
LARGE = [
    REPACKED,
    Case("two writers of the same and a pruner", _same_twice, seconds=1800),
    Case("two writers and a pruner, one killed", _two_writers, old="half", bound=2, kills=1, seconds=1800),
    Case("a writer and two pruners", _writer_and(_pruner(1), _pruner(2)), old="half", seconds=3600),
    Case("a writer and two pruners", _writer_and(_pruner(1), _pruner(2)), old="half", bound=1, seconds=1800),
    Case(
        "a forget while two pruners carry out one plan", _resumed, old="half", bound=1, start=_COMMITTED, seconds=1800,
    ),
    Case("a writer and two pruners", _writer_and(_pruner(1), _pruner(2)), old="half", bound=2, seconds=1800),
    Case("a writer and two pruners, one killed", _writer_and(_pruner(1), _pruner(2)), old="half", bound=1, kills=1, seconds=1800),
    Case("a writer, a forget and a pruner", _writer_and(_forget_old, _pruner(1)), kept=True, bound=2, kills=1, seconds=1800),
    Case("checkpoints and a pruner", _checkpoints, old="half", seconds=1800),
    Case(
        "three writers, two pruners, a forget and a reader at random", _many, kept=True, kills=2, walks=5000,
        readers=("reader1",), lean=False,
    ),
]  # fmt: skip
"""Each takes minutes."""

# -- what would be found


def _mistaken_writer(mistake: Mistake, tree: str = "") -> Programs:
    return lambda world: [world.writer("writer1", tree or world.of, patched=mistake), world.pruner("pruner1")]


def _mistaken_pruner(mistake: Mistake, tree: str = "") -> Programs:
    return lambda world: [world.writer("writer1", tree or world.of), world.pruner("pruner1", patched=mistake)]


def _orphans(world: World) -> Sequence[Program]:
    second = world.writer("writer2", "new", patched=mistakes.orphans_not_condemned)
    return [world.writer("writer1", "new"), second, world.pruner("pruner1")]


def _forgotten_open(world: World) -> Sequence[Program]:
    writer, _, pruner = _stuttering(world)
    return [writer, world.forget("forget1", patched=mistakes.forgets_open_sessions), pruner]


def _by_own_listing(world: World) -> Sequence[Program]:
    pruners = [world.pruner(f"pruner{n}", patched=mistakes.deletes_by_own_listing) for n in (1, 2)]
    return [world.writer("writer1", world.of), *pruners, world.forget("forget1")]


_STORED = (0, "put_if_absent index/run")


def _second_plan(world: World) -> Sequence[Program]:
    pruner2 = world.pruner("pruner2", patched=mistakes.second_plan_beside_an_open_one)
    return [world.writer("writer1", "half"), world.pruner("pruner1"), pruner2, world.forget("forget1")]


MISTAKES = {
    "orphans not condemned": Case("", _orphans, bound=2, start=(_STORED, (2, "list sessions/"))),
    "repacked packs not condemned": Case("", _mistaken_writer(mistakes.repacked_not_condemned, "other"), bound=1),
    "dead packs not condemned": Case("", _mistaken_writer(mistakes.dead_not_condemned), old="half", bound=1),
    "index before plans": Case("", _mistaken_writer(mistakes.index_before_plans), bound=2),
    "session last": Case("", _mistaken_writer(mistakes.session_last), bound=2),
    "taken over blindly": Case("", _mistaken_writer(mistakes.takes_over_blindly), bound=1),
    "commits over tombstones": Case("", _mistaken_writer(mistakes.commits_over_tombstones), bound=2),
    "no fencing": Case("", _mistaken_pruner(mistakes.no_fencing), bound=2),
    "fences before the plan": Case("", _mistaken_pruner(mistakes.fences_before_the_plan), bound=2),
    "orphans not among the dropped": Case("", _mistaken_pruner(mistakes.orphans_not_dropped, "new"), start=(_STORED,)),
    "no second look": Case("", _mistaken_pruner(mistakes.no_second_look), bound=2),
    "deletes before the generation": Case("", _mistaken_pruner(mistakes.deletes_before_the_generation), old="half"),
    "deletes by its own listing": Case(
        "",
        _by_own_listing,
        old="half",
        bound=1,
        start=(*_COMMITTED, (1, "list index/run"), (3, "delete snapshots/")),
    ),
    "a second plan beside an open one": Case(
        "",
        _second_plan,
        bound=0,
        start=(*_COMMITTED, (2, "put_if_absent index/generation"), (3, "delete snapshots/")),
    ),
    "forgets what may be committed again": Case(
        "", _forgotten_open, old="half", bound=2, start=(*_ASKED, (2, "list sessions/"))
    ),
}
"""A mistake each, in programs whose exploration finds it."""
