"""What a source's file has beside its `lstat`: extended attributes (POSIX ACLs among them), inode flags, other names."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from collections.abc import Callable
from fcntl import ioctl
from typing import Any

from chunkstore.format.extras import MAX_XATTRS
from chunkstore.tree.reading import open_directory_at, reachable

_GET_FLAGS = 0x80006601 | struct.calcsize("l") << 16
"""FS_IOC_GETFLAGS of Linux: _IOR('f', 1, long), though 32 bits are what is written."""
_ROOM = bytes(8)
_NOT_THERE = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
SETTABLE_FLAGS = 0x2083_C0FF
"""The flags of linux/fs.h that `chattr` sets: s u c S i a d A j t D T C P. Others say how the file system keeps a file."""

Problem = Callable[[bytes, OSError], None]
_HAS_XATTRS = hasattr(os, "listxattr")


class Metadata:
    """Reads it for the files of one walk. `unreadable` counts attributes that are there and could not be read.

    File systems that know no attributes or no flags are asked once. What can not be read for another reason goes to
    `problem(path, error)`.
    """

    def __init__(self, problem: Problem, *, atime: bool = False) -> None:
        self.unreadable = 0
        self._problem = problem
        self._atime = atime
        self._no_xattrs: set[int] = set()
        self._no_flags: set[int] = set()
        self._ordinals: dict[int, int] = {}
        self._flags_of: dict[bytes, int] = {}

    def of_file(self, descriptor: int, path: bytes, status: os.stat_result) -> dict[str, Any] | None:
        """The extras of an open regular file; None where there are none. Called for every file that is read."""
        device = status.st_dev
        xattrs = flags = None
        if device not in self._no_xattrs:
            xattrs = self._xattrs(descriptor, path, status)
        if device not in self._no_flags:
            flags = self._flags(descriptor, status)
        if xattrs or flags or status.st_nlink > 1 or self._atime:
            return self._joined(xattrs, flags, status)
        return None

    def of_open(self, descriptor: int, path: bytes, status: os.stat_result) -> dict[str, Any] | None:
        """The extras of an open file or directory."""
        return self._extras(descriptor, descriptor, path, status)

    def of_path(self, path: bytes, status: os.stat_result) -> dict[str, Any] | None:
        """The extras of what stands at an absolute path of any length; of a link itself."""
        if stat.S_ISDIR(status.st_mode):
            try:
                descriptor = open_directory_at(path)
            except OSError:  # not ours to list: that is said by who walks it
                return self._extras(None, None, path, status)
            try:
                return self.of_open(descriptor, path, status)
            finally:
                os.close(descriptor)
        if status.st_dev in self._no_xattrs:
            return self._extras(None, None, path, status)
        with reachable(path) as place:
            return self._extras(place, None, path, status)

    def link_ordinal(self, status: os.stat_result) -> int:
        """A number for the file's device, the same in all of a walk: with the inode it says what is one file."""
        return self._ordinals.setdefault(status.st_dev, len(self._ordinals))

    def _extras(
        self, place: int | bytes | None, descriptor: int | None, path: bytes, status: os.stat_result
    ) -> dict[str, Any] | None:
        """`place` is what attributes are asked of, `descriptor` what flags are."""
        xattrs = flags = None
        if place is not None and status.st_dev not in self._no_xattrs:
            xattrs = self._xattrs(place, path, status)
        if descriptor is not None and status.st_dev not in self._no_flags:
            flags = self._flags(descriptor, status)
        return self._joined(xattrs, flags, status)

    def _joined(
        self, xattrs: dict[bytes, bytes] | None, flags: int | None, status: os.stat_result
    ) -> dict[str, Any] | None:
        """The order of the keys is always the same."""
        extras: dict[str, Any] = {}
        mode = status.st_mode
        if xattrs:
            extras["xattrs"] = xattrs
        if flags:
            extras["flags"] = flags
        if status.st_nlink > 1 and not stat.S_ISDIR(mode):
            extras["link"] = self.link_ordinal(status)
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            extras["device"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
        if self._atime:
            extras["atime"] = status.st_atime_ns
        return extras or None

    def _xattrs(self, place: int | bytes, path: bytes, status: os.stat_result) -> dict[bytes, bytes] | None:
        if not _HAS_XATTRS:
            return None
        try:
            names = os.listxattr(place) if type(place) is int else os.listxattr(place, follow_symlinks=False)
        except OSError as e:
            if e.errno in _NOT_THERE:
                self._no_xattrs.add(status.st_dev)
            else:
                self._problem(path, e)
            return None
        return self._values(place, path, names) if names else None

    def _values(self, place: int | bytes, path: bytes, names: list[str]) -> dict[bytes, bytes] | None:
        xattrs = {}
        for name in sorted(map(os.fsencode, names)):
            try:
                value = (
                    os.getxattr(place, name) if type(place) is int else os.getxattr(place, name, follow_symlinks=False)
                )
                xattrs[name] = value
            except OSError as e:  # gone since; or one that only somebody else may read
                self.unreadable += e.errno != errno.ENODATA
        size = sum(len(name) + len(value) for name, value in xattrs.items())
        if size > MAX_XATTRS:
            reason = f"{size} bytes of extended attributes are more than can be stored, {MAX_XATTRS}: left out"
            self._problem(path, OSError(errno.E2BIG, reason))
            return None
        return xattrs

    def _flags(self, descriptor: int, status: os.stat_result) -> int:
        try:
            answer = ioctl(descriptor, _GET_FLAGS, _ROOM)
        except OSError as e:
            if e.errno in _NOT_THERE:
                self._no_flags.add(status.st_dev)
            return 0
        flags = self._flags_of.get(answer)
        if flags is None:  # there are few different ones
            flags = self._flags_of[answer] = int.from_bytes(answer[:4], sys.byteorder) & SETTABLE_FLAGS
        return flags
