"""A directory as a storage: each object is a file at `<root>/<name>`, 0600, in directories of mode 0700.

Files appear whole (see `publishing`); temporary ones live in `<root>/.tmp`, which no object's name can reach. On
the file systems most people have, new objects need none, so that a crash leaves nothing behind; where it does, a later
writer sweeps it out. Reading writes nothing: a root that is read-only, or somebody else's, will do.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final

from chunkstore.errors import ObjectMissing, StorageFull, StorageUnreachable
from chunkstore.storage.local_files import file_status, opened, read
from chunkstore.storage.protocol import MOST_ENTRIES, Buffer, ObjectInfo, check_name, check_prefix, check_range, is_name
from chunkstore.storage.publishing import (
    NotSupported,
    Target,
    Way,
    by_link,
    by_rename,
    by_unnamed_file,
    flush,
    make_directory,
    replace,
    sweep,
)

WAYS: Final[tuple[Way, ...]] = (by_unnamed_file, by_link, by_rename)

_TEMPORARY: Final = ".tmp"


class LocalStorage:
    """Objects as files below the directory `root`. See `Storage`.

    A missing root is StorageUnreachable, so that a drive that is not mounted does not pass for an empty
    repository. With `create` it counts as empty, and the first object makes it, parents and all. Opening makes
    nothing. `durable=False` leaves flushing to the system: for tests. `ways` are tried in order until one works.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        create: bool = False,
        durable: bool = True,
        ways: tuple[Way, ...] = WAYS,
    ) -> None:
        self._root = os.path.abspath(root)
        self._create = create
        self._durable = durable
        self._ways = ways
        # Directories whose entries in their parents are known to be flushed.
        self._known_directories: set[str] = set()
        self._swept = False

    @classmethod
    def create(cls, root: str | os.PathLike[str], *, durable: bool = True) -> LocalStorage:
        """Make the directory and its missing parents, 0700, and open it; one that exists is left as it is."""
        storage = cls(root, durable=durable)
        with _explained(storage._root):
            storage._make_root(storage._root)
        return storage

    @property
    def location(self) -> str:
        return self._root

    def put(self, name: str, data: Buffer) -> None:
        check_name(name)
        path = self._path(name)
        # Replacing needs a temporary file, which a crash may leave behind; creating mostly does not.
        if not os.path.lexists(path):
            with suppress(_NoWay):
                if self.put_if_absent(name, data):
                    return
        with _explained(path), self._target(name) as target:
            replace(target, data)
            self._flush_directory(target.directory)
            self._sweep(target)

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        check_name(name)
        with _explained(self._path(name)), self._target(name) as target:
            created = self._publish(target, data)
            # Also when it was there: whoever made it may not have come this far, and the caller relies on it.
            self._flush_directory(target.directory)
            if created:
                self._sweep(target)
            return created

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        check_name(name)
        check_range(offset, length)
        path = self._path(name)
        with _explained(path), self._expected(name), opened(path) as descriptor:
            # The file's size bounds what is allocated, whatever length was asked for.
            available = max(0, file_status(descriptor).st_size - offset)
            return read(descriptor, offset, available if length is None else min(length, available))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. In memory are the names of one directory a level; sizes are looked up when due."""
        check_prefix(prefix)
        return self._walk(prefix[: prefix.rfind("/") + 1], prefix)

    def stat(self, name: str) -> ObjectInfo:
        check_name(name)
        with _explained(self._path(name)), self._expected(name):
            status = file_status(self._path(name))
            return ObjectInfo(name, status.st_size, status.st_mtime)

    def delete(self, name: str) -> None:
        check_name(name)
        path = self._path(name)
        with _explained(path):
            if os.path.isdir(path):
                return
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
            # Whatever is deleted after this must not be gone while this is back after a crash (I-5). That holds
            # for what somebody else has just deleted, too.
            with suppress(FileNotFoundError, NotADirectoryError):
                self._flush(os.path.dirname(path))

    def entries(self) -> Sequence[str]:
        """See `ShowsEntries`."""
        with _explained(self._root):
            try:
                with os.scandir(self._root) as found:
                    shown = (f"{each.name}/" if each.is_dir(follow_symlinks=False) else each.name for each in found)
                    return [*islice((name for name in shown if name != f"{_TEMPORARY}/"), MOST_ENTRIES)]
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                return ()

    def _path(self, name: str) -> str:
        return os.path.join(self._root, name)

    def _publish(self, target: Target, data: Buffer) -> bool:
        """Create the file by the first way that works here; those that do not are not tried again."""
        ways = self._ways
        for position, way in enumerate(ways):
            try:
                created = way(target, data)
            except NotSupported:
                continue
            self._ways = ways[position:]
            return created
        raise _NoWay(f"{self._root}: this file system can not create files without replacing others")

    def _sweep(self, target: Target) -> None:
        """Once, after the first file that was written: its time is the file system's own."""
        if self._swept:
            return
        self._swept = True
        with suppress(OSError):
            sweep(target.temporary, os.stat(target.name, dir_fd=target.directory).st_mtime)

    @contextmanager
    def _target(self, name: str) -> Iterator[Target]:
        """Where the file of an object is to appear; its directory is made when needed."""
        parent, leaf = os.path.split(self._path(name))
        if parent not in self._known_directories or not os.path.isdir(parent):
            self._make_directories(name.split("/")[:-1])
        with opened(parent) as directory:
            yield Target(directory, leaf, os.path.join(self._root, _TEMPORARY), self._durable)

    def _make_directories(self, segments: Sequence[str]) -> None:
        """Make the directories one in the other, flush what is not known to be flushed."""
        self._require_root()
        self._make_root(self._root)
        path = self._root
        for segment in segments:
            parent, path = path, os.path.join(path, segment)
            if make_directory(path) or path not in self._known_directories:
                self._flush(parent)
        self._known_directories.add(path)

    def _make_root(self, path: str) -> None:
        """Make a directory and its missing parents."""
        if not os.path.isdir(path):
            parent = os.path.dirname(path)
            if parent != path:
                self._make_root(parent)
            make_directory(path)
            self._flush(parent)

    def _require_root(self) -> None:
        """StorageUnreachable unless the root is a directory, or is missing and may be made."""
        try:
            is_directory = stat.S_ISDIR(os.stat(self._root).st_mode)
        except FileNotFoundError:
            if self._create:
                return
            raise StorageUnreachable(f"{self._root}: there is no such directory") from None
        if not is_directory:
            raise StorageUnreachable(f"{self._root}: not a directory")

    @contextmanager
    def _expected(self, name: str) -> Iterator[None]:
        """ObjectMissing when the block does not find the file, but does the root."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            self._require_root()
            raise ObjectMissing(name) from error

    def _walk(self, directory: str, prefix: str) -> Iterator[ObjectInfo]:
        """The objects in `directory` (empty, or with a slash at its end) and below, sorted by name."""
        for name in self._names(directory, prefix):
            if name.endswith("/"):
                yield from self._walk(name, prefix)
                continue
            with _explained(self._path(name)):
                try:
                    status = file_status(self._path(name))
                except (FileNotFoundError, IsADirectoryError):
                    continue  # deleted meanwhile, or not ours
            yield ObjectInfo(name, status.st_size, status.st_mtime)

    def _names(self, directory: str, prefix: str) -> Sequence[str]:
        """The names in a directory that start with the prefix, those of directories with a slash at their end.

        With the slash they sort as the names of the objects in them do: `a-b`, `a/b`, `a0`.
        """
        path = self._path(directory)
        names = []
        with _explained(path):
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        name = directory + entry.name
                        if is_name(name):
                            names.append(f"{name}/" if entry.is_dir() else name)
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
        return sorted(name for name in names if name.startswith(prefix))

    def _flush(self, path: str) -> None:
        """Flush a directory, given its path."""
        if self._durable:
            with opened(path) as directory:
                self._flush_directory(directory)

    def _flush_directory(self, directory: int) -> None:
        """Flush the entries of a directory, given its descriptor."""
        if not self._durable:
            return
        try:
            flush(directory)
        except OSError as error:
            # Some network file systems can not flush a directory, and say so in this way.
            if error.errno != errno.EINVAL:
                raise


class _NoWay(StorageUnreachable):
    """None of the ways to publish a file works on this file system."""


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """What the system refuses in the block, as an error that names the path and says what can be done."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"{path}: {reason}; make room there, then run again") from error
        raise StorageUnreachable(f"{path}: {reason}") from error
