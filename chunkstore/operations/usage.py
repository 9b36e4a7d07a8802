"""What of the stored packs is in use: the chunks that snapshots need, compared with the index, bucket by bucket.

A chunk that is stored more than once counts as used in one place only, the others can go: which one is decided when all
chunks with one place have been counted, in favour of frames and packs that have to stay anyhow.

Memory: 12 bytes for each frame and 17 for each pack of the index (20 and 25 where chunks are stored twice), 8 MiB of
buffers, and 1/256 of the ids.
"""

from __future__ import annotations

import contextlib
import marshal
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from chunkstore.ids import ChunkId
from chunkstore.repository.id_buckets import BUCKETS, IdBuckets
from chunkstore.repository.index_scan import FrameRow, IndexScan, PackRow

_NAMED = 20
"""So many missing chunks are remembered by their ids."""


class Usage:
    """Numbers of frames and packs are those of the local index. All sizes in bytes."""

    def __init__(self, scan: IndexScan, there: bytearray) -> None:
        self.scan = scan
        self.pack_there = there
        """1 for packs that the storage has."""
        self.frame_live = array("I", bytes(4 * (scan.highest_frame() + 1)))
        """Raw bytes in use of each frame."""
        self.frame_pack = array("I", bytes(4 * (scan.highest_frame() + 1)))
        self.frame_stored = array("I", bytes(4 * (scan.highest_frame() + 1)))
        packs = scan.highest_pack() + 1
        self.pack_used = array("Q", bytes(8 * packs))
        """Stored bytes of the frames of each pack that hold something in use."""
        self.pack_frames = array("Q", bytes(8 * packs))
        """Stored bytes of all frames of each pack."""
        self.chunks = 0
        """Chunks in use, each counted once."""
        self.raw = 0
        """Their raw bytes."""
        self.copies = 0
        """Further places of chunks in use."""
        self.copies_raw = 0
        self.dead_chunks = 0
        """Places of chunks that are not in use."""
        self.missing: list[ChunkId] = []
        """Some of the chunks in use that are in no index, or in packs that are not there alone."""
        self.missing_count = 0

    def is_live(self, frame: int) -> bool:
        """Whether something in use is in this frame."""
        return self.frame_live[frame] > 0

    def packs(self) -> Iterator[PackRow]:
        """The packs of the index."""
        return self.scan.packs()

    def frames(self) -> Iterator[FrameRow]:
        """The frames of the index; those of one pack stand together."""
        return self.scan.frames()


def measure(live: IdBuckets, scan: IndexScan, there: bytearray, directory: Path) -> Usage:
    """Count what is in use. `there`: by number of the pack, 1 where the storage has it; `directory`: for temporary files."""
    usage = Usage(scan, there)
    for frame in scan.frames():
        usage.frame_pack[frame.no] = frame.pack
        usage.frame_stored[frame.no] = frame.stored
        usage.pack_frames[frame.pack] += frame.stored
    with tempfile.TemporaryFile(dir=directory) as doubles:
        for number in range(BUCKETS):
            _count(usage, live.bucket(number), number, doubles)
        _choose(usage, doubles)
    return usage


def _count(usage: Usage, ids: set[bytes], number: int, doubles: IO[bytes]) -> None:
    """One bucket: what has one place counts there; the rest waits in `doubles`."""
    last, length, places = b"", 0, list[int]()
    found = 0
    for chunk_id, frame, size in usage.scan.chunks(number):
        if chunk_id not in ids:
            usage.dead_chunks += 1
        elif chunk_id != last:
            found += _take(usage, places, length, doubles)
            last, length, places = chunk_id, size, []
        if chunk_id == last and usage.pack_there[usage.frame_pack[frame]]:
            places.append(frame)
    found += _take(usage, places, length, doubles)
    if found < len(ids):
        _note_missing(usage, ids, number)


def _take(usage: Usage, places: Sequence[int], length: int, doubles: IO[bytes]) -> int:
    """Count one chunk; 1 when it is somewhere, else 0."""
    if not places:
        return 0
    usage.chunks += 1
    usage.raw += length
    if len(places) == 1:
        _use(usage, places[0], length)
    else:
        usage.copies += len(places) - 1
        usage.copies_raw += length * (len(places) - 1)
        marshal.dump((length, tuple(places)), doubles)
    return 1


def _use(usage: Usage, frame: int, length: int) -> None:
    if not usage.frame_live[frame]:
        usage.pack_used[usage.frame_pack[frame]] += usage.frame_stored[frame]
    usage.frame_live[frame] += length


def _choose(usage: Usage, doubles: IO[bytes]) -> None:
    """Each chunk with several places counts in one: in a frame that stays anyhow, else in the pack that is used most.

    Done again among the frames that were chosen until none of them is in vain: what was chosen early for one chunk
    may hold nothing but what was chosen later for others.
    """
    if not doubles.tell():
        return
    forced, forced_used = array("I", usage.frame_live), array("Q", usage.pack_used)
    chosen: array[int] | None = None
    while True:
        _choose_among(usage, doubles, chosen)
        if chosen is not None and _count_live(chosen) == _count_live(usage.frame_live):
            return
        chosen = usage.frame_live
        usage.frame_live, usage.pack_used = array("I", forced), array("Q", forced_used)


def _choose_among(usage: Usage, doubles: IO[bytes], chosen: array[int] | None) -> None:
    """One place for each of these chunks; `chosen`: the live bytes of the frames it may be in, any without it."""
    if chosen is not None:
        for length, places in _read(doubles):
            if len(only := [frame for frame in places if chosen[frame]]) == 1:
                _use(usage, only[0], length)
    for length, places in _read(doubles):
        left: Sequence[int] = places if chosen is None else [frame for frame in places if chosen[frame]]
        if chosen is None or len(left) > 1:
            best = max(
                left, key=lambda frame: (usage.frame_live[frame] > 0, usage.pack_used[usage.frame_pack[frame]], -frame)
            )
            _use(usage, best, length)


def _read(doubles: IO[bytes]) -> Iterator[tuple[int, Sequence[int]]]:
    doubles.seek(0)
    with contextlib.suppress(EOFError):
        while True:
            yield marshal.load(doubles)  # noqa: S302  an unnamed file that this process wrote


def _count_live(frames: array[int]) -> int:
    return len(frames) - frames.count(0)


def _note_missing(usage: Usage, ids: set[bytes], number: int) -> None:
    """Which of these ids are nowhere."""
    left = set(ids)
    for chunk_id, frame, _ in usage.scan.chunks(number):
        if usage.pack_there[usage.frame_pack[frame]]:
            left.discard(chunk_id)
    usage.missing_count += len(left)
    usage.missing += [ChunkId(each) for each in sorted(left)[: _NAMED - len(usage.missing)]]
