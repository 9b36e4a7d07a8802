"""Bringing the local index in line with the repository: newest generation plus what it has not absorbed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chunkstore.errors import Damaged, ObjectMissing, UnsupportedFormat, UntrustedRepository
from chunkstore.format import names
from chunkstore.format.index import Generation, decode_generation, decode_run_index, decode_segment
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import PackInfo
from chunkstore.progress import Progress
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.repository import Repository, numbers
from chunkstore.repository.sparse_frames import mark_sparse

_ATTEMPTS = 5
_GONE = (
    "is missing, and the index needs it. Bring it back from a copy of the repository, or run `chunkstore repair index`, which "
    "makes a new index from the packs"
)
_EMPTY = Generation(0, (), frozenset(), frozenset())


class _ChangedMeanwhile(Exception):
    """Another process of this machine brought the same local index in line with another generation."""


def sync_index(repository: Repository, index: LocalIndex, progress: Progress) -> bool:
    """Fetch what is new; drop what is gone in the transaction that sets the generation.

    An index object that is not authentic is reported and left out: what only it names counts as absent, so it is
    stored again. False when that is so for the highest generation: what it dropped may then be in the local index, so
    a writer must not rely on anything. A generation lower than one seen before raises `UntrustedRepository`, an index object
    that is needed and gone for good `Damaged`.
    """
    for left in range(_ATTEMPTS, -1, -1):
        try:
            return _sync_once(repository, index, progress)
        except ObjectMissing as e:  # a compaction went on between the listing and the reading
            if not left:
                raise Damaged(_GONE, e.object_name) from e
        except _ChangedMeanwhile:
            if not left:
                raise Damaged("the index changes faster than it can be read", names.GENERATIONS) from None
    raise AssertionError


def _sync_once(repository: Repository, index: LocalIndex, progress: Progress) -> bool:
    # What is here is looked at first. Other processes share the local index: what they add meanwhile stays, and when
    # they have moved it to another generation, what was listed here before must not be mixed with it.
    here, seen = index.sources(), index.generation
    # Runs are listed before generations: a run that was absorbed in between is in the generation that is read then.
    runs = {info.name for info in repository.storage.list(names.RUNS)}
    generation, certain = _newest_generation(repository, progress)
    if generation.number < max(repository.state.generation, seen):
        if not certain:
            return False
        if index.generation != seen:
            raise _ChangedMeanwhile
        raise UntrustedRepository(
            f"the repository's index went back to an older generation ({max(repository.state.generation, seen)} to "
            f"{generation.number}): somebody restored an old copy of it, or removes objects. If an old copy is what it has "
            "to be: `chunkstore repair index` on this machine goes on with that"
        )
    wanted = {names.segment(d) for d in generation.segments} | (runs - generation.absorbed)
    if generation.number == seen and wanted == here and not index.has_any(generation.dropped):
        return certain

    # One object at a time, so that memory does not grow with the index. Rows that come early do no harm: they are
    # what the repository holds; only what goes has to go together with the generation that says so.
    for name in sorted(wanted - here):
        found = _read(repository, name, progress)
        if found is None:
            continue  # not for ever: it may have arrived damaged, and is asked for again by the next sync
        packs = [p for p in found if p.pack_id not in generation.dropped]
        _change(index, seen, partial(index.add_source, name, packs))

    def bring_in_line() -> None:
        index.drop_sources(here - wanted)
        index.drop_packs(generation.dropped)
        if generation.number != seen:
            mark_sparse(index, generation.sparse)
        index.set_generation(generation.number)

    _change(index, seen, bring_in_line)
    return certain


def _change(index: LocalIndex, generation: int, work: Callable[[], None]) -> None:
    """Do `work` in one transaction, unless another process has moved the index to another generation."""

    def checked() -> None:
        if index.generation != generation:
            raise _ChangedMeanwhile
        work()

    index.change(checked)


def _newest_generation(repository: Repository, progress: Progress) -> tuple[Generation, bool]:
    """The highest generation that is authentic, and whether there is nothing above it: rubbish is reported."""
    certain = True
    for number in sorted(numbers(repository.storage, names.GENERATIONS), reverse=True):
        name = names.generation(number)
        try:
            _, body = repository.read(name, ObjectKind.GENERATION)
            return decode_generation(body, number), certain
        except (Damaged, UnsupportedFormat) as e:
            certain = False
            progress.warn(f"index generation left out: {name}: {e}")
    return _EMPTY, certain


def _read(repository: Repository, name: str, progress: Progress) -> tuple[PackInfo, ...] | None:
    """The packs that an index object names; None when it can not be read."""
    try:
        if name.startswith(names.RUNS):
            _, body = repository.read(name, ObjectKind.RUN_INDEX)
            return decode_run_index(body).packs
        _, body = repository.read(name, ObjectKind.INDEX_SEGMENT)
        return decode_segment(body, bytes.fromhex(name[len(names.SEGMENTS) :])).packs
    except (Damaged, UnsupportedFormat) as e:
        progress.warn(f"index object left out: {name}: {e}")
        return None
