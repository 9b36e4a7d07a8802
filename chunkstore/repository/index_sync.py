"""Bringing the local index in line with the repository: newest generation plus what it has not absorbed."""

from __future__ import annotations

from chunkstore.errors import Damaged, ObjectMissing, UntrustedRepository
from chunkstore.format import names
from chunkstore.format.index import Generation, decode_generation, decode_run_index, decode_segment
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import PackInfo
from chunkstore.progress import Progress
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.repository import Repository, highest

_ATTEMPTS = 5
_EMPTY = Generation(0, (), frozenset(), frozenset())


def sync_index(repository: Repository, index: LocalIndex, progress: Progress) -> None:
    """Fetch what is new; drop what is gone in the transaction that sets the generation.

    An index object that is not authentic is reported and left out: what only it names counts as absent, so it is
    stored again. A generation lower than one seen before raises `UntrustedRepository`.
    """
    for attempt in range(_ATTEMPTS):
        try:
            _sync_once(repository, index, progress)
        except ObjectMissing:  # a compaction went on between the listing and the reading: look again
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _sync_once(repository: Repository, index: LocalIndex, progress: Progress) -> None:
    # Runs are listed before generations: a run that was absorbed in between is in the generation that is read then.
    runs = {info.name for info in repository.storage.list(names.RUNS)}
    generation = _newest_generation(repository)
    if generation.number < max(repository.state.generation, index.generation):
        raise UntrustedRepository(
            "the repository's index went back to an older generation: somebody restored an old copy of it, "
            "or removes objects"
        )
    wanted = {names.segment(d) for d in generation.segments} | (runs - generation.absorbed)
    here = index.sources()
    if generation.number == index.generation and wanted == here:
        return
    # One object at a time, so that memory does not grow with the index. Rows that come early do no harm: they are
    # what the repository holds; only what goes has to go together with the generation that says so.
    for name in sorted(wanted - here):
        packs = [p for p in _read(repository, name, progress) if p.pack_id not in generation.dropped]
        index.change(lambda name=name, packs=packs: index.add_source(name, packs))  # type: ignore[misc]

    def bring_in_line() -> None:
        index.keep_sources(wanted)
        index.drop_packs(generation.dropped)
        index.set_generation(generation.number)

    index.change(bring_in_line)


def _newest_generation(repository: Repository) -> Generation:
    number = highest(repository.storage, names.GENERATIONS)
    if number is None:
        return _EMPTY
    _, body = repository.read(names.generation(number), ObjectKind.GENERATION)
    return decode_generation(body, number)


def _read(repository: Repository, name: str, progress: Progress) -> tuple[PackInfo, ...]:
    try:
        if name.startswith(names.RUNS):
            _, body = repository.read(name, ObjectKind.RUN_INDEX)
            return decode_run_index(body).packs
        _, body = repository.read(name, ObjectKind.INDEX_SEGMENT)
        return decode_segment(body, bytes.fromhex(name[len(names.SEGMENTS) :])).packs
    except Damaged as e:
        progress.warn(f"index object left out: {name}: {e.reason}")
        return ()
