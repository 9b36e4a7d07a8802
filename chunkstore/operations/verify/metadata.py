"""Mode, owner, time, extended attributes and flags of an entry, compared with those on disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, Entry
from chunkstore.format.owners import Owners
from chunkstore.tree.display import display_path
from chunkstore.tree.metadata import Metadata
from chunkstore.tree.owners import Accounts
from chunkstore.tree.reading import open_directory_at, open_source

_BY_ROOT = (b"trusted.", b"security.")
_BY_THE_SYSTEM = (b"security.", b"system.")
"""Attributes that a file gets from the system it is on, so that those that were not stored say nothing..."""
_BY_USERS = (b"security.capability", b"system.posix_acl_")
"""... but these do."""
_ACLS = b"system.posix_acl_"
_SEALING_FLAGS = 0x4030
"""FS_IMMUTABLE_FL, FS_APPEND_FL and FS_JOURNAL_DATA_FL: set by root alone."""
_LETTERS = (
    (0x1, "s"), (0x2, "u"), (0x40, "d"), (0x10, "i"), (0x20, "a"), (0x8, "S"), (0x10000, "D"), (0x80, "A"),
    (0x4, "c"), (0x4000, "j"), (0x8000, "t"), (0x20000, "T"), (0x800000, "C"), (0x20000000, "P"),
)  # fmt: skip


class MetadataOnDisk:
    """Compares entries with files. `root`: whether what root alone can set is compared, too.

    `problem(path, how)` is told what is there and can not be read.
    """

    def __init__(self, root: bool, problem: Callable[[bytes, str], None]) -> None:
        self._root = root
        self._accounts = Accounts()
        self._metadata = Metadata(
            lambda path, error: problem(path, f"attributes can not be read: {error.strerror or error}")
        )

    def differences(self, path: bytes, entry: Entry, owners: Owners, status: os.stat_result) -> Iterator[str]:
        """What differs, for people; `status` is the file's `lstat`."""
        mode = stat.S_IMODE(status.st_mode)
        if entry.kind != SYMLINK and mode != entry.mode:
            yield f"mode {entry.mode:04o} stored, {mode:04o} on disk"
        if self._root:
            yield from self._owner(entry, owners, status)
        if status.st_mtime_ns != entry.mtime_ns:
            yield "modification time differs"
        extras, flags_known = self._extras(path, entry, status)
        yield from self._xattrs(entry.xattrs, extras.get("xattrs", {}))
        if flags_known:
            yield from self._flags(entry.flags, extras.get("flags", 0))

    def _owner(self, entry: Entry, owners: Owners, status: os.stat_result) -> Iterator[str]:
        """By the names that users and groups had, where there is somebody of that name here; else by number."""
        accounts = self._accounts
        user, group = owners.users.get(entry.uid), owners.groups.get(entry.gid)
        uid = accounts.uid(user) if user is not None else None
        gid = accounts.gid(group) if group is not None else None
        wanted = entry.uid if uid is None else uid, entry.gid if gid is None else gid
        if (status.st_uid, status.st_gid) == wanted:
            return
        here = accounts.user(status.st_uid) or status.st_uid, accounts.group(status.st_gid) or status.st_gid
        stored = f"{user or entry.uid}:{group or entry.gid}"
        yield f"owner {stored} stored, {here[0]}:{here[1]} on disk"

    def _extras(self, path: bytes, entry: Entry, status: os.stat_result) -> tuple[Mapping[str, Any], bool]:
        """(what the file has beside its `lstat`, whether its flags could be asked for)."""
        if entry.kind not in (FILE, DIRECTORY):
            return self._metadata.of_path(path, status) or {}, False
        try:
            descriptor = open_source(path) if entry.kind == FILE else open_directory_at(path)
        except OSError:  # not ours to read; content will tell
            return self._metadata.of_path(path, status) or {}, False
        try:
            return self._metadata.of_open(descriptor, path, status) or {}, True
        finally:
            os.close(descriptor)

    def _xattrs(self, stored: Mapping[bytes, bytes], on_disk: Mapping[bytes, bytes]) -> Iterator[str]:
        if stored == on_disk:
            return
        for name in sorted(stored.keys() | on_disk.keys()):
            before, now = stored.get(name), on_disk.get(name)
            if before == now or (not self._root and name.startswith(_BY_ROOT)):
                continue
            if before is None and name.startswith(_BY_THE_SYSTEM) and not name.startswith(_BY_USERS):
                continue
            yield f"{_what(name)} {'is missing' if now is None else 'is new' if before is None else 'differs'}"

    def _flags(self, stored: int, on_disk: int) -> Iterator[str]:
        ignored = 0 if self._root else _SEALING_FLAGS
        if (stored ^ on_disk) & ~ignored:
            yield f"flags {_letters(stored)} stored, {_letters(on_disk)} on disk"


def _what(name: bytes) -> str:
    if name.startswith(_ACLS):
        return f"{name[len(_ACLS) :].decode(errors='backslashreplace')} ACL"
    return f"attribute {display_path(name)}"


def _letters(flags: int) -> str:
    """As `lsattr` shows them."""
    return "".join(letter for flag, letter in _LETTERS if flags & flag) or "none"
