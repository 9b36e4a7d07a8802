"""Listing the objects below a directory of an SFTP server, in the order of their names."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final

from chunkstore.storage.protocol import ObjectInfo, is_name
from chunkstore.storage.sftp_packets import Attributes, Entry, Refused
from chunkstore.storage.sftp_root import SftpRoot
from chunkstore.storage.sftp_session import SftpSession
from chunkstore.storage.sftp_transfers import list_directories

# Directories that are read together and are in memory together.
_AT_ONCE: Final = 16
_NOTHING: Final = Attributes(None, None, None)


class SftpListing:
    """`session`: takes a session for a block that is about a path. None is held while objects are given out."""

    def __init__(self, root: SftpRoot, session: Callable[[bytes], AbstractContextManager[SftpSession]]) -> None:
        self._root = root
        self._session = session

    def objects(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        directory = prefix[: prefix.rfind("/") + 1]
        yield from self._in_order(self._listed([directory], prefix)[directory], prefix)

    def entries(self) -> Iterator[str]:
        """What is in the root, by any name; directories with a slash at their end."""
        with self._session(self._root.path) as session:
            (found,) = list_directories(session, [self._root.path])
            if not found:
                self._root.require(session)
        for entry in found:
            if entry.name not in (b".", b".."):
                name = entry.name.decode(errors="surrogateescape")
                yield f"{name}/" if entry.attributes.is_directory else name

    def _in_order(self, infos: Sequence[ObjectInfo], prefix: str) -> Iterator[ObjectInfo]:
        """Objects as they are, and in place of each directory what is in it."""
        directories = (info.name for info in infos if info.name.endswith("/"))
        ahead: dict[str, Sequence[ObjectInfo]] = {}
        for info in infos:
            if not info.name.endswith("/"):
                yield info
                continue
            if not ahead:
                ahead = self._listed(list(islice(directories, _AT_ONCE)), prefix)
            yield from self._in_order(ahead.pop(info.name), prefix)

    def _listed(self, directories: Sequence[str], prefix: str) -> dict[str, Sequence[ObjectInfo]]:
        """What is in each directory, sorted; names of directories have a slash at their end.

        With the slash they sort as the names of the objects in them do: `a-b`, `a/b`, `a0`.
        """
        paths = [self._root.below(directory) for directory in directories]
        with self._session(paths[0]) as session:
            listings = list_directories(session, paths)
            if not any(listings):
                self._root.require(session)
            return {
                directory: sorted(self._fitting(session, directory, entries, prefix), key=lambda info: info.name)
                for directory, entries in zip(directories, listings, strict=True)
            }

    def _fitting(
        self, session: SftpSession, directory: str, entries: Iterable[Entry], prefix: str
    ) -> Iterator[ObjectInfo]:
        """The objects, and the directories of objects, among what a directory holds."""
        for entry in entries:
            name = directory + entry.name.decode("ascii", "replace")
            if not is_name(name):
                continue
            attributes = self._followed(session, name, entry.attributes)
            shown = f"{name}/" if attributes.is_directory else name
            if (attributes.is_file or attributes.is_directory) and shown.startswith(prefix):
                size = 0 if attributes.is_directory else attributes.size or 0
                yield ObjectInfo(shown, size, attributes.modified)

    def _followed(self, session: SftpSession, name: str, attributes: Attributes) -> Attributes:
        """What a link leads to, if it is one or if the server did not say what it is."""
        if attributes.mode is not None and not stat.S_ISLNK(attributes.mode):
            return attributes
        try:
            return session.stat(self._root.below(name))
        except Refused:
            return _NOTHING
