"""The last manifest, kept on this machine in plaintext (mode 0600), in its own order: the file cache.

An unchanged file is found by merging two sorted streams. Two files, written while a snapshot is made:

`<name>.manifest`: magic, snapshot id (16 bytes), generation, losses of the local index, start of the snapshot, number of files, their bytes (8 bytes
each); then for each segment a head (length, number of runs, number of ids, segment id), its runs (id, count) and its bytes; then 4 zero bytes and the
number of segments. `<name>-<snapshot id>.ids`: the chunk ids of all entries, joined.

It is a cache: segments and runs are checked against their ids when used, and anything odd means that files are read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from chunkstore.format.tree_nodes import RunRef, SegmentRef
from chunkstore.ids import ID_SIZE, ChunkId, SnapshotId

_MAGIC = b"CSMANIF3"
_HEADER = struct.Struct(">8s16sQQQQQ")
_HEAD = struct.Struct(">IIQ32s")
_RUN = struct.Struct(">32sI")
_TAIL = struct.Struct(">IQ")


@dataclass(frozen=True, slots=True)
class CacheHeader:
    """Which snapshot the cache is of, the generation its run synced, the `losses` of the local index then, when it
    started (ns since 1970), and how much there was: files, and their bytes.
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
    """A segment, its bytes, and the number of its first id among all ids of the manifest."""

    ref: SegmentRef
    data: bytes
    first_id: int
    ids: int


class ManifestCacheWriter:
    """Writes beside the old cache and replaces it when told to `keep`.

    It is a cache: when it can not be written, that is said once, and the snapshot goes on without it.
    """

    def __init__(self, directory: Path, name: str, header: CacheHeader, warn: Callable[[str], None]) -> None:
        self._path = directory / f"{name}.manifest"
        self._ids_path = directory / f"{name}-{header.snapshot}.ids"
        self._new_path = directory / f"{name}-{header.snapshot}.new"
        self._header = header
        self._warn = warn
        self._segments = 0
        self._files: list[BinaryIO] = []
        self._kept = self._broken = False
        with self._giving_up():
            self._sweep(name)
            self._files = [_create(self._new_path), _create(self._ids_path)]
            self._files[0].write(header.pack())

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            self._give_up(e)

    def _give_up(self, error: OSError) -> None:
        self._broken = True
        self._warn(f"the next snapshot will read every file again: {self._path.parent}: {error.strerror}")

    def _sweep(self, name: str) -> None:
        """Remove what killed runs left: files of this name that nobody holds and the last manifest does not need."""
        last = open_manifest_cache(self._path.parent, name)
        with contextlib.closing(last) if last else contextlib.nullcontext():
            for path in (*self._path.parent.glob(f"{name}-*.ids"), *self._path.parent.glob(f"{name}-*.new")):
                if (last is None or path != last.ids_path) and not _is_held(path):
                    path.unlink(missing_ok=True)

    def ids(self, ids: bytes) -> None:
        if self._broken:
            return
        try:
            self._files[1].write(ids)
        except OSError as e:  # once for each file: no context manager here
            self._give_up(e)

    def segment(self, ref: SegmentRef, data: bytes) -> None:
        if self._broken:
            return
        with self._giving_up():
            count = sum(run.count for run in ref.runs)
            manifest = self._files[0]
            manifest.write(_HEAD.pack(len(data), len(ref.runs), count, ref.segment_id))
            manifest.writelines(_RUN.pack(run.run_id, run.count) for run in ref.runs)
            manifest.write(data)
            self._segments += 1

    def keep(self, files: int, size: int) -> None:
        """From now on this is the last manifest; so many files, with so many bytes, are in it."""
        if not self._broken:
            with self._giving_up():
                self._replace(replace(self._header, files=files, size=size))

    def _replace(self, header: CacheHeader) -> None:
        manifest, ids = self._files
        manifest.write(_TAIL.pack(0, self._segments))
        manifest.seek(0)
        manifest.write(header.pack())
        manifest.flush()
        ids.flush()
        replaced = open_manifest_cache(self._path.parent, self._path.name.removesuffix(".manifest"))
        os.replace(self._new_path, self._path)
        self._kept = True
        if replaced:  # other ids may be those of a run that is still under way
            replaced.close()
            replaced.ids_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what was not kept."""
        for file in self._files:
            with contextlib.suppress(OSError):  # what a full disk did not take
                file.close()
        if not self._kept:
            self._new_path.unlink(missing_ok=True)
            self._ids_path.unlink(missing_ok=True)


class ManifestCache:
    """Reads a cache from front to back."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` or `ValueError` when there is none that can be used."""
        self._files = contextlib.ExitStack()
        self._manifest: BinaryIO = self._files.enter_context(path.open("rb"))
        try:
            magic, snapshot, *numbers = _HEADER.unpack(_exactly(self._manifest, _HEADER.size))
            if magic != _MAGIC:
                raise ValueError("not a manifest cache")
            self.header = CacheHeader(SnapshotId(snapshot.hex()), *numbers)
            self.ids_path = path.with_name(f"{path.name.removesuffix('.manifest')}-{self.header.snapshot}.ids")
            self._ids: BinaryIO = self._files.enter_context(self.ids_path.open("rb"))
        except BaseException:
            self._files.close()
            raise

    def segments(self) -> Iterator[CachedSegment]:
        """All segments; ends early, without an error, where the file is cut off or strange."""
        first_id = 0
        with contextlib.suppress(ValueError, struct.error):
            while True:
                length = int.from_bytes(_exactly(self._manifest, 4), "big")
                if not length:
                    return
                rest = _exactly(self._manifest, _HEAD.size - 4)
                _, runs, ids, segment_id = _HEAD.unpack(length.to_bytes(4, "big") + rest)
                table = _exactly(self._manifest, runs * _RUN.size)
                refs = tuple(RunRef(ChunkId(run_id), count) for run_id, count in _RUN.iter_unpack(table))
                if sum(run.count for run in refs) != ids:
                    return
                ref = SegmentRef(ChunkId(segment_id), length, refs)
                yield CachedSegment(ref, _exactly(self._manifest, length), first_id, ids)
                first_id += ids

    def ids(self, first: int, count: int) -> bytes:
        """`count` joined ids from number `first` on; shorter where the file is cut off."""
        self._ids.seek(first * ID_SIZE)
        return self._ids.read(count * ID_SIZE)

    def close(self) -> None:
        self._files.close()


def open_manifest_cache(directory: Path, name: str) -> ManifestCache | None:
    """The last manifest of this name, if there is one that looks whole."""
    try:
        return ManifestCache(directory / f"{name}.manifest")
    except (OSError, ValueError, struct.error):
        return None


def _exactly(file: BinaryIO, size: int) -> bytes:
    if size > os.fstat(file.fileno()).st_size:
        raise ValueError("cut off")
    data = file.read(size)
    if len(data) != size:
        raise ValueError("cut off")
    return data


def _create(path: Path) -> BinaryIO:
    """A new file that is held: as long as it is open, `_is_held` says so to other processes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return os.fdopen(descriptor, "wb", buffering=1 << 18)


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
