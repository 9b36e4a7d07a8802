"""From frames that are wanted to the chunks in them: requests for ranges, and what comes of them.

frames in order -> neighbours in one range -> [get: as many as the storage takes] -> [open, inflate, hash: workers] -> chunks
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from chunkstore.errors import Damaged, NoUsableKey, ObjectMissing
from chunkstore.format import names
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.parallel import Later, staged_map
from chunkstore.repository.chunk_reader import PACK_MISSING, ChunkReader, Spot, spot, widened
from chunkstore.repository.local_index import FrameAt
from chunkstore.storage.protocol import connections

_RANGE_BYTES = 9 << 20
"""Two are a pack of the default size, which is a bit more than 16 MiB."""
_GAP_BYTES = 256 << 10
"""Fetching this much in vain is cheaper than another request."""
_MOST_REQUESTS = 8
"""Ranges under way at once at most, however many connections a storage has: 72 MiB."""

NOTHING = memoryview(b"")

T = TypeVar("T")


class Want(NamedTuple, Generic[T]):
    """A content chunk and what it is for. Where its place was chosen by a `length`, it must have exactly this one."""

    chunk_id: ChunkId
    purpose: T
    length: int | None = None


class Needed(NamedTuple, Generic[T]):
    """Where a wanted chunk stands in its frame, in bytes when it is open."""

    offset: int
    length: int
    want: Want[T]


class Outcome(NamedTuple, Generic[T]):
    """What came of one want in one place."""

    want: Want[T]
    frame: FrameAt
    data: memoryview
    damage: Damaged | None


Frames = list[tuple[FrameAt, list[Needed[T]]]]
"""Frames, and what is needed of each."""

Tried = dict[ChunkId, dict[Spot, Damaged]]
"""Where chunks were looked for in vain, and what was found there."""


class Window(Generic[T]):
    """Some wants, and what is left of them after all their first places were looked at."""

    def __init__(self) -> None:
        self.tried: Tried = {}
        self.left: list[Want[T]] = []

    def note(self, outcome: Outcome[T]) -> None:
        """This want could not be had there."""
        assert outcome.damage is not None
        self.tried.setdefault(outcome.want.chunk_id, {})[spot(outcome.frame)] = outcome.damage
        self.left.append(outcome.want)


class Range(NamedTuple, Generic[T]):
    """Neighbouring frames of one pack, worth one request; without any, the end of a window."""

    window: Window[T]
    frames: Frames[T]


class _Sealed(NamedTuple, Generic[T]):
    """A frame as it was stored, or why it could not be fetched, and what is needed of it. Without it, as `Range`."""

    window: Window[T]
    frame: FrameAt | None
    needed: list[Needed[T]]
    stored: memoryview
    damage: Damaged | None


Opened = tuple[Window[T], list[Outcome[T]]]
"""What came of a frame; without any outcome, the end of a window."""


def ranges(window: Window[T], frames: Frames[T]) -> Iterator[Range[T]]:
    """Frames in order -> runs of them that are worth one request."""
    run: Frames[T] = []
    for each in frames:
        frame = each[0]
        if run:
            first, last = run[0][0], run[-1][0]
            near = frame.pack_id == last.pack_id and frame.offset - (last.offset + last.stored) <= _GAP_BYTES
            if not near or frame.offset + frame.stored - first.offset > _RANGE_BYTES:
                yield Range(window, run)
                run = []
        run.append(each)
    if run:
        yield Range(window, run)


def opened(reader: ChunkReader, ranges: Iterator[Range[T] | Later], workers: int) -> Iterator[Opened[T] | Later]:
    """What came of each frame; nothing at the end of a window. Requests follow the storage, opening the processors."""

    def get(piece: Range[T]) -> tuple[int, list[_Sealed[T]]]:
        return _get(reader, piece)

    def open_one(sealed: _Sealed[T]) -> tuple[int, Opened[T]]:
        return _open(reader, sealed)

    def frames() -> Iterator[_Sealed[T] | Later]:
        for each in staged_map(get, ranges, requests, requests + 1, "fetch"):
            if isinstance(each, Later):
                yield each
            else:
                reader.fetched += each[0]
                yield from each[1]

    requests = min(connections(reader.repository.storage), _MOST_REQUESTS) if workers else 0
    for each in staged_map(open_one, frames(), workers, 2 * workers + 1, "open"):
        if isinstance(each, Later):
            yield each
        else:
            reader.fetched += each[0]
            yield each[1]


def _get(reader: ChunkReader, piece: Range[T]) -> tuple[int, list[_Sealed[T]]]:
    """Worker: one request; the bytes fetched, and its frames as they were stored."""
    window, frames = piece
    if not frames:
        return 0, [_Sealed(window, None, [], NOTHING, None)]
    first, last = frames[0][0], frames[-1][0]
    offset, length = widened(first.offset, last.offset + last.stored - first.offset, first.pack_size)
    name = names.pack(first.pack_id)
    try:
        data = memoryview(reader.repository.storage.get(name, offset, length))
    except ObjectMissing:
        damage = Damaged(PACK_MISSING, name)
        return 0, [_Sealed(window, frame, needed, NOTHING, damage) for frame, needed in frames]
    return len(data), [
        _Sealed(window, frame, needed, data[frame.offset - offset :][: frame.stored], None) for frame, needed in frames
    ]


def _open(reader: ChunkReader, sealed: _Sealed[T]) -> tuple[int, Opened[T]]:
    """Worker: bytes fetched once more, and what came of what was needed of a frame, which is opened once."""
    window, frame, needed, stored, damage = sealed
    if frame is None:
        return 0, (window, [])
    name, again, raw = names.pack(frame.pack_id), 0, NOTHING
    if damage is None:
        try:
            raw, again = reader.opened(frame, stored)
        except Damaged as e:
            damage = e
        except NoUsableKey as e:  # one slot that nobody can open, forged or lost: the other frames are not its fault
            damage = Damaged(str(e), name)
    if damage is not None:
        return again, (window, [Outcome(each.want, frame, NOTHING, damage) for each in needed])
    return again, (window, [_checked(reader, frame, raw, each) for each in needed])


def _checked(reader: ChunkReader, frame: FrameAt, raw: memoryview, needed: Needed[T]) -> Outcome[T]:
    offset, length, want = needed
    chunk = raw[offset : offset + length]
    try:
        reader.coder.check_chunk(chunk, ChunkKind.CONTENT, want.chunk_id)
        if want.length is not None and want.length != len(chunk):
            raise Damaged(f"chunk {want.chunk_id.hex()[:16]} has another length than was relied on")
    except Damaged as e:
        return Outcome(want, frame, chunk, Damaged(e.reason, names.pack(frame.pack_id)))
    return Outcome(want, frame, chunk, None)
