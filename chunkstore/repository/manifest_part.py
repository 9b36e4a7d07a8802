"""The files of the last manifest: one manifest or the beginning of one, and how each segment stands in them.

`<name>.manifest`: magic, snapshot id (16 bytes), generation, losses of the local index, start of the snapshot, number of
files, their bytes (8 bytes each); then for each segment a head (length, number of runs, number of ids, segment id), its runs
(id, count) and its bytes; then 4 zero bytes and the number of segments. `<name>-<snapshot id>.ids`: the chunk ids of all
entries, joined. While a run is under way its manifest is called `<name>-<snapshot id>.new`.

`<name>.checkpoint` says that the beginning of such a `.new` file belongs to a partial snapshot: magic, the header as above,
how many bytes of the file count (8 bytes); then the segment that was still open, if one was, like those in the file, and 4 zero
bytes.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from chunkstore.format.tree_nodes import RunRef, SegmentRef
from chunkstore.ids import ID_SIZE, ChunkId, SnapshotId

_MAGIC = b"CSMANIF3"
_MAGIC_CHECKPOINT = b"CSCHECK1"
_HEADER = struct.Struct(">8s16sQQQQQ")
_HEAD = struct.Struct(">IIQ32s")
_RUN = struct.Struct(">32sI")
_TAIL = struct.Struct(">IQ")
_LENGTH = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class CacheHeader:
    """Which run wrote the cache (the id with which it began), the generation it synced, the `losses` of the local index
    then, when it started (ns since 1970), and how much there was: files, and their bytes.
    """

    snapshot: SnapshotId
    generation: int
    losses: int
    started: int
    files: int = 0
    size: int = 0

    def pack(self) -> bytes:
        numbers = (self.generation, self.losses, self.started, self.files, self.size)
        return _HEADER.pack(_MAGIC, bytes.fromhex(self.snapshot), *numbers)


class CachedSegment(NamedTuple):
    """A segment, its bytes, the number of its first id among all ids of the cache, and how many it has.

    `started`: of the run that wrote it. `whole`: it ends where a segment ends, and not because a checkpoint was made.
    """

    ref: SegmentRef
    data: bytes
    first_id: int
    ids: int
    started: int
    whole: bool


def pack_segment(ref: SegmentRef, data: bytes) -> bytes:
    """A segment as it stands in the files."""
    count = sum(run.count for run in ref.runs)
    head = _HEAD.pack(len(data), len(ref.runs), count, ref.segment_id)
    return b"".join((head, *(_RUN.pack(run.run_id, run.count) for run in ref.runs), data))


def pack_end(segments: int) -> bytes:
    """What follows so many segments."""
    return _TAIL.pack(0, segments)


def pack_checkpoint(header: CacheHeader, length: int, tail: tuple[SegmentRef, bytes] | None) -> bytes:
    """The file that makes the first `length` bytes of a manifest that is being written count."""
    last = pack_segment(*tail) if tail else b""
    return _MAGIC_CHECKPOINT + header.pack() + _LENGTH.pack(length) + last + pack_end(0)


class Part:
    """A manifest or the beginning of one, read from front to back."""

    def __init__(self, path: Path) -> None:
        """`path` is that of a manifest or a checkpoint. Raises `OSError`, `ValueError` or `struct.error`."""
        self._files = contextlib.ExitStack()
        try:
            self._end: int | None = None
            self._manifest = self._open(path)
            checkpoint = path.suffix == ".checkpoint"
            if checkpoint and _exactly(self._manifest, len(_MAGIC_CHECKPOINT)) != _MAGIC_CHECKPOINT:
                raise ValueError("not a checkpoint")
            self.header = _read_header(self._manifest)
            base = f"{path.stem}-{self.header.snapshot}"
            self.paths = {path, path.with_name(f"{base}.ids")}
            self._ids = self._open(path.with_name(f"{base}.ids"))
            if checkpoint:
                (self._end,) = _LENGTH.unpack(_exactly(self._manifest, _LENGTH.size))
                self._tail, self._manifest = self._manifest, self._open(path.with_name(f"{base}.new"))
                self.paths.add(path.with_name(f"{base}.new"))
                self._manifest.seek(_HEADER.size)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path) -> BinaryIO:
        return self._files.enter_context(path.open("rb"))

    @property
    def is_whole(self) -> bool:
        """Whether it is a manifest from beginning to end."""
        return self._end is None

    def segments(self, first_id: int) -> Iterator[CachedSegment]:
        """All segments; ends early, without an error, where a file is cut off or strange."""
        with contextlib.suppress(ValueError, struct.error):
            for each in self._segments(self._manifest, first_id, self._end):
                yield each
                first_id += each.ids
            if self._end is not None:
                for each in self._segments(self._tail, first_id, None):
                    yield each._replace(whole=False)

    def _segments(self, file: BinaryIO, first_id: int, end: int | None) -> Iterator[CachedSegment]:
        while end is None or file.tell() < end:
            length = int.from_bytes(_exactly(file, 4), "big")
            if not length:
                return
            rest = _exactly(file, _HEAD.size - 4)
            _, runs, ids, segment_id = _HEAD.unpack(length.to_bytes(4, "big") + rest)
            table = _exactly(file, runs * _RUN.size)
            refs = tuple(RunRef(ChunkId(run_id), count) for run_id, count in _RUN.iter_unpack(table))
            if sum(run.count for run in refs) != ids:
                raise ValueError("another number of ids")
            ref = SegmentRef(ChunkId(segment_id), length, refs)
            yield CachedSegment(ref, _exactly(file, length), first_id, ids, self.header.started, True)
            first_id += ids

    def ids(self, first: int, count: int) -> bytes:
        """`count` joined ids from number `first` of this part on; shorter where the file is cut off."""
        self._ids.seek(first * ID_SIZE)
        return self._ids.read(count * ID_SIZE)

    def close(self) -> None:
        self._files.close()


def open_part(path: Path) -> Part | None:
    """The manifest or checkpoint at `path`, if there is one that looks whole."""
    try:
        return Part(path)
    except (OSError, ValueError, struct.error):
        return None


def _read_header(file: BinaryIO) -> CacheHeader:
    magic, snapshot, *numbers = _HEADER.unpack(_exactly(file, _HEADER.size))
    if magic != _MAGIC:
        raise ValueError("not a manifest cache")
    return CacheHeader(SnapshotId(snapshot.hex()), *numbers)


def _exactly(file: BinaryIO, size: int) -> bytes:
    if size > os.fstat(file.fileno()).st_size:
        raise ValueError("cut off")
    data = file.read(size)
    if len(data) != size:
        raise ValueError("cut off")
    return data
