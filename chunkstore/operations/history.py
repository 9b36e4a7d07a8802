"""The versions of one path over many snapshots. What snapshots share on the way to it is read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from chunkstore.errors import Damaged
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.comparing import Change, Difference, State, difference_of, present, same_content, state_of
from chunkstore.repository.manifest_reader import ChunkSource, ManifestEntry, ManifestReader

_REMEMBERED = 32
"""Chunks of manifests, of at most 1 MiB: about what leads to one path in a few groups of snapshots."""

OnDamage = Callable[[Snapshot, Damaged], None]


class Remembering:
    """A source that keeps the chunks that were asked for last."""

    def __init__(self, source: ChunkSource) -> None:
        self._source = source
        self._chunks: OrderedDict[ChunkId, bytes] = OrderedDict()

    def read(self, kind: ChunkKind, chunk_id: ChunkId) -> bytes:
        data = self._chunks.get(chunk_id)
        if data is None:
            data = self._chunks[chunk_id] = self._source.read(kind, chunk_id)
            if len(self._chunks) > _REMEMBERED:
                self._chunks.popitem(last=False)
        else:
            self._chunks.move_to_end(chunk_id)
        return data


@dataclass(frozen=True, slots=True)
class Version:
    """What a path was from the snapshot `first` to `last`, in `snapshots` of them, and what had happened to it."""

    found: Difference
    first: Snapshot
    last: Snapshot
    snapshots: int


def covers(snapshot: Snapshot, path: bytes) -> bool:
    """Whether the snapshot would have the path if the path was there."""
    return any(path == root or path.startswith(root.rstrip(b"/") + b"/") for root in snapshot.record.roots)


def history(snapshots: Iterable[Snapshot], source: ChunkSource, path: bytes, on_damage: OnDamage) -> Iterator[Version]:
    """The versions of the file or directory at `path`, oldest first, host by host; `snapshots` come oldest first.

    Snapshots that do not cover the path say nothing about it, nor do those that can not be read.
    """
    remembering = Remembering(source)
    hosts: dict[str, list[Snapshot]] = {}
    for each in snapshots:
        if covers(each, path):
            hosts.setdefault(each.record.host, []).append(each)
    for group in hosts.values():
        yield from _versions(group, remembering, path, on_damage)


def _versions(
    snapshots: Iterable[Snapshot], source: ChunkSource, path: bytes, on_damage: OnDamage
) -> Iterator[Version]:
    current: Version | None = None
    before: tuple[ManifestReader, ManifestEntry] | None = None
    for snapshot in snapshots:
        manifest = ManifestReader(source, snapshot.record.content_root, snapshot.record.reference_root)
        try:
            entry = present(manifest.find(path))
            found = _compare(path, before, (manifest, entry) if entry else None)
        except Damaged as e:
            on_damage(snapshot, e)
            continue
        before = (manifest, entry) if entry else None
        if found is None and current is not None:
            current = Version(current.found, current.first, snapshot, current.snapshots + 1)
        elif found is not None:
            if current is not None:
                yield current
            current = Version(found, snapshot, snapshot, 1)
    if current is not None:
        yield current


def _compare(
    path: bytes, before: tuple[ManifestReader, ManifestEntry] | None, after: tuple[ManifestReader, ManifestEntry] | None
) -> Difference | None:
    old: State | None = state_of(before[1]) if before else None
    new: State | None = state_of(after[1]) if after else None
    return difference_of(path, old, new, lambda: bool(before and after and same_content(*before, *after)))


def is_there(version: Version) -> bool:
    """Whether the path existed then."""
    return version.found.change is not Change.REMOVED
