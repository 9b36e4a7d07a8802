"""Owner, mode and times of an entry, back onto a file.

What the system refuses is counted, not raised: a restore by somebody who is not root would otherwise be one long list
of the same complaint.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from contextlib import suppress

from chunkstore.format.entries import Entry

_REFUSED = (OSError, OverflowError, ValueError, NotImplementedError)
"""The others than `OSError`: numbers that no system has, from a forged manifest; calls that a platform lacks."""

_SET_ID = stat.S_ISUID | stat.S_ISGID
_LINK_OWNER = os.chown in os.supports_follow_symlinks and os.chown in os.supports_dir_fd
_LINK_TIMES = os.utime in os.supports_follow_symlinks and os.utime in os.supports_dir_fd


class Attributes:
    """Sets attributes; `not_set` counts the entries for which "owner", "mode" or "times" could not be set."""

    def __init__(self, owner: bool) -> None:
        self.not_set: Counter[str] = Counter()
        self._owner = owner

    def set(self, fd: int, entry: Entry) -> None:
        """Owner, mode, modification time of an open file or directory; no time of an ancestor, whose entry has none.

        In this order: a change of owner clears the set-id bits, and nothing may touch the times any more. A file gets
        a set-id bit only with the owner or group it is meant for.
        """
        if self._owner:
            self._set_owner(fd, entry.uid, entry.gid)
        mode = entry.mode & 0o7777
        try:
            if mode & _SET_ID:
                mode = self._safe(fd, mode, entry)
            os.fchmod(fd, mode)
        except OSError:
            self.not_set["mode"] += 1
        if entry.ancestor:
            return
        try:
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        except _REFUSED:
            self.not_set["times"] += 1

    def set_named(self, directory: int, name: bytes, entry: Entry) -> None:
        """Owner and modification time of what is not opened, a link itself for instance."""
        if self._owner:
            try:
                if _LINK_OWNER:
                    os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
            except _REFUSED:
                self.not_set["owner"] += 1
        try:
            if _LINK_TIMES:
                os.utime(name, ns=(entry.mtime_ns,) * 2, dir_fd=directory, follow_symlinks=False)
        except _REFUSED:
            self.not_set["times"] += 1

    def skipped(self) -> None:
        """Count an entry that could not even be opened for its attributes."""
        self.not_set.update(["owner", "mode", "times"] if self._owner else ["mode", "times"])

    def _set_owner(self, fd: int, uid: int, gid: int) -> None:
        try:
            os.fchown(fd, uid, gid)
        except _REFUSED:
            self.not_set["owner"] += 1
            with suppress(*_REFUSED):
                os.fchown(fd, -1, gid)  # a group of one's own may be given to one's own files

    def _safe(self, fd: int, mode: int, entry: Entry) -> int:
        """`mode` without the set-id bits that would let others act as somebody the file was not made for."""
        status = os.fstat(fd)
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
