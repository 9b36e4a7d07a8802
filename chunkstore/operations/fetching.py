"""Fetching many chunks at once, planned by pack: each frame is fetched and opened once in a window.

wants -> located -> grouped by frame -> ranges -> chunks (`ranges`) -> what failed: elsewhere, or lost
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from chunkstore.errors import Damaged
from chunkstore.ids import ChunkId, PackId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.ranges import (
    NOTHING,
    Frames,
    Needed,
    Outcome,
    Range,
    Tried,
    Want,
    Window,
    opened,
    ranges,
)
from chunkstore.parallel import LATER, Later
from chunkstore.repository.chunk_reader import RESYNCS, ChunkReader, in_no_index, spot
from chunkstore.repository.local_index import ChunkAt, FrameAt

__all__ = ["Got", "Want", "fetch", "fetch_windows"]

WINDOW_CHUNKS = 4096
"""Chunks planned at once: the plan is in memory, the data only a few ranges at a time."""
T = TypeVar("T")


class Got(NamedTuple, Generic[T]):
    """A wanted chunk: its bytes, checked against its id, or why there are none."""

    purpose: T
    data: memoryview
    damage: Damaged | None


def fetch(
    reader: ChunkReader, wants: Iterable[Want[T]], workers: int, at_once: int = WINDOW_CHUNKS
) -> Iterator[Got[T]]:
    """All wanted chunks, in the order in which their packs hold them, window by window of `at_once` wants.

    The `data` of a result is valid as long as it is held. A chunk that can not be had anywhere comes with its `damage`.
    An error of `wants` is raised after what came before it; they are asked for ahead of what is given back.
    """
    wants = iter(wants)
    windows = iter(lambda: list(islice(wants, at_once)), [])
    return (got for got in fetch_windows(reader, windows, workers) if got is not None)


def fetch_windows(reader: ChunkReader, windows: Iterator[list[Want[T]]], workers: int) -> Iterator[Got[T] | None]:
    """The same for windows that the caller cuts, with None after each, also where nothing is wanted.

    All of one comes before the next, which is fetched already meanwhile; the one after that is not asked for yet.
    """
    plan = _Plan(reader, windows)
    for each in opened(reader, plan.ranges(), workers):
        if isinstance(each, Later):
            continue
        window, outcomes = each
        yield from _had(window, outcomes)
        if not outcomes:
            yield from _elsewhere(reader, window, workers)
            yield None
            plan.finished += 1
    if plan.failed is not None:
        raise plan.failed


class _Plan(Generic[T]):
    """What to fetch for each window, and an end of each; at most two windows are planned and not finished."""

    def __init__(self, reader: ChunkReader, windows: Iterator[list[Want[T]]]) -> None:
        self._reader = reader
        self._windows = windows
        self.finished = 0
        self.failed: Exception | None = None
        """An error of `windows`, to be raised when its turn comes."""

    def ranges(self) -> Iterator[Range[T] | Later]:
        begun = 0
        try:
            for wants in self._windows:
                begun += 1
                window = Window[T]()
                frames, window.left = _locate(self._reader, wants, window.tried)
                yield from ranges(window, frames)
                yield Range(window, [])
                while begun - self.finished >= 2:
                    yield LATER
        except Exception as e:  # noqa: BLE001
            self.failed = e


def _had(window: Window[T], outcomes: list[Outcome[T]]) -> Iterator[Got[T]]:
    """What was where it was looked for; the others are noted."""
    for outcome in outcomes:
        if outcome.damage is None:
            yield Got(outcome.want.purpose, outcome.data, None)
        else:
            window.note(outcome)


def _elsewhere(reader: ChunkReader, window: Window[T], workers: int) -> Iterator[Got[T]]:
    """What failed is tried in its other places, then in those that the newest index names, until there are no more."""
    resyncs, newest = 0, False
    while window.left:
        frames, nowhere = _locate(reader, window.left, window.tried)
        if not frames:
            if newest or resyncs == RESYNCS:
                break
            reader.resync()  # a pack went away after we looked: its chunks are elsewhere now, or lost (I-1)
            resyncs, newest = resyncs + 1, True
            continue
        window.left, newest = nowhere, False
        for each in opened(reader, ranges(window, frames), workers):
            if not isinstance(each, Later):
                yield from _had(*each)
    for want in window.left:
        damages = list(window.tried.get(want.chunk_id, {}).values())
        yield Got(want.purpose, NOTHING, damages[-1] if damages else in_no_index(ChunkKind.CONTENT, want.chunk_id))


def _locate(reader: ChunkReader, wants: list[Want[T]], tried: Tried) -> tuple[Frames[T], list[Want[T]]]:
    """(frames in the order to fetch them and what is needed of each, wants with no place that was not tried)."""
    frames: dict[int, FrameAt | None] = {}
    needed: dict[int, list[Needed[T]]] = {}
    nowhere: list[Want[T]] = []
    first = {} if tried else reader.index.locate_all([want.chunk_id for want in wants])

    def find(chunk_id: ChunkId) -> ChunkAt | None:
        bad = tried.get(chunk_id, {})
        for place in reader.index.places(chunk_id) if tried else [first.get(chunk_id)]:
            if place is None:
                continue
            if place.frame not in frames:
                frames[place.frame] = reader.index.frame(place.frame)
            frame = frames[place.frame]
            if frame is not None and (not bad or spot(frame) not in bad):
                return place
        return None

    for want in wants:
        place = find(want.chunk_id)
        if place is None:
            nowhere.append(want)
        else:
            needed.setdefault(place.frame, []).append(Needed(place.offset, place.length, want))
    found = [(frame, needed[no]) for no, frame in frames.items() if frame is not None and no in needed]
    first_seen: dict[PackId, int] = {}
    for frame, _ in found:
        first_seen.setdefault(frame.pack_id, len(first_seen))
    found.sort(key=lambda each: (first_seen[each[0].pack_id], each[0].offset))
    return found, nowhere
