"""Delete what no snapshot needs, without a lock and without a private key (design, the prune protocol).

    fix N -> look -> plan N, put once -> sessions end -> look again -> generation N, put once -> delete -> done N -> tidy up

Writers never wait: from the moment a plan is there they do without what it condemns. A prune that broke off anywhere is
finished by the next one, whoever runs it.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from chunkstore.errors import Damaged, ObjectMissing, PruneRefused, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import stored_time
from chunkstore.format.runs import Plan, decode_plan, decode_plan_done, encode_plan
from chunkstore.ids import PackId
from chunkstore.operations.prune.carry_out import CarryingOut
from chunkstore.operations.prune.deleting import Deleting
from chunkstore.operations.prune.generation import Overtaken, newest_number, tidy_up, unnamed_segments
from chunkstore.operations.prune.plan import MAX_PACKS, Choice, choose
from chunkstore.operations.prune.sessions import Pause, Sessions, session_ids
from chunkstore.operations.prune.survey import Survey
from chunkstore.operations.prune.values import Findings, PruneOptions, PruneResult, Share
from chunkstore.progress import Progress
from chunkstore.repository.local_index import open_local_index
from chunkstore.repository.repository import Repository, Surroundings, numbers

_ATTEMPTS = 20
"""Plans of others that are met one after the other before giving up."""
_RUNS_TO_COMPACT = 16
"""Run indexes that are worth a generation although nothing is to be deleted."""


def prune(
    repository: Repository, options: PruneOptions, around: Surroundings, progress: Progress, pause: Pause
) -> PruneResult:
    """Finish a prune that is under way, then do what there is to do. `pause`: wait so many seconds.

    Raises `PruneRefused` when nothing may be deleted as things are; what was deleted before that was in use nowhere.
    """
    with _pruner(repository, options, around, progress, pause) as pruner:
        return pruner.run()


def examine(repository: Repository, options: PruneOptions, around: Surroundings, progress: Progress) -> Findings:
    """What a prune would find now. Nothing is changed in the repository."""
    with _pruner(repository, options, around, progress, _never) as pruner:
        return pruner.examine()


def give_up_plan(repository: Repository, number: int, around: Surroundings, progress: Progress) -> None:
    """Carry out the newest plan, which can not be read, as if it condemned nothing.

    Its generation then keeps everything; a pruner that still knows the plan finds that it has been decided.
    """
    with _pruner(repository, PruneOptions(), around, progress, _never) as pruner:
        pruner.give_up(number)


def _never(seconds: float) -> None:
    raise AssertionError("who only looks does not wait")


@contextlib.contextmanager
def _pruner(
    repository: Repository, options: PruneOptions, around: Surroundings, progress: Progress, pause: Pause
) -> Iterator[Pruner]:
    cache = around.places.cache_directory(repository.key.repository_id)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prune-", dir=cache)))
        index = stack.enter_context(contextlib.closing(open_local_index(around.places, repository.key.repository_id)))

        def survey() -> Survey:
            return Survey(repository, index, directory, progress)

        yield Pruner(repository, options, around, progress, pause, survey)


class Pruner:
    """One call of `prune`: as many plans as there is something to do for."""

    def __init__(
        self,
        repository: Repository,
        options: PruneOptions,
        around: Surroundings,
        progress: Progress,
        pause: Pause,
        survey: Callable[[], Survey],
    ) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._options = options
        self._around = around
        self._progress = progress
        self._survey = survey
        self._sessions = Sessions(repository, options, around, progress, pause)
        self._result = PruneResult()

    def run(self) -> PruneResult:
        self._refuse_without_fences()
        for _ in range(_ATTEMPTS):
            with contextlib.closing(self._survey()) as survey, contextlib.suppress(Overtaken):
                if not self._one_round(survey):
                    break
        self._result.fenced = self._sessions.fenced
        return self._result

    def _one_round(self, survey: Survey) -> bool:
        """Whether another look is worth it: a plan of somebody else was finished, or one plan could not hold everything."""
        highest = self._highest()
        plan = self._open_plan(highest)
        if plan is not None:
            if plan.condemned and not self._options.delete:
                raise PruneRefused(
                    f"prune {plan.number} is under way; the index is compacted by it. Whoever may delete has to finish it"
                )
            return self._carry_out(plan, survey, frozenset()) and self._options.delete
        if self._options.delete:
            self._tidy(highest, frozenset())
        unnamed = unnamed_segments(self._repository)
        survey.look()
        choice = self._choose(survey)
        if not choice and not self._worth_compacting(survey):
            return False
        if (plan := self._put_plan(highest + 1, choice)) is None:
            return True
        again = len(choice.dead) == MAX_PACKS or len(choice.orphans) == MAX_PACKS
        return self._carry_out(plan, survey, unnamed) and again

    def _choose(self, survey: Survey) -> Choice:
        usage = survey.usage()
        _, orphans = survey.packs.compared(survey.scan)
        found = choose(usage, orphans if self._options.delete else (), self._repository.config.pack_size, self._options)
        return found if self._options.delete else Choice.nothing()

    def _worth_compacting(self, survey: Survey) -> bool:
        runs = sum(1 for name in survey.index.sources() if name.startswith(names.RUNS))
        return runs >= (_RUNS_TO_COMPACT if self._options.delete else 2)

    # -- plans

    def _highest(self) -> int:
        """The highest number of a plan or a generation: it alone counts, and the next one comes after it."""
        plans = max(numbers(self._storage, names.PLANS), default=0)
        return max(plans, newest_number(self._repository))

    def _open_plan(self, number: int) -> Plan | None:
        """The plan of this number, if there is one that is not done. `PruneRefused` when it can not be read."""
        listed = {info.name for info in self._storage.list(names.PLANS)}
        if names.plan(number) not in listed or (names.plan_done(number) in listed and self._is_done(number)):
            return None
        try:
            _, body = self._repository.read(names.plan(number), ObjectKind.PLAN)
            return decode_plan(body, number)
        except ObjectMissing as e:
            raise Overtaken from e
        except (Damaged, UnsupportedFormat) as e:
            raise PruneRefused(
                f"the newest prune plan can not be read: {names.plan(number)}: {e}. Nothing is deleted. "
                f"`chunkstore repair exclude {names.plan(number)}` gives it up"
            ) from e

    def _is_done(self, number: int) -> bool:
        try:
            _, body = self._repository.read(names.plan_done(number), ObjectKind.PLAN_DONE)
            decode_plan_done(body, number)
        except ObjectMissing as e:
            raise Overtaken from e
        except (Damaged, UnsupportedFormat) as e:
            raise PruneRefused(
                f"the mark of a finished prune can not be read: {e}. Nothing is deleted. "
                f"`chunkstore repair exclude {names.plan_done(number)}` gives it up"
            ) from e
        return True

    def _put_plan(self, number: int, choice: Choice) -> Plan | None:
        """The plan, once it is there and counts; None when somebody else was first."""
        repository, around = self._repository, self._around
        generation = newest_number(self._repository)
        plan = Plan(number, stored_time(around.clock()), choice.dead, choice.repack, choice.orphans, generation)
        if not repository.create(ObjectKind.PLAN, names.plan(number), encode_plan(plan), around.random_bytes):
            return None
        if self._highest() > number:  # others went on while this one was looking
            self._storage.delete(names.plan(number))
            return None
        return plan

    def _carry_out(self, plan: Plan, survey: Survey, unnamed: frozenset[str]) -> bool:
        """False when sessions are still alive that the plan has to wait for."""
        self._result.number = plan.number
        if plan.condemned:
            probe = f"{names.plan(plan.number)}.clock-{self._around.random_bytes(8).hex()}"
            self._result.waiting = self._sessions.end_all(probe)
            if self._result.waiting:
                return False
        CarryingOut(survey, plan, self._around, self._result).run()
        if self._options.delete:
            self._tidy(plan.number, unnamed)
        return True

    def _tidy(self, number: int, unnamed: frozenset[str]) -> None:
        deleting = Deleting(self._storage, self._around, self._result, self._progress)
        tidy_up(self._repository, number, unnamed, deleting)

    def give_up(self, number: int) -> None:
        """See `give_up_plan`; nothing where that plan is not the newest any more."""
        if number == self._highest() and names.plan(number) in {i.name for i in self._storage.list(names.PLANS)}:
            none: frozenset[PackId] = frozenset()
            plan = Plan(number, stored_time(self._around.clock()), none, none, none, newest_number(self._repository))
            with contextlib.closing(self._survey()) as survey, contextlib.suppress(Overtaken):
                self._carry_out(plan, survey, frozenset())

    # -- before anything

    def _refuse_without_fences(self) -> None:
        if self._repository.config.conditional_writes or not session_ids(self._repository):
            return
        raise PruneRefused(
            "there are sessions of snapshots, and this storage can not be asked to create an object only where none is: "
            "nobody can tell a run that is alive from a dead one for certain. Nothing is deleted. When no snapshot is "
            "being made anywhere, `chunkstore repair sessions` removes what dead runs have left"
        )

    def examine(self) -> Findings:
        """See the function of this name."""
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(Overtaken):
                return self._examine_once()
        raise PruneRefused("other prunes change the repository faster than it can be looked at")

    def _examine_once(self) -> Findings:
        highest = self._highest()
        plan = self._open_plan(highest)
        with contextlib.closing(self._survey()) as survey:
            survey.look()
            choice = self._choose(survey)
            return Findings(
                snapshots=len(survey.known),
                stored=Share(survey.packs.count, survey.packs.size),
                used=choice.used,
                unused=choice.unused,
                copies=choice.copies,
                dead=choice.dead_share,
                repack=choice.repack_share,
                repack_used=choice.repack_used,
                orphans=choice.orphan_share,
                index_objects=len(survey.index.sources()),
                open_plan=plan.number if plan else None,
                sessions=self._sessions.look(),
            )
