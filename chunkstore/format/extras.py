"""What only some entries of a manifest have: the map `extra` of an entry (content plane).

| key | value |
|---|---|
| `target` | bin: where a symbolic link points |
| `ancestor` | true: a directory recorded only because a root lies below it |
| `xattrs` | map of bin to bin: extended attributes, POSIX ACLs among them |
| `flags` | natural: inode flags of Linux (FS_IOC_GETFLAGS), those that can be set |
| `link` | natural, for what has several names: all entries with this number and inode are one file |
| `device` | [major, minor] of a device |
| `extents` | [[offset, length], ...] of a sparse file: ascending, not touching. Chunks hold these parts alone, one after the other |
| `changed` | true: the file kept changing while it was read |
| `atime` | int: nanoseconds since 1970 |
"""

from __future__ import annotations

from typing import Any

from chunkstore.errors import Damaged

MAX_EXTENTS = 8192
"""So that an entry always fits a segment. A file in more pieces has its smallest holes stored as zeros."""
MAX_XATTRS = 256 << 10
"""Bytes of names and values of one entry, for the same reason."""
MAX_XATTR_NAME = 255
_MAX_DEVICE = (1 << 32) - 1


def check_extra(extra: dict[Any, Any], file: bool, size: int) -> None:
    """Raise `Damaged` unless every known key has a value of its type and range."""
    for key, value in extra.items():
        if type(key) is not str or not _is_right(key, value, file, size):
            raise Damaged(f"manifest entry with malformed extras {key!r:.20}")


def _is_right(key: str, value: Any, file: bool, size: int) -> bool:
    match key:
        case "target":
            return type(value) is bytes and b"\0" not in value
        case "ancestor" | "changed":
            return value is True
        case "flags" | "link":
            return type(value) is int and value >= 0
        case "atime":
            return type(value) is int
        case "xattrs":
            return type(value) is dict and all(map(_is_xattr, value.items()))
        case "device":
            return _is_pair(value) and max(value) <= _MAX_DEVICE
        case "extents":
            return file and type(value) is list and _are_extents(value, size)
    return True


def _is_xattr(item: tuple[Any, Any]) -> bool:
    name, value = item
    return type(name) is bytes and 0 < len(name) <= MAX_XATTR_NAME and b"\0" not in name and type(value) is bytes


def _is_pair(value: Any) -> bool:
    return type(value) is list and [type(part) for part in value] == [int, int] and min(value) >= 0


def _are_extents(value: list[Any], size: int) -> bool:
    end = -1
    for each in value:
        if not _is_pair(each) or each[0] <= end or not each[1]:
            return False
        end = each[0] + each[1]
    return end <= size
