"""Owner, mode, times, extended attributes and flags of an entry, back onto a file.

What the system refuses is counted, not raised: a restore by somebody who is not root would otherwise be one long list
of the same complaint.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum

from chunkstore.format.entries import SYMLINK, Entry
from chunkstore.format.owners import NO_OWNERS, Owners
from chunkstore.tree.inode_flags import SEALING, add_flags, has_flags
from chunkstore.tree.owners import Accounts
from chunkstore.tree.pinned import CAN_PIN, pinned
from chunkstore.tree.xattrs_writing import ACCESS_ACL, Place, has_xattrs, mode_without_acl, remove_xattrs, set_xattrs

_REFUSED = (OSError, OverflowError, ValueError, NotImplementedError)
"""The others than `OSError`: numbers that no system has, from a forged manifest; calls that a platform lacks."""

_SET_ID = stat.S_ISUID | stat.S_ISGID
_LINK_OWNER = os.chown in os.supports_follow_symlinks and os.chown in os.supports_dir_fd
_LINK_TIMES = os.utime in os.supports_follow_symlinks and os.utime in os.supports_dir_fd


class Ownership(Enum):
    """Whom restored files belong to."""

    NAMES = "names"
    """The users and groups of the names they had; by number where there was no name, or nobody here has it."""
    NUMBERS = "numbers"
    """The users and groups of the numbers they had."""
    NONE = "none"
    """Whoever restores them."""


class Attributes:
    """Sets attributes; `not_set` counts the entries for which something could not be set, by what that is.

    These are "owner", "mode", "times", "extended attributes" and "flags".
    """

    def __init__(self, ownership: Ownership) -> None:
        self.not_set: Counter[str] = Counter()
        self.inheriting = False
        """Whether new files may have got rights from the default ACL of a directory."""
        self._ownership = ownership
        self._accounts = Accounts()
        self._owners = NO_OWNERS
        self._numbers: dict[tuple[int, int], tuple[int, int]] = {}
        """Of the users and groups of `_owners`, those of this machine."""

    def here(self, entry: Entry, owners: Owners = NO_OWNERS) -> Entry:
        """`entry` with the numbers that its user and group have on this machine."""
        if self._ownership is not Ownership.NAMES or owners is NO_OWNERS:
            return entry
        if owners is not self._owners:
            self._owners, self._numbers = owners, {}
        there = entry.uid, entry.gid
        if (here := self._numbers.get(there)) is None:
            uid = self._number(owners.users.get(entry.uid), entry.uid, user=True)
            here = self._numbers[there] = uid, self._number(owners.groups.get(entry.gid), entry.gid, user=False)
        return entry if here == there else entry._replace(uid=here[0], gid=here[1])

    def is_ours(self, status: os.stat_result, entry: Entry) -> bool:
        """Whether a file belongs to us or to the one that `entry`, as `here` gave it, is going to belong to."""
        if self._ownership is Ownership.NONE:
            return status.st_uid == os.geteuid()
        return status.st_gid == entry.gid and status.st_uid in (entry.uid, os.geteuid())

    def are_set(self, fd: int, status: os.stat_result, entry: Entry) -> bool:
        """Whether an open file has all that `set` would give it already."""
        if stat.S_IMODE(status.st_mode) != entry.mode or status.st_mtime_ns != entry.mtime_ns:
            return False
        if self._ownership is not Ownership.NONE and (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
            return False
        return has_xattrs(fd, entry.xattrs) and has_flags(fd, entry.flags)

    def set(self, place: Place, entry: Entry, fresh: bool = True) -> None:
        """Give a file what `entry`, as `here` gave it, says; no times of an ancestor, whose entry has none.

        In this order: a change of owner clears the set-id bits and capabilities, attributes need a file that may be
        written, and nothing may touch the times any more. What is not `fresh` loses extended attributes that the entry
        does not have. A file gets a set-id bit only with the owner or group it is meant for. The flags that seal a
        file are left to `seal`.
        """
        mode = entry.mode & 0o7777
        if self._ownership is not Ownership.NONE:
            self._set_owner(place, entry.uid, entry.gid)
        if entry.extra is not None or not fresh or self.inheriting:
            mode = self._set_xattrs(place, entry.xattrs, mode, fresh and not self.inheriting)
        if entry.kind != SYMLINK:
            self._set_mode(place, entry, mode)
        self._set_times(place, entry)
        flags = entry.flags & ~SEALING
        if flags and type(place) is int and not add_flags(place, flags):
            self.not_set["flags"] += 1

    def set_named(self, directory: int, name: bytes, entry: Entry) -> None:
        """What `set` does, for what is not opened: a link itself, a pipe, a device."""
        if CAN_PIN:
            with suppress(FileNotFoundError), pinned(name, directory) as (path, status):
                if stat.S_IFMT(status.st_mode) in _NOT_OPENED and status.st_nlink == 1:
                    self.set(path, entry)
                    return
            self.skipped()
            return
        try:
            if self._ownership is not Ownership.NONE and _LINK_OWNER:
                os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        except _REFUSED:
            self.not_set["owner"] += 1
        try:
            if _LINK_TIMES:
                os.utime(name, ns=_times(entry), dir_fd=directory, follow_symlinks=False)
        except _REFUSED:
            self.not_set["times"] += 1

    def seal(self, fd: int, entry: Entry) -> None:
        """Set the flags after which an open file or directory can not be changed, moved or linked any more."""
        flags = entry.flags & SEALING
        if flags and not add_flags(fd, flags):
            self.not_set["flags"] += 1

    def skipped(self) -> None:
        """Count an entry that could not even be opened for its attributes."""
        self.not_set.update(["mode", "times"] if self._ownership is Ownership.NONE else ["owner", "mode", "times"])

    def _number(self, name: str | None, number: int, user: bool) -> int:
        if name is None:
            return number
        here = self._accounts.uid(name) if user else self._accounts.gid(name)
        return number if here is None else here

    def _set_owner(self, place: Place, uid: int, gid: int) -> None:
        try:
            os.chown(place, uid, gid)
        except _REFUSED:
            self.not_set["owner"] += 1
            with suppress(*_REFUSED):
                os.chown(place, -1, gid)  # a group of one's own may be given to one's own files

    def _set_xattrs(self, place: Place, xattrs: Mapping[bytes, bytes], mode: int, fresh: bool) -> int:
        """The mode that the file may have: without its ACL the bits of the group mean something else."""
        removed = fresh or remove_xattrs(place, keep=xattrs)
        refused = set_xattrs(place, xattrs) if xattrs else []
        if refused or not removed:
            self.not_set["extended attributes"] += 1
        return mode_without_acl(mode, xattrs[ACCESS_ACL]) if ACCESS_ACL in refused else mode

    def _set_mode(self, place: Place, entry: Entry, mode: int) -> None:
        try:
            if mode & _SET_ID:
                mode = self._safe(place, mode, entry)
            os.chmod(place, mode)
        except OSError:
            self.not_set["mode"] += 1

    def _set_times(self, place: Place, entry: Entry) -> None:
        if entry.ancestor:
            return
        try:
            os.utime(place, ns=_times(entry))
        except _REFUSED:
            self.not_set["times"] += 1

    def _safe(self, place: Place, mode: int, entry: Entry) -> int:
        """`mode` without the set-id bits that would let others act as somebody the file was not made for."""
        status = os.stat(place)
        if stat.S_ISDIR(status.st_mode):
            return mode
        allowed = mode
        if status.st_uid != entry.uid:
            allowed &= ~stat.S_ISUID
        if status.st_gid != entry.gid:
            allowed &= ~stat.S_ISGID
        if allowed != mode:
            self.not_set["mode"] += 1
        return allowed


_NOT_OPENED = frozenset({stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK})


def _times(entry: Entry) -> tuple[int, int]:
    """Of access and modification."""
    accessed = entry.atime_ns
    return (entry.mtime_ns if accessed is None else accessed), entry.mtime_ns
