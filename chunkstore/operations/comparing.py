"""One file at two times: whether anything about it changed that people mean when they say so.

Content is what the chunks and the layout of the holes say, the target of a link, the number of a device. Metadata is the
rest, but not ctime, inode and atime: they change by themselves, and no restore brings them back.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from chunkstore.format.entries import FILE, SYMLINK, Entry
from chunkstore.format.owners import NO_OWNERS, Owners
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader

_ACL = b"system.posix_acl_"


class Change(enum.Enum):
    """What happened to a path; the value is how a line of it begins."""

    ADDED = "+"
    REMOVED = "-"
    KIND = "T"
    CONTENT = "M"
    METADATA = "U"


class State(NamedTuple):
    """A file at one time, and the names of its owners."""

    path: bytes
    entry: Entry
    owners: Owners = NO_OWNERS


class Difference(NamedTuple):
    """What happened between two times; `fields` are the kinds of metadata that changed."""

    path: bytes
    change: Change
    before: State | None
    after: State | None
    fields: tuple[str, ...] = ()


def state_of(found: ManifestEntry | None) -> State | None:
    """An entry of a manifest, without its place among the chunk ids."""
    return State(found.path, found.entry, found.owners) if found else None


def is_acl(name: bytes) -> bool:
    """Whether an extended attribute is a POSIX ACL."""
    return name.startswith(_ACL)


def present(found: ManifestEntry | None) -> ManifestEntry | None:
    """The entry, if it is part of the snapshot: a directory that only leads to what was chosen is not."""
    return None if found is None or found.entry.ancestor else found


def difference_of(
    path: bytes, before: State | None, after: State | None, same: Callable[[], bool]
) -> Difference | None:
    """What happened to a path; None where nothing did. `same` is asked, about content, where it matters."""
    if before is None or after is None:
        if before is after:
            return None
        return Difference(path, Change.REMOVED if before else Change.ADDED, before, after)
    if before.entry.kind != after.entry.kind:
        return Difference(path, Change.KIND, before, after)
    fields = changed_metadata(before, after)
    if not same():
        return Difference(path, Change.CONTENT, before, after, fields)
    return Difference(path, Change.METADATA, before, after, fields) if fields else None


def changed_metadata(before: State, after: State) -> tuple[str, ...]:
    """Which of `mode`, `user`, `group`, `mtime`, `acl`, `xattrs`, `flags` and `link` differ.

    `user` and `group` count by number, and by name where both sides know one; `link`: the file has got a second
    name, or lost its last other one.
    """
    one, other = before.entry, after.entry
    users, groups = (before.owners.users, after.owners.users), (before.owners.groups, after.owners.groups)
    differs = {
        "mode": one.mode != other.mode and one.kind != SYMLINK,
        "user": one.uid != other.uid or _renamed(one.uid, *users),
        "group": one.gid != other.gid or _renamed(one.gid, *groups),
        "mtime": one.mtime_ns != other.mtime_ns,
    }
    if one.extra is not None or other.extra is not None:
        differs |= {
            "acl": _xattrs(one, acl=True) != _xattrs(other, acl=True),
            "xattrs": _xattrs(one, acl=False) != _xattrs(other, acl=False),
            "flags": one.flags != other.flags,
            "link": (one.link is None) != (other.link is None),
        }
    return tuple(name for name, is_so in differs.items() if is_so)


def _renamed(number: int, before: dict[int, str], after: dict[int, str]) -> bool:
    return number in before and number in after and before[number] != after[number]


def _xattrs(entry: Entry, *, acl: bool) -> dict[bytes, bytes]:
    return {name: value for name, value in entry.xattrs.items() if is_acl(name) == acl}


def same_outline(one: Entry, other: Entry) -> bool:
    """Whether the content of two entries of one kind can be the same, as far as the entries say."""
    if one.kind != FILE:
        return one.target == other.target if one.kind == SYMLINK else one.device == other.device
    return one.size == other.size and one.extents == other.extents


def same_content(
    one_manifest: ManifestReader, one: ManifestEntry, other_manifest: ManifestReader, other: ManifestEntry
) -> bool:
    """Whether two entries of one kind have the same content. Chunk ids tell: no content is read."""
    if not same_outline(one.entry, other.entry) or one.entry.chunks != other.entry.chunks:
        return False
    if not one.entry.chunks or (one.first_id == other.first_id and one.segment.runs == other.segment.runs):
        return True
    return _same_bytes(one_manifest.ids(one), other_manifest.ids(other))


def _same_bytes(one: Iterable[bytes], other: Iterable[bytes]) -> bool:
    """Whether two streams are the same, wherever their pieces end."""
    mine, its = iter(one), iter(other)
    a = b = b""
    while True:
        a, b = a or _next(mine), b or _next(its)
        size = min(len(a), len(b))
        if a[:size] != b[:size]:
            return False
        if not size:
            return len(a) == len(b)
        a, b = a[size:], b[size:]


def _next(pieces: Iterator[bytes]) -> bytes:
    return next(filter(None, pieces), b"")
