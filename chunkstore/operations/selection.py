"""Which entries of a snapshot are meant by a path, and where they land in a target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chunkstore.errors import PathNotFound
from chunkstore.format.entries import DIRECTORY
from chunkstore.format.records import SnapshotRecord
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.tree.display import display_path


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry and its place below the target, empty for the target itself."""

    relative: bytes
    found: ManifestEntry


def require(manifest: ManifestReader, path: bytes) -> ManifestEntry:
    """The entry of this path; `PathNotFound` with what to look at."""
    found = manifest.find(path)
    if found is None:
        raise PathNotFound(f"{display_path(path)} is not in the snapshot; `chunkstore ls` shows what is")
    return found


def select(manifest: ManifestReader, record: SnapshotRecord, path: bytes | None) -> Iterator[Placed]:
    """The entries below `path`, an original absolute path, or all of them, with their places.

    The contents of the one root, or of a directory `path`, land directly in the target; a file lands under its name;
    several roots land at their absolute paths.
    """
    base = path if path is not None else record.roots[0] if len(record.roots) == 1 else None
    if base is None:
        for found in manifest.entries():
            yield Placed(found.path[1:], found)
        return
    top = require(manifest, base)
    if top.entry.kind != DIRECTORY:
        yield Placed(top.entry.name, top)
        return
    yield Placed(b"", top)
    skip = len(base) if base == b"/" else len(base) + 1
    for found in manifest.below(base):
        yield Placed(found.path[skip:], found)
