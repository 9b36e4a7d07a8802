"""What differs between two snapshots, or parts of them. What both share is skipped by its ids, without being read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from chunkstore.errors import PathNotFound
from chunkstore.format.entries import DIRECTORY, FILE
from chunkstore.operations.comparing import Change, Difference, State, difference_of, present, same_content, state_of
from chunkstore.repository.manifest_cursor import Cursor, Pair, below, unequal
from chunkstore.repository.manifest_reader import Key, ManifestEntry, ManifestReader
from chunkstore.tree.display import display_path

TOP: Key = ((), b"")
"""The key of what is compared, in itself."""
Takes = Callable[[bytes, bool], bool]
"""Whether an absolute path, a directory or not, is to be compared."""


def everything(path: bytes, directory: bool) -> bool:
    """The `Takes` that leaves nothing out."""
    return True


@dataclass(frozen=True, slots=True)
class Part:
    """A snapshot, or what is at and below an absolute path of it."""

    manifest: ManifestReader
    path: bytes | None = None

    def top(self) -> ManifestEntry | None:
        """The entry of the path, where there is one."""
        return None if self.path is None else self.manifest.find(self.path)


@dataclass(slots=True)
class Totals:
    """How many paths changed in which way, and the bytes of files: that came or went, and of those that changed."""

    added: int = 0
    removed: int = 0
    content: int = 0
    metadata: int = 0
    kind: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    bytes_changed_before: int = 0
    bytes_changed_after: int = 0

    def count(self, found: Difference) -> None:
        """One more. A path of another kind now counts as a file that went, and one that came."""
        before, after = size_of(found.before), size_of(found.after)
        match found.change:
            case Change.ADDED:
                self.added += 1
            case Change.REMOVED:
                self.removed += 1
            case Change.KIND:
                self.kind += 1
            case Change.CONTENT:
                self.content += 1
                self.bytes_changed_before += before
                self.bytes_changed_after += after
                return
            case Change.METADATA:
                self.metadata += 1
                return
        self.bytes_removed += before
        self.bytes_added += after

    @property
    def any(self) -> bool:
        """Whether there was a difference at all."""
        return bool(self.added or self.removed or self.content or self.metadata or self.kind)


def size_of(state: State | None) -> int:
    """Bytes of a file; 0 of anything else."""
    return state.entry.size if state and state.entry.kind == FILE else 0


class Naming:
    """How what differs is called: by its path, or, where two parts have different ones, by its path below these."""

    def __init__(self, one: bytes | None, other: bytes | None) -> None:
        self._absolute = one == other

    def __call__(self, key: Key, absolute: bytes) -> bytes:
        return absolute if self._absolute else b"/".join((*key[0], key[1])) or b"."


def difference(before: Part, after: Part, takes: Takes = everything) -> Iterator[Difference]:
    """What differs, in manifest order. Directories that only lead to what was chosen are not part of a snapshot.

    Where one side names a path, it is meant for both. Raises `PathNotFound` where neither has it.
    """
    before = replace(before, path=after.path if before.path is None else before.path)
    after = replace(after, path=before.path if after.path is None else after.path)
    named = Naming(before.path, after.path)
    for key, old, new in _pairs(before, after):
        old, new = _chosen(old, takes), _chosen(new, takes)
        found = _compare(named, key, before.manifest, old, after.manifest, new)
        if found:
            yield found


def _pairs(before: Part, after: Part) -> Iterator[Pair]:
    if before.path is None or after.path is None:
        yield from unequal(Cursor(before.manifest), Cursor(after.manifest))
        return
    old, new = before.top(), after.top()
    if present(old) is None and present(new) is None:
        raise PathNotFound(f"{display_path(before.path)} is in neither snapshot; `chunkstore ls` shows what is")
    yield TOP, old, new
    one = Cursor(before.manifest, below(before.path, before.path))
    yield from unequal(one, Cursor(after.manifest, below(after.path, after.path)))


def _chosen(found: ManifestEntry | None, takes: Takes) -> ManifestEntry | None:
    found = present(found)
    return found if found is not None and takes(found.path, found.entry.kind == DIRECTORY) else None


def _compare(
    named: Naming,
    key: Key,
    old_manifest: ManifestReader,
    old: ManifestEntry | None,
    new_manifest: ManifestReader,
    new: ManifestEntry | None,
) -> Difference | None:
    either = new or old
    if either is None:
        return None

    def same() -> bool:
        return old is not None and new is not None and same_content(old_manifest, old, new_manifest, new)

    return difference_of(named(key, either.path), state_of(old), state_of(new), same)
