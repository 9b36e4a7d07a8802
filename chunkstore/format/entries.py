"""Manifest entries and the segments they are cut into (content plane).

A segment is one chunk of kind *manifest*. Its plaintext is a msgpack stream:

    array [2, USERS, GROUPS]   segment version; arrays of [uid, user name] and of [gid, group name], ascending, for the
                               owners in this segment that had names. Version 1 was `array [1]`, without names
    bin PATH                   absolute path of a directory; the entries that follow are its children
    array ENTRY                one child, the fields of `Entry` in order; more of them. Where a time does not fit
                               64 bits both times are arrays [seconds, nanoseconds]
    bin PATH ...               the next directory that has children

Entries are ordered by (components of the parent directory, name) as raw bytes, strictly ascending over the whole
manifest. `/` itself, where it is recorded, is the entry with parent `/` and an empty name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgpack

from chunkstore.errors import Damaged
from chunkstore.format.extras import check_extra
from chunkstore.format.owners import NO_OWNERS, Owners, decode_owners, encode_owners

FILE = 1
DIRECTORY = 2
SYMLINK = 3
FIFO = 4
SOCKET = 5
CHARACTER_DEVICE = 6
BLOCK_DEVICE = 7
KINDS = frozenset(range(FILE, BLOCK_DEVICE + 1))

MAX_NAME = 255 * 4
MAX_PATH = 1 << 16
MAX_SEGMENT = 1 << 20
"""Bytes: no segment is longer, so that it always fits one frame."""

Components = tuple[bytes, ...]


class Entry(NamedTuple):
    """One file, directory or link of a snapshot; a tuple, because millions of them are made.

    `mode` holds the 12 permission bits; times are nanoseconds since 1970 (negative before); `chunks` is the number
    of chunk ids that belong to the entry in the references of its segment; `extra` holds what only some entries
    have, under the text keys of `extras`. Unknown keys are kept as they are.
    """

    name: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    size: int
    chunks: int
    extra: dict[str, Any] | None

    @property
    def target(self) -> bytes:
        """Where a symbolic link points; nothing of others."""
        return bytes(self.extra.get("target", b"")) if self.extra else b""

    @property
    def ancestor(self) -> bool:
        """Whether the directory is in the manifest only because a root lies below it."""
        return bool(self.extra and self.extra.get("ancestor"))

    @property
    def xattrs(self) -> Mapping[bytes, bytes]:
        """Extended attributes; POSIX ACLs are among them."""
        return self.extra.get("xattrs", {}) if self.extra else {}

    @property
    def flags(self) -> int:
        """Inode flags of Linux (`chattr`), those that can be set."""
        return self.extra.get("flags", 0) if self.extra else 0

    @property
    def link(self) -> tuple[int, int] | None:
        """What all names of one inode have in common: (ordinal of its device, inode). None where there is one name."""
        if not self.extra or "link" not in self.extra:
            return None
        return self.extra["link"], self.inode

    @property
    def device(self) -> tuple[int, int] | None:
        """(major, minor) of a device."""
        device = self.extra.get("device") if self.extra else None
        return (device[0], device[1]) if device else None

    @property
    def extents(self) -> list[list[int]] | None:
        """[offset, length] of the data of a sparse file, ascending; None where there are no holes."""
        return self.extra.get("extents") if self.extra else None

    @property
    def content_size(self) -> int:
        """Bytes that the chunks hold: all of the file, or the data of its extents."""
        extents = self.extents
        return self.size if extents is None else sum(length for _, length in extents)

    @property
    def changed(self) -> bool:
        """Whether the file kept changing while it was read, so that its content may be torn."""
        return bool(self.extra and self.extra.get("changed"))

    @property
    def atime_ns(self) -> int | None:
        """Time of the last access, where it was asked for."""
        return self.extra.get("atime") if self.extra else None


class PlacedEntry(NamedTuple):
    """An entry and the absolute path of the directory it is in."""

    parent: bytes
    entry: Entry

    @property
    def path(self) -> bytes:
        return join(self.parent, self.entry.name)


def join(parent: bytes, name: bytes) -> bytes:
    """Absolute path of `name` in the absolute directory `parent`."""
    if not name:
        return parent
    return parent + name if parent == b"/" else parent + b"/" + name


def components(path: bytes) -> Components:
    """`/a/b` -> (a, b); `/` -> ()."""
    return tuple(part for part in path.split(b"/") if part)


def sort_key(parent: bytes, name: bytes) -> tuple[Components, bytes]:
    """What manifests are ordered by."""
    return components(parent), name


_pack: Callable[[object], bytes] = msgpack.Packer(use_bin_type=True).pack


def encode_entry(entry: Entry) -> bytes:
    """The bytes of one entry inside a segment."""
    try:
        return _pack(entry)
    except OverflowError:  # a time that 64 bits of nanoseconds do not hold, beyond the year 2262
        wide = (list(divmod(time, 10**9)) for time in (entry.mtime_ns, entry.ctime_ns))
        return _pack((*entry[:5], *wide, *entry[7:]))


def encode_directory(path: bytes) -> bytes:
    """The bytes that say whose children follow."""
    return _pack(path)


def encode_segment(pieces: Iterable[bytes], owners: Owners = NO_OWNERS) -> bytes:
    """Join encoded directories and entries, in order, into one segment."""
    return encode_owners(owners) + b"".join(pieces)


def decode_segment(data: bytes | memoryview) -> tuple[Owners, Iterator[PlacedEntry]]:
    """The owners' names and the entries of one segment, each checked in full.

    Raises `Damaged`, at once or while the entries are taken, where anything is not as `encode_segment` writes it, the
    order inside the segment included.
    """
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=True, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    try:
        owners = decode_owners(next(unpacker))
    except (ValueError, TypeError, StopIteration, msgpack.UnpackException) as e:
        raise Damaged("manifest segment can not be read") from e
    return owners, _decode_entries(unpacker, len(data))


def _decode_entries(unpacker: Any, size: int) -> Iterator[PlacedEntry]:
    parent = b""
    last: bytes | None = b""
    end = unpacker.tell()
    try:
        for item in unpacker:
            end = unpacker.tell()
            if type(item) is list:
                entry = _entry(item)
                _check(entry, parent)
                if last is not None and entry.name <= last:
                    raise Damaged("manifest entries are out of order")
                last = entry.name
                yield PlacedEntry(parent, entry)
            else:
                if parent and last is None:
                    raise Damaged("manifest directory without entries")
                parent = _check_parent(item, parent)
                last = None
    except (ValueError, TypeError, msgpack.UnpackException) as e:
        raise Damaged("manifest segment can not be read") from e
    if not parent or last is None:
        raise Damaged("manifest segment or directory without entries")
    if end != size:
        raise Damaged("manifest segment ends in the middle of an entry")


def _entry(item: list[Any]) -> Entry:
    """The entry in an array; times that were written as seconds and nanoseconds are one number again."""
    entry = Entry._make(item)
    if type(item[5]) is list:
        times = [item[5], item[6]]
        if not all(type(time) is list and [type(part) for part in time] == [int, int] for time in times):
            raise Damaged("manifest entry with a malformed time")
        mtime, ctime = (seconds * 10**9 + ns for seconds, ns in times)
        entry = entry._replace(mtime_ns=mtime, ctime_ns=ctime)
    return entry


def decode_entry(data: bytes) -> Entry:
    """One entry as `encode_entry` wrote it, from a file of our own: nothing is checked."""
    return _entry(msgpack.unpackb(data, raw=False))


Row = list[Any]
"""The fields of `Entry`, in order, not made an Entry yet."""


def encode_row(row: Row) -> bytes:
    """What `encode_entry` makes of an entry of these fields; they may also be as they were in a segment."""
    try:
        return _pack(row)
    except OverflowError:
        return encode_entry(Entry._make(row))


def read_own_segment(data: bytes, first_id: int) -> tuple[Owners, list[tuple[bytes, Row, int]], list[int]]:
    """The owners, (parent, fields, number of its first id) of the entries, and where each ends in `data`, of a segment that
    this client wrote itself and whose id was checked: nothing else is. `first_id`: that of the segment.
    """
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    owners = decode_owners(next(unpacker))
    parent, tell = b"", unpacker.tell
    rows, ends = [], []
    for item in unpacker:
        if type(item) is list:
            rows.append((parent, item, first_id))
            ends.append(tell())
            first_id += item[9]
        else:
            parent = item
    return owners, rows, ends


def _check_parent(path: object, before: bytes) -> bytes:
    if type(path) is not bytes or not 0 < len(path) <= MAX_PATH or path[:1] != b"/" or b"\0" in path:
        raise Damaged("manifest names a directory that is no absolute path")
    parts = path.split(b"/")[1:] if path != b"/" else []
    if any(part in (b"", b".", b"..") for part in parts):
        raise Damaged("manifest names a directory that is no plain absolute path")
    if before and tuple(parts) <= components(before):
        raise Damaged("manifest directories are out of order")
    return path


def _check(entry: Entry, parent: bytes) -> None:
    """Raise `Damaged` unless every field has its type and range."""
    name, kind, mode, uid, gid, mtime_ns, ctime_ns, inode, size, chunks, extra = entry
    if type(name) is not bytes or len(name) > MAX_NAME or b"/" in name or b"\0" in name or name in (b".", b".."):
        raise Damaged("manifest entry with a name that no file can have")
    if not parent or (not name and (parent != b"/" or kind != DIRECTORY)):
        raise Damaged("manifest entry without a place")
    if kind not in KINDS or type(kind) is not int:
        raise Damaged(f"manifest entry of an unknown kind {kind!r:.20}")
    for number in (mode, uid, gid, inode, size, chunks):
        if type(number) is not int or number < 0:
            raise Damaged("manifest entry with a malformed number")
    if mode > 0o7777 or type(mtime_ns) is not int or type(ctime_ns) is not int or (chunks and kind != FILE):
        raise Damaged("manifest entry with a malformed number")
    if extra is not None:
        if type(extra) is not dict:
            raise Damaged("manifest entry with malformed extras")
        if extra:
            check_extra(extra, kind == FILE, size)
    if kind == SYMLINK and (extra is None or "target" not in extra):
        raise Damaged("symbolic link without a target")
