"""Reading generations of the index where deletions follow from them, and deleting what the newest made useless."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from chunkstore.errors import Damaged, ObjectMissing, PruneRefused, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.index import Generation, decode_generation
from chunkstore.format.kinds import ObjectKind
from chunkstore.operations.prune.deleting import Deleting
from chunkstore.progress import Progress
from chunkstore.repository.repository import Repository, numbers


class Overtaken(Exception):
    """Another pruner is further: whatever is left to do is its, or is found by a new look."""


def read_generation(repository: Repository, number: int) -> Generation:
    """One generation. `Damaged`, `ObjectMissing`, `UnsupportedFormat`."""
    _, body = repository.read(names.generation(number), ObjectKind.GENERATION)
    return decode_generation(body, number)


def newest_number(repository: Repository) -> int:
    """The number of the highest generation, whatever is in it; 0 before the first."""
    return max(numbers(repository.storage, names.GENERATIONS), default=0)


def newest_generation(repository: Repository) -> Generation:
    """The highest generation; an empty one before the first. `PruneRefused` when it can not be read."""
    number = newest_number(repository)
    if not number:
        return Generation(0, (), frozenset(), frozenset())
    try:
        return read_generation(repository, number)
    except ObjectMissing as e:
        raise Overtaken from e
    except (Damaged, UnsupportedFormat) as e:
        raise PruneRefused(
            f"{e}. Nothing is deleted. `chunkstore repair index` makes a new index from the packs"
        ) from e


def unnamed_segments(repository: Repository) -> frozenset[str]:
    """Segments that the newest generation does not name: of older ones, or of pruners that broke off.

    Only who then puts a plan may delete them: a segment that comes later is in no list that was made before.
    """
    listed = {info.name for info in repository.storage.list(names.SEGMENTS)}
    return frozenset(listed.difference(map(names.segment, newest_generation(repository).segments)))


def tidy_up(repository: Repository, number: int, unnamed: Collection[str], deleting: Deleting) -> None:
    """Delete what generation `number` made useless, if it is still the newest. The plan of that number is done.

    Names of runs and segments never come back, so whoever is late with this does no harm.
    """
    generation = newest_generation(repository)
    if generation.number == number:
        runs = {info.name for info in repository.storage.list(names.RUNS)}
        deleting.index_objects(sorted(generation.absorbed & runs))
        for older in sorted(n for n in numbers(repository.storage, names.GENERATIONS) if n < number):
            deleting.index_objects(_segments_of(repository, older, generation))
            deleting.index_objects([names.generation(older)])
        deleting.index_objects(sorted(set(unnamed).difference(map(names.segment, generation.segments))))
    _delete_older_plans(repository, number)


def _segments_of(repository: Repository, number: int, newest: Generation) -> Iterable[str]:
    """Segments of an older generation that the newest does not have."""
    with suppress(Damaged, UnsupportedFormat, ObjectMissing):
        kept = set(newest.segments)
        return [names.segment(each) for each in read_generation(repository, number).segments if each not in kept]
    return ()


def _delete_older_plans(repository: Repository, number: int) -> None:
    listed = sorted(n for n in numbers(repository.storage, names.PLANS) if n < number)
    for older in listed:  # the plan first: without its mark it would look open
        repository.storage.delete(names.plan(older))
        repository.storage.delete(names.plan_done(older))


def drop_impossible(repository: Repository, progress: Progress) -> None:
    """Delete plans and generations that can not be read and whose numbers nobody can have come to.

    Numbers are given one after the other, so one that is far above all others is rubbish; it would end the count.
    """
    for prefix, kind in ((names.PLANS, ObjectKind.PLAN), (names.GENERATIONS, ObjectKind.GENERATION)):
        every = {*numbers(repository.storage, names.PLANS), *numbers(repository.storage, names.GENERATIONS)}
        for number in sorted(numbers(repository.storage, prefix), reverse=True):
            below = max((n for n in every if n < number), default=0)
            if number <= below + 1 or _is_readable(repository, f"{prefix}{number:016d}", kind):
                break
            progress.warn(f"deleted, as nobody can have made it: {prefix}{number:016d}")
            repository.storage.delete(f"{prefix}{number:016d}")
            every.discard(number)


def _is_readable(repository: Repository, name: str, kind: ObjectKind) -> bool:
    try:
        repository.read(name, kind)
    except (Damaged, UnsupportedFormat, ObjectMissing):
        return False
    return True
