"""The last manifest, kept on this machine in plaintext (mode 0600), in its own order: the file cache.

An unchanged file is found by merging two sorted streams. Two files, written while a snapshot is made:

`<name>.manifest`: magic, snapshot id (16 bytes), generation, start of the snapshot, number of files, their bytes (8 bytes
each); then for each segment a head (length, number of runs, number of ids, segment id), its runs (id, count) and its bytes; then 4 zero bytes and the
number of segments. `<name>-<snapshot id>.ids`: the chunk ids of all entries, joined.

It is a cache: segments and runs are checked against their ids when used, and anything odd means that files are read.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from chunkstore.format.tree_nodes import RunRef, SegmentRef
from chunkstore.ids import ID_SIZE, ChunkId, SnapshotId

_MAGIC = b"CSMANIF1"
_HEADER = struct.Struct(">8s16sQQQQ")
_HEAD = struct.Struct(">IIQ32s")
_RUN = struct.Struct(">32sI")
_TAIL = struct.Struct(">IQ")


@dataclass(frozen=True, slots=True)
class CacheHeader:
    """Which snapshot the cache is of, the generation its run synced, when it started (ns since 1970), and how much
    there was: files, and their bytes.
    """

    snapshot: SnapshotId
    generation: int
    started: int
    files: int = 0
    size: int = 0

    def pack(self) -> bytes:
        numbers = (self.generation, max(self.started, 0), self.files, self.size)
        return _HEADER.pack(_MAGIC, bytes.fromhex(self.snapshot), *numbers)


class CachedSegment(NamedTuple):
    """A segment, its bytes, and the number of its first id among all ids of the manifest."""

    ref: SegmentRef
    data: bytes
    first_id: int
    ids: int


class ManifestCacheWriter:
    """Writes beside the old cache and replaces it when told to `keep`."""

    def __init__(self, directory: Path, name: str, header: CacheHeader) -> None:
        self._path = directory / f"{name}.manifest"
        self._ids_path = directory / f"{name}-{header.snapshot}.ids"
        self._temporary = directory / f"{name}-{header.snapshot}.new"
        self._manifest = _create(self._temporary)
        self._ids = _create(self._ids_path)
        self._header = header
        self._manifest.write(header.pack())
        self._segments = 0
        self._kept = False

    def ids(self, ids: bytes) -> None:
        self._ids.write(ids)

    def segment(self, ref: SegmentRef, data: bytes) -> None:
        count = sum(run.count for run in ref.runs)
        self._manifest.write(_HEAD.pack(len(data), len(ref.runs), count, ref.segment_id))
        self._manifest.writelines(_RUN.pack(run.run_id, run.count) for run in ref.runs)
        self._manifest.write(data)
        self._segments += 1

    def keep(self, files: int, size: int) -> None:
        """From now on this is the last manifest; so many files, with so many bytes, are in it."""
        self._manifest.write(_TAIL.pack(0, self._segments))
        self._manifest.seek(0)
        self._manifest.write(replace(self._header, files=files, size=size).pack())
        self._manifest.close()
        self._ids.close()
        os.replace(self._temporary, self._path)
        self._kept = True
        stem = self._ids_path.name[: -len(".ids") - 32]
        for other in self._path.parent.glob("*.ids"):
            if other.name[: -len(".ids") - 32] == stem and other != self._ids_path:
                other.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what was not kept."""
        self._manifest.close()
        self._ids.close()
        if not self._kept:
            self._temporary.unlink(missing_ok=True)
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
            ids_path = path.with_name(f"{path.name.removesuffix('.manifest')}-{self.header.snapshot}.ids")
            self._ids: BinaryIO = self._files.enter_context(ids_path.open("rb"))
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
    data = file.read(size)
    if len(data) != size:
        raise ValueError("cut off")
    return data


def _create(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb", buffering=1 << 18)
