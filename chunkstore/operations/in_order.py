"""Content in the order in which it is wanted, in bounded memory.

    steps -> windows, bounded by bytes and by steps -> fetched by pack, the next one meanwhile -> put back into order

One window spans many small files, so that their frames are fetched and opened once, and parts of large ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from chunkstore.errors import Damaged
from chunkstore.ids import ID_SIZE, ChunkId
from chunkstore.operations.fetching import Got, Want, fetch_windows
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader

WINDOW_BYTES = 32 << 20
"""Raw bytes that wait for their turn at most, one chunk more at worst; of the next window only what is under way."""
WINDOW_STEPS = 8192

T = TypeVar("T")
_NOTHING = memoryview(b"")


class Step(NamedTuple, Generic[T]):
    """A chunk of content and its length; or, without a chunk, only a place in the order.

    `weight`: bytes that `purpose` holds in memory, where they are more than a few hundred.
    """

    purpose: T
    chunk_id: ChunkId | None = None
    length: int = 0
    weight: int = 0


def content_of(reader: ChunkReader, manifest: ManifestReader, found: ManifestEntry) -> Iterator[tuple[ChunkId, int]]:
    """The chunks of a file, in order, and their lengths, which add up to what its entry says; `Damaged` if not."""
    entry = found.entry
    size, offset = entry.content_size, 0
    for ids in manifest.ids(found):
        for at in range(0, len(ids), ID_SIZE):
            chunk_id = ChunkId(ids[at : at + ID_SIZE])
            # The length of a file's only chunk is checked when it is there; no look-up for small files.
            length = size if entry.chunks == 1 else reader.length(chunk_id)
            if offset + length > size:
                raise Damaged("its chunks are longer than the file")
            yield chunk_id, length
            offset += length
    if offset != size:
        raise Damaged("its chunks are shorter than the file" if offset else "its entry has a size but no chunks")


def in_order(
    reader: ChunkReader,
    steps: Iterable[Step[T]],
    workers: int,
    window_bytes: int = WINDOW_BYTES,
    window_steps: int = WINDOW_STEPS,
) -> Iterator[Got[T]]:
    """All steps, in their order, each with its bytes, with none, or with the damage that its chunk has.

    The `data` of a result is valid as long as it is held. An error of `steps` is raised after what came before it.
    """
    ahead = _Ahead[T](steps, window_bytes, window_steps)
    waiting: dict[int, tuple[memoryview, Damaged | None]] = {}
    for got in fetch_windows(reader, ahead.windows(), workers):
        yield from ahead.places()
        if got is None:
            continue
        if got.purpose != ahead.turn:  # a copy: a part of a frame would keep all of the frame in memory
            waiting[got.purpose] = memoryview(bytes(got.data)), got.damage
            continue
        yield Got(ahead.next().purpose, got.data, got.damage)
        yield from ahead.places()
        while ahead.turn in waiting:
            data, damage = waiting.pop(ahead.turn)
            yield Got(ahead.next().purpose, data, damage)
            yield from ahead.places()
    yield from ahead.places()
    if ahead.failed:
        raise ahead.failed[0]


class _Ahead(Generic[T]):
    """The steps that were asked for and have not had their turn, of two windows at most."""

    def __init__(self, steps: Iterable[Step[T]], window_bytes: int, window_steps: int) -> None:
        self._coming = iter(steps)
        self._limits = window_bytes, window_steps
        self._steps: deque[Step[T]] = deque()
        self.turn = 0
        """The number of the step whose turn it is."""
        self.failed: list[Exception] = []

    def windows(self) -> Iterator[list[Want[int]]]:
        """The chunks that are wanted, by the numbers of their steps."""
        number = 0
        while not self.failed and (window := _window(self._coming, self.failed, *self._limits)):
            self._steps.extend(window)
            yield [
                Want(step.chunk_id, at, step.length)
                for at, step in enumerate(window, number)
                if step.chunk_id is not None
            ]
            number += len(window)

    def next(self) -> Step[T]:
        self.turn += 1
        return self._steps.popleft()

    def places(self) -> Iterator[Got[T]]:
        """The steps without a chunk whose turn it is."""
        while self._steps and self._steps[0].chunk_id is None:
            yield Got(self.next().purpose, _NOTHING, None)


def _window(coming: Iterator[Step[T]], failed: list[Exception], window_bytes: int, window_steps: int) -> list[Step[T]]:
    window: list[Step[T]] = []
    size = 0
    try:
        for step in coming:
            window.append(step)
            size += step.length + step.weight
            if size >= window_bytes or len(window) >= window_steps:
                break
    except Exception as e:  # noqa: BLE001  raised again when its turn comes
        failed.append(e)
    return window
