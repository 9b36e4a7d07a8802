"""The directory a restore writes to."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from types import TracebackType

from chunkstore.errors import InvalidArgument, TargetError
from chunkstore.format.entries import DIRECTORY, Entry
from chunkstore.format.owners import NO_OWNERS, Owners
from chunkstore.tree.attributes import Attributes, Ownership
from chunkstore.tree.creating import NotPermitted, hard_link, special_file, symlink, whole_file
from chunkstore.tree.directories import Directories
from chunkstore.tree.display import display_path
from chunkstore.tree.existing import ExistingFile
from chunkstore.tree.inode_flags import SEALING
from chunkstore.tree.notes import Notes
from chunkstore.tree.overwriting import Overwrite, Places
from chunkstore.tree.part_files import PartFiles
from chunkstore.tree.parts import PartFile
from chunkstore.tree.problems import target_error
from chunkstore.tree.refreshing import Refreshing
from chunkstore.tree.removal import Removed, is_mount
from chunkstore.tree.writing import Data, lstat, make_writable, open_regular, require_empty
from chunkstore.tree.xattrs_writing import has_default_acl

__all__ = ["Overwrite", "Ownership", "Target"]


class Target:
    """Writes a tree under one directory, and never outside it whatever it is told.

    Entries are named by `relative`, bytes like `a/b/c`; empty is the target itself. Parents must have been made.
    Every method raises `TargetError` about the one entry it is for, except that the subclass `TargetFull` says that
    no further entry can succeed. `owners` are the names of the users and groups of `entry`. One thread at a time.
    """

    def __init__(
        self,
        root: int,
        path: bytes,
        overwrite: Overwrite,
        ownership: Ownership,
        scratch: str | None,
        delete: bool,
        write_behind: bool = False,
    ) -> None:
        """Takes over `root`, the open directory at `path`; see `prepare`."""
        self.path, self.overwrite, self.ownership = path, overwrite, ownership
        self._root = root
        self._attributes = Attributes(ownership)
        self._attributes.inheriting = has_default_acl(root)
        self._directories = Directories(root, path)
        self._places = Places(self._directories, overwrite, delete)
        self._files = PartFiles(self._directories, self._places, self._attributes, write_behind)
        self._notes = Notes(scratch)

    @classmethod
    def prepare(
        cls,
        path: bytes,
        *,
        overwrite: Overwrite = Overwrite.REFUSE,
        ownership: Ownership | None = None,
        scratch: str | None = None,
        delete: bool = False,
        write_behind: bool = False,
    ) -> Target:
        """Open the directory `path`, made with its parents if it is missing.

        By default root gives files to the users and groups of the names they had, others do not. With `delete`
        directories in the way of files are removed with all that is in them. With `write_behind` parts are written by a
        thread, so that `write_at` may say of an earlier part that it failed. Raises `TargetError` where there is no
        directory to be had, or a full one with `Overwrite.REFUSE`.
        """
        if ownership is None:
            ownership = Ownership.NAMES if os.geteuid() == 0 else Ownership.NONE
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileExistsError as e:
            raise TargetError(f"{display_path(path)} is not a directory") from e
        except OSError as e:
            raise target_error(path, e) from e
        try:
            if overwrite is Overwrite.REFUSE:
                require_empty(root, path)
            return cls(root, path, overwrite, ownership, scratch, delete, write_behind)
        except BaseException:
            os.close(root)
            raise

    @property
    def not_set(self) -> Counter[str]:
        """For how many entries "owner", "mode", "times", "extended attributes" or "flags" could not be set.

        "device nodes": how many could not be made.
        """
        return self._attributes.not_set

    def fileno(self) -> int:
        """The open directory."""
        return self._root

    def here(self, entry: Entry, owners: Owners) -> Entry:
        """`entry` with the numbers that its owners have on this machine, as all methods but those of others take it."""
        return self._attributes.here(entry, owners)

    # -- what is there

    def status(self, relative: bytes) -> os.stat_result | None:
        """The `lstat` of what is there; None where nothing is."""
        if not relative:
            return os.fstat(self._root)
        directory, name = self._directories.place(relative)
        try:
            return lstat(name, directory)
        except OSError as e:
            raise self._places.error(relative, e) from e

    def link_target(self, relative: bytes) -> bytes | None:
        """Where the symbolic link that is there points; None where there is none."""
        directory, name = self._directories.place(relative)
        with suppress(OSError):
            return os.readlink(name, dir_fd=directory)
        return None

    def read_existing(self, relative: bytes) -> ExistingFile | None:
        """The regular file that is there, for the caller to close; None where there is none that can be read."""
        directory, name = self._directories.place(relative)
        try:
            opened = open_regular(name, directory)
        except OSError:
            return None
        return ExistingFile(opened[0], opened[1].st_size) if opened else None

    def refresh(self, relative: bytes, entry: Entry, owners: Owners = NO_OWNERS) -> bool:
        """Give a file whose content is right already the attributes of `entry`.

        False where that is not safe, or not a file: another name may lie outside, somebody else may be writing it.
        """
        entry = self._attributes.here(entry, owners)
        done = Refreshing(self._directories, self._attributes).refresh(relative, entry)
        if done:
            self._seal_later(relative, entry)
        return done

    def remove(self, relative: bytes, removed: Removed | None = None) -> None:
        """Remove what is there, links as such, directories with all that is in them but never another file system.

        `removed` is told the path of each thing.
        """
        self._places.remove(relative, removed)

    def is_mount(self, relative: bytes) -> bool:
        """Whether a file system, or another place of one, is mounted on the directory that is there."""
        directory, name = self._directories.place(relative)
        try:
            return is_mount(name, directory)
        except OSError as e:
            raise self._places.error(relative, e) from e

    # -- files

    def write_whole(self, relative: bytes, data: Data, entry: Entry, owners: Owners = NO_OWNERS) -> bool:
        """Create a file with this content and the attributes of `entry`; False if what is there was kept."""
        entry = self._attributes.here(entry, owners)
        if self._places.make(relative, whole_file(data, entry, self._attributes), entry.mtime_ns) is None:
            return False
        self._seal_later(relative, entry)
        return True

    def create(self, relative: bytes, size: int, entry: Entry | None = None) -> PartFile | None:
        """Begin a file that comes in parts; None if what is there was kept (`IF_NEWER` needs the entry for that).

        It has a temporary name until it is finished, and keeps that if it never is: the next restore that begins the
        same file finds in it what was written (`PartFile.there`).
        """
        return self._files.create(relative, size, entry.mtime_ns if entry else None)

    def is_begun(self, relative: bytes) -> bool:
        """Whether an interrupted restore may have left something for `create`."""
        return self.status(self._places.claims.temporary(relative)) is not None

    def open_existing(self, relative: bytes, entry: Entry, owners: Owners = NO_OWNERS) -> PartFile | None:
        """Begin to change a file that is there, in place; None where that is not safe, or is no file: `create` then.

        Safe is a file of one name, of its owner to be or ours, which lets nobody do what `entry` will not. Where
        `create` would refuse or keep it, so does this.
        """
        return self._files.open_existing(relative, self._attributes.here(entry, owners))

    def write_at(self, part: PartFile, offset: int, data: Data) -> None:
        """Write a part; parts come in any order, of any number of files in turn."""
        self._files.write_at(part, offset, data)

    def read_at(self, part: PartFile, offset: int, length: int) -> bytes:
        """Read from a file that is being written: what was there, or has been written; fewer bytes where it ends."""
        return self._files.read_at(part, offset, length)

    def make_hole(self, part: PartFile, offset: int, length: int) -> None:
        """Have zeros in this range, without taking space for them where the system can do that."""
        self._files.make_hole(part, offset, length)

    def finish(self, part: PartFile, entry: Entry, owners: Owners = NO_OWNERS) -> bool:
        """Give a file its size, with zeros where nothing was written, the attributes of `entry`, and its name.

        False if something has come to be there meanwhile and was kept.
        """
        entry = self._attributes.here(entry, owners)
        finished = self._files.finish(part, entry)
        if finished:
            self._seal_later(part.relative, entry)
        return finished

    def discard(self, part: PartFile) -> None:
        """Remove a file that can not be finished, unless another has taken its place.

        One that was being changed in place stays: it is part old, part new.
        """
        self._files.discard(part)

    # -- links, pipes, devices

    def make_symlink(self, relative: bytes, entry: Entry, owners: Owners = NO_OWNERS) -> bool:
        """Create a symbolic link to `entry.target`, wherever that leads; False if what is there was kept."""
        entry = self._attributes.here(entry, owners)
        return self._places.make(relative, symlink(entry, self._attributes), entry.mtime_ns) is not None

    def make_special(self, relative: bytes, entry: Entry, owners: Owners = NO_OWNERS) -> bool | None:
        """Create a pipe or a device; False if what is there was kept, None (and counted) where we may not."""
        entry = self._attributes.here(entry, owners)
        try:
            return self._places.make(relative, special_file(entry, self._attributes), entry.mtime_ns) is not None
        except NotPermitted:
            self._attributes.not_set["device nodes"] += 1
            return None

    def make_link(self, relative: bytes, existing: bytes, entry: Entry | None = None) -> bool:
        """Create a further name for what was written at `existing`; False if what is there was kept.

        Raises `NoLink` where there can be none. As `create`, it needs the entry for `IF_NEWER`.
        """
        if relative == existing:
            raise InvalidArgument("a file can not be a link to itself")
        directory, old = self._directories.place(existing)
        source = os.dup(directory)  # `place` may close it when it is asked for the other directory

        make = hard_link(old, source, self._directories.shown(relative))
        try:
            there, first = self.status(relative), lstat(old, source)
            if there is not None and first is not None and os.path.samestat(there, first):
                return True
            return self._places.make(relative, make, entry.mtime_ns if entry else None) is not None
        finally:
            os.close(source)

    # -- directories

    def make_directory(self, relative: bytes, mode_while_writing: int = 0o700) -> None:
        """Make a directory; one that is there already is made writable for us and is fine."""
        if not relative:
            return
        shared = self._places.make_directory(relative, mode_while_writing)
        if shared is not None:
            self._attributes.inheriting |= has_default_acl(shared)
            make_writable(shared, mode_while_writing)
            os.close(shared)

    def note_directory(self, relative: bytes, entry: Entry, owners: Owners = NO_OWNERS) -> None:
        """Remember what `finish_directories` is to make of a directory; parents come before their children."""
        self._note(relative, self._attributes.here(entry, owners))

    def finish_directories(self) -> None:
        """Set the noted attributes, the last note first, so that no directory changes after its turn.

        Flags that seal files are set now too. A directory that is not there any more is counted in `not_set`.
        """
        refreshing = Refreshing(self._directories, self._attributes)
        try:
            for relative, entry in self._notes.pop_all():
                if entry.kind == DIRECTORY:
                    refreshing.finish_directory(relative, entry)
                else:
                    refreshing.seal(relative, entry)
        except OSError as e:
            raise self._places.error(b"", e) from e

    def close(self) -> None:
        """Close everything. Files that were begun and not finished stay under their temporary names."""
        self._files.close()
        self._directories.close()
        self._notes.close()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _seal_later(self, relative: bytes, entry: Entry) -> None:
        """Not before everything is moved and linked to where it belongs."""
        if entry.flags & SEALING:
            self._note(relative, entry)

    def _note(self, relative: bytes, entry: Entry) -> None:
        try:
            self._notes.push(relative, entry)
        except OSError as e:
            raise self._places.error(relative, e) from e
