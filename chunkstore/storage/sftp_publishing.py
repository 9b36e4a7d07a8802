"""Ways to make a file appear on an SFTP server at once: whole, flushed where the server can, and only if its name is free.

| way | needs | when the name is taken |
|---|---|---|
| link, then remove the temporary name | hardlink@openssh.com, a file system with hard links | refused, whatever the server |
| rename of version 3 | nothing | refused by OpenSSH, by a link of its own where the file system has them; others replace what is there, which `init` finds out |
| posix-rename@openssh.com | OpenSSH, or who follows it | replaced |

Creating the file under its own name and writing afterwards is none of them: others would see it before it is whole,
and a connection that breaks would leave half of it for ever.
"""

from __future__ import annotations

import os
import re
from typing import Final

from chunkstore.storage.protocol import Buffer
from chunkstore.storage.sftp_packets import CREATE, EXCLUSIVE, READ, WRITE, Kind, Refused, mode_attributes, string
from chunkstore.storage.sftp_session import FSYNC, HARDLINK, POSIX_RENAME, SftpSession
from chunkstore.storage.sftp_transfers import list_directories, write

_FILE_MODE: Final = 0o600
_TEMPORARY_NAME: Final = re.compile(b"[0-9a-f]{32}")
_LITTER_AGE_SECONDS: Final = 86400

_TRIES: Final = 3


class Temporary:
    """A file that has no name of an object yet, at `path`, whose directory must be there."""

    def __init__(self, session: SftpSession, path: bytes) -> None:
        self.path: Final = path
        self._session = session
        self._handle = session.open(self.path, WRITE | CREATE | EXCLUSIVE, mode_attributes(_FILE_MODE))

    def fill(self, data: Buffer) -> None:
        """Write it, and have it flushed."""
        with memoryview(data).cast("B") as view:
            write(self._session, self._handle, view)
        self.flush()

    def flush(self) -> None:
        """Flush it to the medium; on journaling file systems, with the names that were given to files before."""
        if FSYNC in self._session.extensions:
            self._session.extended(FSYNC, string(self._handle))

    def discard(self) -> None:
        """Close it, and remove its temporary name if it still has that."""
        requests = ((Kind.CLOSE, self._handle), (Kind.REMOVE, self.path))
        for number in [self._session.post(kind, string(field)) for kind, field in requests]:
            self._session.refusal(number)


def temporary_path(directory: bytes) -> bytes:
    """A path that nobody else uses."""
    return directory + b"/" + os.urandom(16).hex().encode()


def sweep(session: SftpSession, temporary: Temporary) -> None:
    """Remove the temporary files of clients that were killed: last written more than a day before this one, which was
    filled just now. So the server's clock alone counts; where it tells no times nothing is removed.
    """
    directory, _, own = temporary.path.rpartition(b"/")
    found = {entry.name: entry.attributes for entry in list_directories(session, [directory])[0]}
    now = found[own].modified if own in found else None
    if now is None or not session.stat(directory, follow=False).is_directory:
        return  # what a link in its place points to is none of ours to remove
    old = [
        name
        for name, attributes in found.items()
        if _TEMPORARY_NAME.fullmatch(name)
        and attributes.is_file
        and attributes.modified is not None
        and attributes.modified < now - _LITTER_AGE_SECONDS
    ]
    for number in [session.post(Kind.REMOVE, string(directory + b"/" + name)) for name in old]:
        session.refusal(number)


def flush_existing(session: SftpSession, path: bytes) -> None:
    """Flush a file that somebody else made, as far as it may be read."""
    if FSYNC not in session.extensions:
        return
    try:
        handle = session.open(path, READ)
    except Refused:
        return
    number = session.post(Kind.EXTENDED, string(FSYNC), string(handle))
    session.refusal(number)
    session.close_all([handle])


def replace(session: SftpSession, source: bytes, target: bytes) -> None:
    """Give a file its name, over another one if there is one.

    Without posix-rename the other one is removed first, so that for a moment there is none.
    """
    if POSIX_RENAME in session.extensions:
        session.extended(POSIX_RENAME, string(source), string(target))
        return
    if _rename(session, source, target):
        return
    session.call(Kind.REMOVE, string(target))
    session.call(Kind.RENAME, string(source), string(target))


def create(session: SftpSession, source: bytes, target: bytes) -> bool:
    """Give a file its name; False if it is taken. The source may or may not be there afterwards."""
    if HARDLINK not in session.extensions:
        return _rename(session, source, target)
    for _ in range(_TRIES):
        try:
            session.extended(HARDLINK, string(source), string(target))
        except Refused as error:
            if error.missing:
                raise
            if _taken(session, target):
                return False
            continue  # the reason may be an object that has been deleted meanwhile
        return True
    # No links on this file system, then. Whatever else it is, renaming fails of it too, and says why.
    return _rename(session, source, target)


def _rename(session: SftpSession, source: bytes, target: bytes) -> bool:
    """The rename of version 3, which must not replace anything. False if the name is taken."""
    for tried in range(_TRIES):
        try:
            session.call(Kind.RENAME, string(source), string(target))
        except Refused as error:
            if error.missing:
                raise
            if _taken(session, target):
                return False
            if tried == _TRIES - 1:
                raise
        else:
            return True
    raise AssertionError


def _taken(session: SftpSession, path: bytes) -> bool:
    try:
        session.stat(path, follow=False)
    except Refused as error:
        if error.missing:
            return False
        raise
    return True
