"""Fetching many chunks at once, planned by pack: each frame is fetched and opened once in a window.

wants -> located -> grouped by frame -> neighbouring frames in one range -> [get, open, inflate, hash: workers] -> wants
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from chunkstore.errors import Damaged, ObjectMissing
from chunkstore.format import names
from chunkstore.ids import ChunkId, PackId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.parallel import ordered_map
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader, widened
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import FrameAt

WINDOW_CHUNKS = 32_768
"""Chunks planned at once: the plan is in memory, the data only a few ranges at a time."""
_RANGE_BYTES = 4 << 20
_RANGE_RAW = 8 << 20
_GAP_BYTES = 256 << 10
"""Fetching this much in vain is cheaper than another request."""

T = TypeVar("T")


class Want(NamedTuple, Generic[T]):
    """A content chunk and what it is for."""

    chunk_id: ChunkId
    purpose: T


class Got(NamedTuple, Generic[T]):
    """A wanted chunk: its bytes, checked against its id, or why there are none."""

    purpose: T
    data: memoryview
    damage: Damaged | None


class _Needed(NamedTuple, Generic[T]):
    offset: int
    length: int
    want: Want[T]


@dataclass(frozen=True, slots=True)
class _Range(Generic[T]):
    """Neighbouring frames of one pack, and what is needed of each."""

    frames: list[tuple[FrameAt, list[_Needed[T]]]]


def chunk_length(reader: ChunkReader, chunk_id: ChunkId, progress: Progress) -> int:
    """Length of a chunk in bytes. `Damaged` when the newest index does not name it."""
    place = reader.index.locate(chunk_id)
    if place is None:
        sync_index(reader.repository, reader.index, progress)  # a prune may have moved it (I-1)
        place = reader.index.locate(chunk_id)
    if place is None:
        raise Damaged(f"content chunk {chunk_id.hex()[:16]} is in no index")
    return place.length


def fetch(
    reader: ChunkReader, wants: Iterable[Want[T]], workers: int, progress: Progress, at_once: int = WINDOW_CHUNKS
) -> Iterator[Got[T]]:
    """All wanted chunks, in the order in which their packs hold them, window by window of `at_once` wants.

    The `data` of a result is valid as long as it is held. A chunk that can not be had comes with its `damage`.
    """
    wants = iter(wants)
    while window := list(islice(wants, at_once)):
        missing: list[Want[T]] = []
        yield from _fetch_window(reader, window, workers, missing)
        if missing:  # the pack went away after we looked: its chunks are elsewhere now, or lost (I-1)
            sync_index(reader.repository, reader.index, progress)
            lost: list[Want[T]] = []
            yield from _fetch_window(reader, missing, workers, lost)
            for want in lost:
                damage = Damaged(f"content chunk {want.chunk_id.hex()[:16]}: its pack is missing")
                yield Got(want.purpose, memoryview(b""), damage)


def _fetch_window(reader: ChunkReader, window: list[Want[T]], workers: int, missing: list[Want[T]]) -> Iterator[Got[T]]:
    by_frame: dict[int, list[_Needed[T]]] = {}
    for want in window:
        place = reader.index.locate(want.chunk_id)
        if place is None:
            missing.append(want)
        else:
            by_frame.setdefault(place.frame, []).append(_Needed(place.offset, place.length, want))
    frames = [(reader.index.frame(no), needed) for no, needed in by_frame.items()]
    first_seen: dict[PackId, int] = {}
    for frame, _ in frames:
        first_seen.setdefault(frame.pack_id, len(first_seen))
    frames.sort(key=lambda each: (first_seen[each[0].pack_id], each[0].offset))

    def get(piece: _Range[T]) -> list[Got[T]] | _Range[T]:
        return _get(reader, piece)

    for result in ordered_map(get, _ranges(frames), workers, workers + 1, "fetch"):
        if isinstance(result, _Range):
            missing += [each.want for _, needed in result.frames for each in needed]
        else:
            yield from result


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


def _get(reader: ChunkReader, piece: _Range[T]) -> list[Got[T]] | _Range[T]:
    """Worker: one request, then each frame opened once. The range itself when its pack is gone."""
    first, last = piece.frames[0][0], piece.frames[-1][0]
    offset, length = widened(first.offset, last.offset + last.stored - first.offset, first.pack_size)
    try:
        data = memoryview(reader.repository.storage.get(names.pack(first.pack_id), offset, length))
    except ObjectMissing:
        return piece
    results: list[Got[T]] = []
    for frame, needed in piece.frames:
        results += _open(reader, frame, data[frame.offset - offset :][: frame.stored], needed)
    return results


def _open(reader: ChunkReader, frame: FrameAt, stored: memoryview, needed: list[_Needed[T]]) -> Iterator[Got[T]]:
    try:
        raw = memoryview(bytes(reader.decode(frame, stored)))  # the decoder's buffer is used again at once
    except Damaged as e:
        for each in needed:
            yield Got(each.want.purpose, memoryview(b""), e)
        return
    for each in needed:
        chunk = raw[each.offset : each.offset + each.length]
        try:
            reader.coder.check_chunk(chunk, ChunkKind.CONTENT, each.want.chunk_id)
        except Damaged as e:
            yield Got(each.want.purpose, chunk, Damaged(e.reason, names.pack(frame.pack_id)))
        else:
            yield Got(each.want.purpose, chunk, None)
