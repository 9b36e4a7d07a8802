"""How each kind of entry comes to be under a name: what `Places.make` calls, which leaves nothing where it fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from chunkstore.errors import TargetError
from chunkstore.format.entries import Entry
from chunkstore.tree.attributes import Attributes
from chunkstore.tree.display import display_path
from chunkstore.tree.problems import NoLink
from chunkstore.tree.special_files import make_special_file
from chunkstore.tree.writing import NO_LINK, Data, new_file, write_fully

Make = Callable[[bytes, int], bool]

_NOT_PERMITTED = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class NotPermitted(TargetError):
    """A pipe or device can not be made by us, or not in this file system."""


def whole_file(data: Data, entry: Entry, attributes: Attributes) -> Make:
    """A file of this content, closed."""

    def write(name: bytes, directory: int) -> bool:
        fd = new_file(name, directory)
        try:
            try:
                write_fully(fd, data)
                attributes.set(fd, entry)
            finally:
                os.close(fd)  # may say only now that a quota is exceeded
        except BaseException:  # an interrupt too must leave nothing that could pass for the file
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise
        return True

    return write


def symlink(entry: Entry, attributes: Attributes) -> Make:
    """A symbolic link to `entry.target`."""

    def make(name: bytes, directory: int) -> bool:
        os.symlink(entry.target, name, dir_fd=directory)
        attributes.set_named(directory, name, entry)
        return True

    return make


def special_file(entry: Entry, attributes: Attributes) -> Make:
    """A pipe or a device; `NotPermitted` where we may not."""

    def make(name: bytes, directory: int) -> bool:
        try:
            make_special_file(name, directory, entry)
        except OSError as e:
            if e.errno in _NOT_PERMITTED:
                raise NotPermitted(f"{display_path(entry.name)}: {e.strerror}") from e
            raise
        attributes.set_named(directory, name, entry)
        return True

    return make


def hard_link(old: bytes, source: int, shown: bytes) -> Make:
    """A further name of the file `old` in the open directory `source`; `NoLink` where it can have none."""

    def make(name: bytes, directory: int) -> bool:
        try:
            os.link(old, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        except OSError as e:
            if e.errno in NO_LINK:
                raise NoLink(f"{display_path(shown)}: can not be a link here ({e.strerror})") from e
            raise
        return True

    return make
