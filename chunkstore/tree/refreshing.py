"""Attributes of what is in a target already."""

from __future__ import annotations

import os
from contextlib import suppress

from chunkstore.errors import TargetError
from chunkstore.format.entries import Entry
from chunkstore.tree.attributes import Attributes
from chunkstore.tree.directories import Directories
from chunkstore.tree.existing import may_change
from chunkstore.tree.writing import open_regular


class Refreshing:
    """Sets them on files and directories that are opened by their names."""

    def __init__(self, directories: Directories, attributes: Attributes) -> None:
        self._directories = directories
        self._attributes = attributes

    def refresh(self, relative: bytes, entry: Entry) -> bool:
        """Give a file the attributes of `entry`; False where nothing may be set and something would have to be."""
        directory, name = self._directories.place(relative)
        try:
            opened = open_regular(name, directory)
        except OSError:
            return False
        if opened is None:
            return False
        fd, status = opened
        try:
            if self._attributes.are_set(fd, status, entry):
                return True
            if not may_change(status, entry, self._attributes):
                return False
            self._attributes.set(fd, entry, fresh=False)
            return True
        finally:
            os.close(fd)

    def finish_directory(self, relative: bytes, entry: Entry) -> None:
        """All attributes of a directory; the ACL that an ancestor has is its own, for no entry says anything of it."""
        try:
            fd = self._directories.open(relative)
        except TargetError:
            self._attributes.skipped()
            return
        self._attributes.set(fd, entry, fresh=entry.ancestor)
        self._attributes.seal(fd, entry)

    def seal(self, relative: bytes, entry: Entry) -> None:
        """Set the flags of a file that is still the one that was written, as far as can be seen."""
        with suppress(OSError, TargetError):
            directory, name = self._directories.place(relative)
            opened = open_regular(name, directory)
            if opened is not None:
                fd, status = opened
                try:
                    if self._attributes.is_ours(status, entry) and status.st_mtime_ns == entry.mtime_ns:
                        self._attributes.seal(fd, entry)
                        return
                finally:
                    os.close(fd)
        self._attributes.not_set["flags"] += 1
