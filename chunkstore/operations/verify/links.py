"""Whether what is one file with several names in a snapshot is one file on disk, and what is not is not."""

from __future__ import annotations

import os
from collections.abc import Iterator

from chunkstore.format.entries import DIRECTORY, Entry
from chunkstore.tree.display import display_path
from chunkstore.tree.link_groups import LinkGroups


class LinksOnDisk:
    """Remembers the first name of each file, of the snapshot and of the disk, in temporary files in `scratch`."""

    def __init__(self, scratch: str | None) -> None:
        self._stored = LinkGroups(scratch)
        self._on_disk = LinkGroups(scratch)

    def differences(self, path: bytes, entry: Entry, status: os.stat_result) -> Iterator[str]:
        """What is different about `path`, which is there, from what was said of the names before it."""
        if entry.kind == DIRECTORY:
            return
        here = status.st_dev, status.st_ino
        if entry.link is not None and (first := _other(self._stored, entry.link, here, path)):
            yield f"is not a hard link of {display_path(first)} any more"
        if status.st_nlink > 1 and (first := _other(self._on_disk, here, entry.link, path)):
            yield f"is a hard link of {display_path(first)} now"

    def close(self) -> None:
        """Forget everything."""
        self._stored.close()
        self._on_disk.close()


def _other(groups: LinkGroups, key: tuple[int, int], mark: tuple[int, int] | None, path: bytes) -> bytes | None:
    """The first path under `key` if it had another mark, or none; None if it had the same, or is this one."""
    value = groups.get(key)
    if value is None:
        groups.put(key, repr(mark).encode() + b"\0" + path)
        return None
    before, _, first = value.partition(b"\0")
    return None if before == repr(mark).encode() and mark is not None else first
