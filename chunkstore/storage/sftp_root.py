"""The directory on an SFTP server that a storage is, and those in it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from chunkstore.errors import StorageUnreachable
from chunkstore.storage.sftp_packets import Kind, Refused, mode_attributes, string
from chunkstore.storage.sftp_session import SftpSession

_DIRECTORY_MODE = 0o700


class NotADirectory(Exception):
    """What should be a directory is none; `path` says which."""

    def __init__(self, path: bytes) -> None:
        super().__init__(path)
        self.path = path


class SftpRoot:
    """`path`: absolute; what begins with `/~/` is relative to where the server puts the account.

    `create`: the directory may be made, parents and all. `location`: for messages.
    """

    def __init__(self, path: str, location: str, *, create: bool) -> None:
        self.location = location
        self._create = create
        if path == "/~" or path.startswith("/~/"):
            self.path = os.fsencode(path[3:]).strip(b"/") or b"."
        else:
            self.path = os.fsencode(path).rstrip(b"/") or b"/"

    def below(self, name: str) -> bytes:
        """The path of an object or of a directory of objects; of the root itself for an empty name."""
        return _below(self.path, name.encode().rstrip(b"/")) if name else self.path

    def require(self, session: SftpSession) -> None:
        """StorageUnreachable unless it is a directory, or is missing and may be made."""
        if not _is_directory(session, self.path) and not self._create:
            raise self._missing()

    def make_directories(self, session: SftpSession, segments: Sequence[str]) -> None:
        """Make directories one in the other, the root first; those that are there are left as they are."""
        self._make_root(session, self.path)
        path = self.path
        for segment in segments:
            path = _below(path, segment.encode())
            _make_directory(session, path)

    def _make_root(self, session: SftpSession, path: bytes) -> None:
        if _is_directory(session, path):
            return
        if not self._create:
            raise self._missing()
        parent = os.path.dirname(path)
        if parent not in (path, b""):
            self._make_root(session, parent)
        _make_directory(session, path)

    def _missing(self) -> StorageUnreachable:
        return StorageUnreachable(f"{self.location}: there is no such directory")


def is_directory_now(session: SftpSession, path: bytes) -> bool:
    """Whether there is a directory."""
    try:
        return session.stat(path).is_directory
    except Refused:
        return False


def _is_directory(session: SftpSession, path: bytes) -> bool:
    """Whether there is a directory; False where nothing is, NotADirectory where something else is."""
    try:
        attributes = session.stat(path)
    except Refused as error:
        if error.missing:
            return False
        raise
    if not attributes.is_directory:
        raise NotADirectory(path)
    return True


def _make_directory(session: SftpSession, path: bytes) -> None:
    """Make a directory whose parent is there, unless it is there too."""
    try:
        session.call(Kind.MKDIR, string(path), mode_attributes(_DIRECTORY_MODE))
    except Refused:
        # Versions of SFTP after the third one have a code for it; this one just fails.
        if not _is_directory(session, path):
            raise


def _below(directory: bytes, name: bytes) -> bytes:
    return directory.rstrip(b"/") + b"/" + name
