"""Fetching many chunks at once, planned by pack: each frame is fetched and opened once in a window.

wants -> located -> grouped by frame -> neighbouring frames in one range -> [get, open, inflate, hash: workers] -> wants
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from chunkstore.errors import Damaged, NoUsableKey, ObjectMissing
from chunkstore.format import names
from chunkstore.ids import ChunkId, PackId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.parallel import ordered_map
from chunkstore.repository.chunk_reader import (
    PACK_MISSING,
    RESYNCS,
    ChunkReader,
    Spot,
    in_no_index,
    spot,
    widened,
)
from chunkstore.repository.local_index import ChunkAt, FrameAt

WINDOW_CHUNKS = 32_768
"""Chunks planned at once: the plan is in memory, the data only a few ranges at a time."""
_RANGE_BYTES = 4 << 20
_RANGE_RAW = 8 << 20
_GAP_BYTES = 256 << 10
"""Fetching this much in vain is cheaper than another request."""

_NOTHING = memoryview(b"")

T = TypeVar("T")


class Want(NamedTuple, Generic[T]):
    """A content chunk and what it is for. Where its place was chosen by a `length`, it must have exactly this one."""

    chunk_id: ChunkId
    purpose: T
    length: int | None = None


class Got(NamedTuple, Generic[T]):
    """A wanted chunk: its bytes, checked against its id, or why there are none."""

    purpose: T
    data: memoryview
    damage: Damaged | None


class _Needed(NamedTuple, Generic[T]):
    offset: int
    length: int
    want: Want[T]


class _Outcome(NamedTuple, Generic[T]):
    """What came of one want in one place."""

    want: Want[T]
    frame: FrameAt
    data: memoryview
    damage: Damaged | None


@dataclass(frozen=True, slots=True)
class _Range(Generic[T]):
    """Neighbouring frames of one pack, and what is needed of each."""

    frames: list[tuple[FrameAt, list[_Needed[T]]]]


_Tried = dict[ChunkId, dict[Spot, Damaged]]
"""Where chunks were looked for in vain, and what was found there."""


def fetch(
    reader: ChunkReader, wants: Iterable[Want[T]], workers: int, at_once: int = WINDOW_CHUNKS
) -> Iterator[Got[T]]:
    """All wanted chunks, in the order in which their packs hold them, window by window of `at_once` wants.

    The `data` of a result is valid as long as it is held. A chunk that can not be had anywhere comes with its `damage`.
    """
    wants = iter(wants)
    while window := list(islice(wants, at_once)):
        yield from _fetch_window(reader, window, workers)


def _fetch_window(reader: ChunkReader, window: list[Want[T]], workers: int) -> Iterator[Got[T]]:
    """What fails is tried in its other places, then in those that the newest index names, until there are no more."""
    tried: _Tried = {}
    left, resyncs, newest = window, 0, False
    while left:
        frames, nowhere = _locate(reader, left, tried)
        if not frames:
            if newest or resyncs == RESYNCS:
                break
            reader.resync()  # a pack went away after we looked: its chunks are elsewhere now, or lost (I-1)
            resyncs, newest = resyncs + 1, True
            continue
        left, newest = nowhere, False
        for want, frame, data, damage in _get_all(reader, frames, workers):
            if damage is None:
                yield Got(want.purpose, data, None)
            else:
                tried.setdefault(want.chunk_id, {})[spot(frame)] = damage
                left.append(want)
    for want in left:
        damages = list(tried.get(want.chunk_id, {}).values())
        yield Got(want.purpose, _NOTHING, damages[-1] if damages else in_no_index(ChunkKind.CONTENT, want.chunk_id))


def _locate(
    reader: ChunkReader, wants: list[Want[T]], tried: _Tried
) -> tuple[list[tuple[FrameAt, list[_Needed[T]]]], list[Want[T]]]:
    """(frames in the order to fetch them and what is needed of each, wants with no place that was not tried)."""
    frames: dict[int, FrameAt | None] = {}
    needed: dict[int, list[_Needed[T]]] = {}
    nowhere: list[Want[T]] = []

    def find(chunk_id: ChunkId) -> ChunkAt | None:
        bad = tried.get(chunk_id, {})
        for place in reader.index.places(chunk_id) if bad else [reader.index.locate(chunk_id)]:
            if place is None:
                continue
            if place.frame not in frames:
                frames[place.frame] = reader.index.frame(place.frame)
            frame = frames[place.frame]
            if frame is not None and spot(frame) not in bad:
                return place
        return None

    for want in wants:
        place = find(want.chunk_id)
        if place is None:
            nowhere.append(want)
        else:
            needed.setdefault(place.frame, []).append(_Needed(place.offset, place.length, want))
    found = [(frame, needed[no]) for no, frame in frames.items() if frame is not None and no in needed]
    first_seen: dict[PackId, int] = {}
    for frame, _ in found:
        first_seen.setdefault(frame.pack_id, len(first_seen))
    found.sort(key=lambda each: (first_seen[each[0].pack_id], each[0].offset))
    return found, nowhere


def _get_all(
    reader: ChunkReader, frames: list[tuple[FrameAt, list[_Needed[T]]]], workers: int
) -> Iterator[_Outcome[T]]:
    def get(piece: _Range[T]) -> tuple[int, list[_Outcome[T]]]:
        return _get(reader, piece)

    for size, outcomes in ordered_map(get, _ranges(frames), workers, workers + 1, "fetch"):
        reader.fetched += size
        yield from outcomes


def _ranges(frames: list[tuple[FrameAt, list[_Needed[T]]]]) -> Iterator[_Range[T]]:
    """Frames in order -> runs of them that are worth one request."""
    run: list[tuple[FrameAt, list[_Needed[T]]]] = []
    raw = 0
    for each in frames:
        frame = each[0]
        if run:
            first, last = run[0][0], run[-1][0]
            near = frame.pack_id == last.pack_id and frame.offset - (last.offset + last.stored) <= _GAP_BYTES
            if not near or frame.offset + frame.stored - first.offset > _RANGE_BYTES or raw > _RANGE_RAW:
                yield _Range(run)
                run, raw = [], 0
        run.append(each)
        raw += frame.raw
    if run:
        yield _Range(run)


def _get(reader: ChunkReader, piece: _Range[T]) -> tuple[int, list[_Outcome[T]]]:
    """Worker: one request, then each frame opened once; bytes fetched, and what came of it."""
    first, last = piece.frames[0][0], piece.frames[-1][0]
    offset, length = widened(first.offset, last.offset + last.stored - first.offset, first.pack_size)
    name = names.pack(first.pack_id)
    try:
        data = memoryview(reader.repository.storage.get(name, offset, length))
    except ObjectMissing:
        damage = Damaged(PACK_MISSING, name)
        return 0, [failed for frame, needed in piece.frames for failed in _failed(frame, needed, damage)]
    outcomes: list[_Outcome[T]] = []
    for frame, needed in piece.frames:
        outcomes += _open(reader, frame, data[frame.offset - offset :][: frame.stored], needed)
    return len(data), outcomes


def _failed(frame: FrameAt, needed: list[_Needed[T]], damage: Damaged) -> list[_Outcome[T]]:
    return [_Outcome(each.want, frame, _NOTHING, damage) for each in needed]


def _open(reader: ChunkReader, frame: FrameAt, stored: memoryview, needed: list[_Needed[T]]) -> list[_Outcome[T]]:
    name = names.pack(frame.pack_id)
    try:
        raw = memoryview(bytes(reader.decode(frame, stored)))  # the decoder's buffer is used again at once
    except Damaged as e:
        return _failed(frame, needed, e)
    except NoUsableKey as e:  # one slot that nobody can open, forged or lost: the other frames are not its fault
        return _failed(frame, needed, Damaged(str(e), name))
    outcomes: list[_Outcome[T]] = []
    for offset, length, want in needed:
        chunk = raw[offset : offset + length]
        damage = None
        try:
            reader.coder.check_chunk(chunk, ChunkKind.CONTENT, want.chunk_id)
            if want.length is not None and want.length != len(chunk):
                raise Damaged(f"chunk {want.chunk_id.hex()[:16]} has another length than was relied on")
        except Damaged as e:
            damage = Damaged(e.reason, name)
        outcomes.append(_Outcome(want, frame, chunk, damage))
    return outcomes
