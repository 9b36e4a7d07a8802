"""The last manifest, kept on this machine in plaintext (mode 0600), in its own order: the file cache.

An unchanged file is found by merging two sorted streams. Where a run broke off after a checkpoint, its part of the manifest
comes first, and then the whole manifest before it: what it has of the same paths is passed over by who merges.

It is a cache: segments and runs are checked against their ids when used, and anything odd means that files are read.
`manifest_part` says what is in the files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from chunkstore.format.tree_nodes import SegmentRef
from chunkstore.repository.manifest_part import (
    CachedSegment,
    CacheHeader,
    Part,
    open_part,
    pack_checkpoint,
    pack_end,
    pack_segment,
)
from chunkstore.repository.places import write_private

__all__ = ["CacheHeader", "CachedSegment", "ManifestCache", "ManifestCacheWriter", "open_manifest_cache"]


class ManifestCacheWriter:
    """Writes beside the old cache and replaces it when told to `keep`.

    It is a cache: when it can not be written, that is said once, and the snapshot goes on without it.
    """

    def __init__(self, directory: Path, name: str, header: CacheHeader, warn: Callable[[str], None]) -> None:
        self._name = name
        self._path = directory / f"{name}.manifest"
        self._ids_path = directory / f"{name}-{header.snapshot}.ids"
        self._new_path = directory / f"{name}-{header.snapshot}.new"
        self._header = header
        self._warn = warn
        self._segments = 0
        self._files: list[BinaryIO] = []
        self._kept = self._broken = False
        with self._giving_up():
            self._sweep()
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

    def _sweep(self) -> None:
        """Remove what runs left: files of this name that nobody holds and the last manifest does not need."""
        last = open_manifest_cache(self._path.parent, self._name)
        needed = last.paths if last else frozenset()
        if last:
            last.close()
        for path in self._path.parent.glob(f"{self._name}[-.]*"):
            if path.suffix in (".ids", ".new", ".checkpoint") and path not in needed and not _is_held(path):
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
            self._files[0].write(pack_segment(ref, data))
            self._segments += 1

    def checkpoint(self, tail: tuple[SegmentRef, bytes] | None, files: int, size: int) -> None:
        """What is here so far belongs to a snapshot now: if the run breaks off, the next one begins with it.

        `tail` is the segment that is still open, `files` and `size` are what there was so far.
        """
        if not self._broken:
            with self._giving_up():
                for file in self._files:
                    file.flush()
                header = replace(self._header, files=files, size=size)
                data = pack_checkpoint(header, self._files[0].tell(), tail)
                write_private(self._path.with_suffix(".checkpoint"), data)

    def keep(self, files: int, size: int) -> None:
        """From now on this is the last manifest; so many files, with so many bytes, are in it."""
        if not self._broken:
            with self._giving_up():
                self._replace(replace(self._header, files=files, size=size))

    def _replace(self, header: CacheHeader) -> None:
        manifest, ids = self._files
        manifest.write(pack_end(self._segments))
        manifest.seek(0)
        manifest.write(header.pack())
        manifest.flush()
        ids.flush()
        os.replace(self._new_path, self._path)
        self._kept = True
        self._sweep()  # what was replaced; other ids may be those of a run that is still under way

    def close(self) -> None:
        """Remove what was not kept and belongs to no checkpoint."""
        for file in self._files:
            with contextlib.suppress(OSError):  # what a full disk did not take
                file.close()
        if not self._kept:
            with self._giving_up():
                self._sweep()


class ManifestCache:
    """Reads a cache from front to back: a manifest, or the part of one up to a checkpoint and the manifest before it."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._begun = [(0, parts[0])]

    @property
    def headers(self) -> tuple[CacheHeader, ...]:
        """Of each part."""
        return tuple(part.header for part in self._parts)

    @property
    def whole(self) -> CacheHeader | None:
        """Of the last snapshot that came to its end."""
        return next((part.header for part in self._parts if part.is_whole), None)

    @property
    def paths(self) -> frozenset[Path]:
        """The files that are needed to read it."""
        return frozenset(path for part in self._parts for path in part.paths)

    def segments(self) -> Iterator[CachedSegment]:
        """All segments; those of a second part go over paths again that the first part has."""
        first_id = 0
        self._begun.clear()
        for part in self._parts:
            self._begun.append((first_id, part))
            for each in part.segments(first_id):
                yield each
                first_id = each.first_id + each.ids

    def ids(self, first: int, count: int) -> bytes:
        """`count` joined ids of one segment that was read, from number `first` on; shorter where the file is cut off."""
        begin, part = next(each for each in reversed(self._begun) if each[0] <= first)
        return part.ids(first - begin, count)

    def close(self) -> None:
        for part in self._parts:
            part.close()


def open_manifest_cache(directory: Path, name: str) -> ManifestCache | None:
    """The last manifest of this name, if there is one that looks whole."""
    whole, checkpoint = (open_part(directory / f"{name}.{which}") for which in ("manifest", "checkpoint"))
    if checkpoint and whole and checkpoint.header.started <= whole.header.started:
        checkpoint.close()  # a run that came to its end made it useless
        checkpoint = None
    parts = [part for part in (checkpoint, whole) if part]
    return ManifestCache(parts) if parts else None


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
