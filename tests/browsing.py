"""Manifests and snapshots in memory, for tests of what looks into many of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, Entry, components, join, sort_key
from chunkstore.format.records import SignedRecord, SnapshotRecord
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import Snapshot, as_committed
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.repository.manifest_writer import ManifestWriter, Roots
from tests.sample_objects import DictChunks, NoLog, make_key

KEY = make_key(11)
DAY = 86400 * 10**9
Files = Mapping[bytes, tuple[Entry, bytes]]
"""Absolute path -> entry and joined chunk ids."""


def ids(seed: object, count: int = 1) -> bytes:
    return Random(str(seed)).randbytes(32 * count)


def file(seed: object = 0, chunks: int = 1, size: int | None = None, **changes: Any) -> tuple[Entry, bytes]:
    """A file whose content is what `seed` says; its name is given when it is written."""
    size = 100 * chunks if size is None else size
    entry = Entry(b"", FILE, 0o644, 1000, 1000, 5, 6, 7, size, chunks, None)
    return entry._replace(**changes), ids(seed, chunks)


def directory(**changes: Any) -> tuple[Entry, bytes]:
    return Entry(b"", DIRECTORY, 0o755, 0, 0, 5, 6, 7, 0, 0, None)._replace(**changes), b""


def above() -> tuple[Entry, bytes]:
    """A directory that is there because a root lies below it."""
    return directory(extra={"ancestor": True}, mtime_ns=0, ctime_ns=0, inode=0)


def link(target: bytes, **changes: Any) -> tuple[Entry, bytes]:
    return Entry(b"", SYMLINK, 0o777, 0, 0, 5, 6, 7, len(target), 0, {"target": target})._replace(**changes), b""


def whole(files: Files, roots: Iterable[bytes] = (b"/r",)) -> dict[bytes, tuple[Entry, bytes]]:
    """The files, and the directories they are in."""
    found = dict(files)
    for path in [*files, *roots]:
        parts = components(path)
        for end in range(len(parts)):
            parent = b"/" + b"/".join(parts[:end])
            leads = not any((parent + b"/").startswith(root.rstrip(b"/") + b"/") for root in roots)
            found.setdefault(parent, above() if leads else directory())
    return found


def write(files: Files, chunks: DictChunks) -> Roots:
    writer = ManifestWriter(chunks, KEY.segment_cut_key, NoLog())
    placed = []
    for path, (entry, joined) in files.items():
        parent, _, name = path.rpartition(b"/")
        placed.append((parent or b"/", entry._replace(name=name), joined))
    for parent, entry, joined in sorted(placed, key=lambda each: sort_key(each[0], each[1].name)):
        writer.add_ids(joined)
        writer.add(parent, entry)
    return writer.finish()


def manifest(files: Files, chunks: DictChunks) -> ManifestReader:
    roots = write(files, chunks)
    return ManifestReader(chunks, roots.content, roots.reference)


class Store:
    """Snapshots, a day apart, in one dict of chunks."""

    def __init__(self) -> None:
        self.chunks = DictChunks(KEY)
        self.snapshots: list[Snapshot] = []

    def add(self, files: Files, roots: tuple[bytes, ...] = (b"/r",), host: str = "host") -> Snapshot:
        """One more snapshot of these files; directories are made up."""
        written = write(whole(files, roots), self.chunks)
        number = len(self.snapshots) + 1
        record = SnapshotRecord(
            id=SnapshotId(f"{number:032x}"),
            time=number * DAY,
            end=number * DAY + 1,
            host=host,
            user="user",
            roots=roots,
            tags=(),
            description="",
            content_root=written.content,
            reference_root=written.reference,
            client=b"c" * 16,
            sequence=number,
            previous=b"",
            generation=0,
            partial=False,
            errors=0,
            statistics={},
        )
        self.snapshots.append(as_committed(SignedRecord(record, b"", None)))
        return self.snapshots[-1]

    def manifest(self, snapshot: Snapshot) -> ManifestReader:
        return ManifestReader(self.chunks, snapshot.record.content_root, snapshot.record.reference_root)


def many(count: int, directories: int = 100) -> dict[bytes, tuple[Entry, bytes]]:
    """So many files below `/r`."""
    each = count // directories
    return {
        join(b"/r/d%03d" % d, b"file %05d" % n): file((d, n), inode=d * each + n)
        for d in range(directories)
        for n in range(each)
    }
