"""A directory on an SFTP server as a storage: each object is a file at `<root>/<name>`, 0600 in directories of 0700.

Files appear whole (see `sftp_publishing`); temporary ones live in `<root>/.tmp`, which no object's name can reach.
SFTP can not flush a directory: what was deleted may be there again after a crash of the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeVar
from urllib.parse import unquote

from chunkstore.errors import InvalidArgument, ObjectMissing, StorageError, StorageFull, StorageUnreachable
from chunkstore.storage.options import StorageOptions, Waiting
from chunkstore.storage.protocol import (
    MOST_ENTRIES,
    Buffer,
    ObjectInfo,
    Storage,
    check_name,
    check_prefix,
    check_range,
)
from chunkstore.storage.retrying import RetryingStorage
from chunkstore.storage.sftp_listing import SftpListing
from chunkstore.storage.sftp_packets import Garbled, Kind, Refused, Status, string
from chunkstore.storage.sftp_pool import SessionPool
from chunkstore.storage.sftp_publishing import Temporary, create, flush_existing, replace, sweep, temporary_path
from chunkstore.storage.sftp_root import NotADirectory, SftpRoot, is_directory_now
from chunkstore.storage.sftp_session import SftpSession
from chunkstore.storage.sftp_transfers import NotAFile, read
from chunkstore.storage.ssh_config import SshTarget, find_target
from chunkstore.storage.ssh_connection import SshConnector, parse_authority
from chunkstore.storage.ssh_options import SshOptions

_TEMPORARY: Final = ".tmp"
_DELETED_AT_ONCE: Final = 256
# A file takes whole blocks, and its directory may need one more.
_SPARE: Final = 64 * 1024
_WRITTEN: Final = "sftp://user@host:port/path, or sftp://user@host/~/path for one below the home directory there"

_T = TypeVar("_T")


def open(rest: str, options: StorageOptions, waiting: Waiting, *, create: bool) -> Storage:
    """The storage that `sftp://` with `rest` behind it means; it connects when it is first used. See `open_storage`."""
    if options.ssh is None:
        raise InvalidArgument("an sftp:// storage has to be told whose keys and known hosts it uses")
    target, path = parse(rest, options.ssh)
    storage = SftpStorage.connecting(target, path, options.ssh, connections=options.connections, create=create)
    return RetryingStorage(storage, options.retry_deadline, waiting)


def parse(rest: str, options: SshOptions) -> tuple[SshTarget, str]:
    """What follows `sftp://`: the host, with all that is configured for it, and the path, beginning with a slash.

    InvalidArgument, without repeating it.
    """
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if ":" in user:
        raise InvalidArgument("no password in the URL, where others see it: SFTP storages log in with keys")
    path = unquote(f"/{path}", errors="surrogateescape")
    if not slash or "\0" in path:
        raise InvalidArgument(f"an sftp:// URL is written {_WRITTEN}")
    name, alias, port = parse_authority(unquote(user) + at + host)
    return find_target(alias, name, port, options), path


class SftpStorage:
    """Objects as files below a directory of an SFTP server. See `Storage`.

    A missing root is StorageUnreachable; with `create` it counts as empty, and the first object makes it, parents and
    all. `path`: see `SftpRoot`; `shown`: the server, for messages.
    """

    def __init__(self, pool: SessionPool, path: str, shown: str, *, create: bool = False) -> None:
        self._pool = pool
        self._shown = shown
        self._location = f"sftp://{shown}{_printable(path)}"
        self._root = SftpRoot(path, self._location, create=create)
        self._listing = SftpListing(self._root, self._session)
        # Temporary files of connections that broke.
        self._left_behind: set[bytes] = set()
        self._swept = False

    @classmethod
    def connecting(
        cls, target: SshTarget, path: str, options: SshOptions, *, connections: int, create: bool
    ) -> SftpStorage:
        """One that makes its connections itself."""
        return cls(SessionPool(SshConnector(target, options), connections), path, target.shown, create=create)

    @property
    def location(self) -> str:
        return self._location

    @property
    def connections(self) -> int:
        """See `TakesManyRequests`."""
        return self._pool.size

    def close(self) -> None:
        """Close the connections that are not in use; the next call makes new ones."""
        self._pool.close()

    def put(self, name: str, data: Buffer) -> None:
        check_name(name)
        path = self._root.below(name)
        with self._session(path, len(data)) as session, self._temporary(session, data) as file:
            self._in_its_directory(session, name, lambda: replace(session, file.path, path))
            file.flush()

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        check_name(name)
        path = self._root.below(name)
        with self._session(path, len(data)) as session, self._temporary(session, data) as file:
            created = self._in_its_directory(session, name, lambda: create(session, file.path, path))
            if created:
                file.flush()
            else:
                # Whoever made it may not have come this far, and the caller relies on it.
                flush_existing(session, path)
            return created

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        check_name(name)
        check_range(offset, length)
        path = self._root.below(name)
        with self._session(path) as session, self._expected(session, name):
            return read(session, path, offset, length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. In memory are the names of 16 directories a level."""
        check_prefix(prefix)
        return self._listing.objects(prefix)

    def stat(self, name: str) -> ObjectInfo:
        check_name(name)
        path = self._root.below(name)
        with self._session(path) as session, self._expected(session, name):
            attributes = session.stat(path)
            if not attributes.is_file:
                raise NotAFile
            return ObjectInfo(name, attributes.size or 0, attributes.modified)

    def entries(self) -> Sequence[str]:
        """See `ShowsEntries`."""
        return [name for name in self._listing.entries() if name != f"{_TEMPORARY}/"][:MOST_ENTRIES]

    def delete(self, name: str) -> None:
        self.delete_many((name,))

    def delete_many(self, names: Iterable[str]) -> None:
        """See `DeletesMany`. Many requests are under way at once, on one connection."""
        every = tuple(names)
        for name in every:
            check_name(name)
        for start in range(0, len(every), _DELETED_AT_ONCE):
            paths = [self._root.below(name) for name in every[start : start + _DELETED_AT_ONCE]]
            with self._session(paths[0]) as session:
                self._remove(session, paths)

    @contextmanager
    def _session(self, path: bytes, size: int = 0) -> Iterator[SftpSession]:
        """A session for a block that is about a path; what the server refuses in it becomes an error with that path.

        `size`: how many bytes the block writes.
        """
        with self._pool.session() as session:
            try:
                yield session
            except NotADirectory as error:
                raise StorageUnreachable(f"{self._called(error.path)}: not a directory") from error
            except Garbled as error:
                raise StorageUnreachable(f"{self._shown}: {error}") from error
            except Refused as error:
                raise self._explained(error, path, session, size) from error

    def _explained(self, error: Refused, path: bytes, session: SftpSession, size: int) -> StorageError:
        """Version 3 has one code for nearly everything: what lies behind it is found out where that is possible."""
        said = f"{self._called(path)}: {error.text}"
        if error.code in (Status.NO_SPACE, Status.OVER_QUOTA):
            return StorageFull(f"{said}; make room there, then run again")
        if error.code != Status.FAILURE or not size:
            return StorageUnreachable(said)
        with suppress(Refused):
            if session.idle and (free := session.free_bytes(self._root.path)) is not None and free < size + _SPARE:
                return StorageFull(f"{said}; {free} bytes are free there: make room, then run again")
        return StorageUnreachable(f"{said}. Servers say no more when, for example, a quota is used up")

    @contextmanager
    def _temporary(self, session: SftpSession, data: Buffer) -> Iterator[Temporary]:
        """A file with this content and without a name; removed afterwards, unless the connection broke."""
        left, self._left_behind = self._left_behind, set()
        try:
            self._remove(session, tuple(left))
        except BaseException:  # this connection broke, too: the next one tries again
            self._left_behind |= left
            raise
        path, file, gone = temporary_path(self._root.below(_TEMPORARY)), None, False
        try:
            file = self._opened(session, path)
            file.fill(data)
            self._sweep(session, file)
            yield file
        finally:
            try:
                if session.idle:
                    if file is not None:
                        file.discard()
                    gone = True
            finally:
                if not gone:  # the connection broke, be it while the file was opened or removed
                    self._left_behind.add(path)

    def _opened(self, session: SftpSession, path: bytes) -> Temporary:
        try:
            return Temporary(session, path)
        except Refused as error:
            if not error.missing:
                raise
        self._root.make_directories(session, [_TEMPORARY])
        return Temporary(session, path)

    def _sweep(self, session: SftpSession, file: Temporary) -> None:
        """Once, with the first file that is written: its time is that of the server's clock."""
        if self._swept:
            return
        self._swept = True
        with suppress(Refused):
            sweep(session, file)

    def _in_its_directory(self, session: SftpSession, name: str, action: Callable[[], _T]) -> _T:
        """Do something for which an object's directory has to be there."""
        try:
            return action()
        except Refused as error:
            if not error.missing:
                raise
        self._root.make_directories(session, name.split("/")[:-1])
        return action()

    @contextmanager
    def _expected(self, session: SftpSession, name: str) -> Iterator[None]:
        """ObjectMissing when the block does not find the file, but does the root."""
        try:
            yield
        except NotAFile as error:
            raise ObjectMissing(name) from error
        except Refused as error:
            # Some servers refuse to open a directory, for no stated reason.
            if not error.missing and not is_directory_now(session, self._root.below(name)):
                raise
            self._root.require(session)
            raise ObjectMissing(name) from error

    def _remove(self, session: SftpSession, paths: Sequence[bytes]) -> None:
        """Remove files; what is not there, or is a directory, is no object."""
        numbers = [session.post(Kind.REMOVE, string(path)) for path in paths]
        refused = {
            path: refusal for path, each in zip(paths, numbers, strict=True) if (refusal := session.refusal(each))
        }
        if any(refusal.missing for refusal in refused.values()):
            self._root.require(session)
        for path, refusal in refused.items():
            if not refusal.missing and not is_directory_now(session, path):
                raise refusal

    def _called(self, path: bytes) -> str:
        return f"{self._shown}: {_printable(path.decode(errors='surrogateescape'))}"


def _printable(path: str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")
