"""The hot loop of a first snapshot: small files that the last manifest does not have, one after the other."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from chunkstore.format.entries import FILE, Row
from chunkstore.operations.snapshot.file_content import FileContent
from chunkstore.progress import Progress
from chunkstore.repository.manifest_writer import ManifestWriter
from chunkstore.tree.reading import open_source

_AT_ONCE = 256
"""Files between two reports."""


class Stored(NamedTuple):
    """The position after a run of files that were stored, how many they were, and their bytes."""

    end: int
    files: int = 0
    size: int = 0


class NewFiles:
    """Stores runs of plain files of one chunk. Whatever is not that, or can not be read, ends a run: it is for others."""

    def __init__(self, content: FileContent, manifest: ManifestWriter, progress: Progress) -> None:
        self._content = content
        self._manifest = manifest
        self._progress = progress

    def store_run(self, parent: bytes, children: Sequence[tuple[bytes, os.stat_result]], at: int) -> Stored:
        """Store children of a directory, from `at` on, as far as they are such files. Nothing may be held back in the
        last manifest, which has none of them.
        """
        prefix = parent if parent == b"/" else parent + b"/"
        small, store, told = self._content.small, self._content.store_small, self._progress.stored
        rows: list[tuple[bytes, Row, int]] = []
        ids: list[bytes] = []
        total = 0
        for name, status in children[at : at + _AT_ONCE]:
            size, mode = status.st_size, status.st_mode
            if not stat.S_ISREG(mode) or status.st_nlink > 1 or not 0 < size <= small:
                break
            if size > status.st_blocks * 512:  # may have holes
                break
            path = prefix + name
            if not rows:
                self._progress.current(path)
            try:
                descriptor = open_source(path)
                try:
                    content = store(descriptor, path, status)
                finally:
                    os.close(descriptor)
            except OSError:
                break
            if content is None:
                break
            times = status.st_mtime_ns, status.st_ctime_ns
            owner = status.st_uid, status.st_gid
            row = [name, FILE, mode & 0o7777, *owner, *times, status.st_ino, size, 1, content.extra]
            rows.append((parent, row, 0))
            ids += content.ids
            total += size
            told(path, size, True)
        if rows:
            self._manifest.add_rows(rows, b"".join(ids), ends=True)
            self._progress.advance(len(rows), 0)
        return Stored(at + len(rows), len(rows), total)
