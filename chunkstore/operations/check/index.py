"""Index objects: each is read, those that count are put together, and what is missing of them is found.

Runs are listed before generations, generations before segments are read: what a compaction moves meanwhile is found in one
place or the other. Where something is missing and there is a newer generation by then, all of it begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from chunkstore.errors import Damaged, ObjectMissing
from chunkstore.format import names
from chunkstore.format.index import Generation, decode_generation, decode_run_index, decode_segment
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import PackInfo
from chunkstore.operations.check.findings import Finding, Kind, damage, note, reason
from chunkstore.operations.check.looking import Looking, Unreadable
from chunkstore.operations.check.names import kind_of
from chunkstore.operations.check.scratch import Scratch
from chunkstore.repository.repository import highest
from chunkstore.storage import ObjectInfo

_ATTEMPTS: Final = 5
_AT_ONCE: Final = 4
"""Index objects in memory at once: each may have 16 MiB and becomes more when it is decoded."""

Take = Callable[[str, tuple[PackInfo, ...]], None]


@dataclass(slots=True)
class IndexState:
    """The index as the storage has it. `number`: of the newest generation that can be read; `listed`: the highest there is.

    `damaged`: findings about what counts, not reported yet. `notes`: about what does not count any more.
    """

    number: int = 0
    listed: int = 0
    damaged: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def read_index(looking: Looking, scratch: Scratch, seen: int, begin: Callable[[], Take]) -> IndexState:
    """Read all of it. `seen`: the highest generation that this machine knows of.

    What counts goes to `scratch`, and to what `begin()` gives, which is asked anew each time that it begins anew.
    """
    for left in range(_ATTEMPTS, -1, -1):
        scratch.forget_expected()
        state = _read_once(looking, scratch, begin())
        newest = highest(looking.repository.storage, names.GENERATIONS) or 0
        if not state.missing or newest == state.listed or not left:
            break
    for name in state.missing:
        kind = kind_of(name) or Kind.SEGMENT
        state.damaged.append(damage(kind, name, "is missing, and the index needs it"))
    if state.listed < seen:
        text = (
            f"the index went back from generation {seen} to {state.listed}: an old copy was restored, or it was removed"
        )
        if looking.is_there(names.generation(seen)):
            text = "the storage has it and does not list it"
        state.damaged.append(damage(Kind.GENERATION, names.generation(seen), text))
    return state


def _read_once(looking: Looking, scratch: Scratch, take: Take) -> IndexState:
    state = IndexState()
    storage = looking.repository.storage
    runs = [info for info in storage.list(names.RUNS) if kind_of(info.name) is Kind.RUN]
    generation = _newest_generation(looking, state)
    segments = [info for info in storage.list(names.SEGMENTS) if kind_of(info.name) is Kind.SEGMENT]
    wanted = {names.segment(digest) for digest in generation.segments}
    wanted |= {info.name for info in runs} - generation.absorbed
    # Those that the listing leaves out are asked for all the same: what counts is what the generation names.
    unlisted = wanted - {info.name for info in (*runs, *segments)}
    infos = [*runs, *segments, *(ObjectInfo(name, 0) for name in sorted(unlisted))]
    for info, packs in _decoded(looking, infos):
        if not isinstance(packs, Unreadable):
            if info.name in wanted:
                _take(scratch, take, info.name, packs, generation, state)
        elif isinstance(packs, ObjectMissing):
            state.missing += [info.name] if info.name in wanted else []
        else:
            _unreadable(state, info.name, reason(packs), info.name in wanted)
    return state


def _take(
    scratch: Scratch, take: Take, name: str, packs: tuple[PackInfo, ...], generation: Generation, state: IndexState
) -> None:
    left = tuple(info for info in packs if info.pack_id not in generation.dropped)
    for info in left:
        other = scratch.expect(info, name)
        if other is not None:
            text = f"says something else of {names.pack(info.pack_id)} than {other} does"
            state.damaged.append(damage(kind_of(name) or Kind.RUN, name, text))
    take(name, left)


def _unreadable(state: IndexState, name: str, why: str, counts: bool) -> None:
    kind = kind_of(name) or Kind.RUN
    if counts:
        state.damaged.append(damage(kind, name, why))
    else:
        state.notes.append(note(kind, name, f"{why}; nothing depends on it any more", "the next prune deletes it"))


def _newest_generation(looking: Looking, state: IndexState) -> Generation:
    """The highest that can be read. What can not be and is above it is damage, below it a note."""
    newest = Generation(0, (), frozenset(), frozenset())
    broken: list[tuple[int, str, str]] = []
    infos = looking.repository.storage.list(names.GENERATIONS)
    listed = (info for info in infos if kind_of(info.name) is Kind.GENERATION)

    def read(info: ObjectInfo, data: bytes) -> Generation:
        _, body = looking.body(info, data, ObjectKind.GENERATION)
        return decode_generation(body, _number(info.name))

    for info, found in looking.attempts(listed, read, _AT_ONCE):
        state.listed = max(state.listed, _number(info.name))
        if isinstance(found, Generation):
            newest = max(newest, found, key=lambda each: each.number)
        elif not isinstance(found, ObjectMissing) or looking.is_listed(info.name):
            broken.append((_number(info.name), info.name, reason(found)))
    for number, name, why in broken:
        _unreadable(state, name, why, number > newest.number)
    state.number = newest.number
    return newest


def _number(name: str) -> int:
    number = names.number(name, names.GENERATIONS)
    assert number is not None
    return number


def _decoded(
    looking: Looking, infos: Iterable[ObjectInfo]
) -> Iterator[tuple[ObjectInfo, tuple[PackInfo, ...] | Unreadable]]:
    """The packs that each object names. Workers fetch and open; decoding is done here, one object at a time."""

    def body(info: ObjectInfo, data: bytes) -> bytes:
        is_run = info.name.startswith(names.RUNS)
        return looking.body(info, data, ObjectKind.RUN_INDEX if is_run else ObjectKind.INDEX_SEGMENT)[1]

    for info, found in looking.attempts(iter(infos), body, min(_AT_ONCE, looking.around.workers + 1)):
        if isinstance(found, Unreadable):
            yield info, found
            continue
        try:
            packs = _packs(info.name, found)
        except Damaged as e:
            yield info, e
        else:
            yield info, packs


def _packs(name: str, body: bytes) -> tuple[PackInfo, ...]:
    if name.startswith(names.SEGMENTS):
        return decode_segment(body, bytes.fromhex(name[len(names.SEGMENTS) :])).packs
    run = decode_run_index(body)
    if not name.startswith(f"{names.RUNS}{run.session}-"):
        raise Damaged("is of another run than its name says")
    return run.packs
