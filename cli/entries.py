"""Entries of snapshots: a line for people, an object for machines."""

from __future__ import annotations

import base64
import stat

from chunkstore.format.entries import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    SOCKET,
    SYMLINK,
    Entry,
)
from chunkstore.operations.comparing import State, is_acl
from chunkstore.repository.manifest_reader import ManifestEntry
from chunkstore.tree.display import display_path
from chunkstore.units import format_size

from .output import iso_time, json_path, local_time

KINDS = {
    FILE: ("file", stat.S_IFREG),
    DIRECTORY: ("directory", stat.S_IFDIR),
    SYMLINK: ("link", stat.S_IFLNK),
    FIFO: ("fifo", stat.S_IFIFO),
    SOCKET: ("socket", stat.S_IFSOCK),
    CHARACTER_DEVICE: ("character device", stat.S_IFCHR),
    BLOCK_DEVICE: ("block device", stat.S_IFBLK),
}

Shown = State | ManifestEntry


def short_line(found: Shown) -> str:
    """The path alone."""
    return display_path(found.path)


def long_line(found: Shown, *, human: bool = False) -> str:
    """As `ls -l` has it; after the mode `+` for an ACL, else `@` for other extended attributes."""
    entry = found.entry
    mode = stat.filemode(KINDS[entry.kind][1] | entry.mode) + _mark(entry)
    user = display_path(found.owners.users.get(entry.uid, str(entry.uid)).encode())
    group = display_path(found.owners.groups.get(entry.gid, str(entry.gid)).encode())
    time = local_time(entry.mtime_ns)
    line = f"{mode} {user:<8} {group:<8} {_size(entry, human):>13} {time:>19} {display_path(found.path)}"
    if entry.kind == SYMLINK:
        line += f" -> {display_path(entry.target)}"
    return line + " (changed while it was read)" * entry.changed


def _mark(entry: Entry) -> str:
    if any(map(is_acl, entry.xattrs)):
        return "+"
    return "@" if entry.xattrs else " "


def _size(entry: Entry, human: bool) -> str:
    if entry.device:
        return f"{entry.device[0]}, {entry.device[1]}"
    return format_size(entry.size) if human else str(entry.size)


def entry_as_json(found: Shown) -> dict[str, object]:
    """All that is known of an entry."""
    entry = found.entry
    return {
        "path": json_path(found.path),
        "type": KINDS[entry.kind][0],
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "user": found.owners.users.get(entry.uid),
        "group": found.owners.groups.get(entry.gid),
        "size": entry.size,
        "mtime": iso_time(entry.mtime_ns),
        "mtime_ns": entry.mtime_ns,
        "ctime_ns": entry.ctime_ns,
        "atime_ns": entry.atime_ns,
        "inode": entry.inode,
        "link": "{}:{}".format(*entry.link) if entry.link else None,
        "target": json_path(entry.target) if entry.kind == SYMLINK else None,
        "device": list(entry.device) if entry.device else None,
        "xattrs": {json_path(name): base64.b64encode(value).decode() for name, value in entry.xattrs.items()},
        "flags": entry.flags,
        "chunks": entry.chunks,
        "extents": None if entry.extents is None else len(entry.extents),
        "content_size": entry.content_size if entry.kind == FILE else 0,
        "changed": entry.changed,
    }
