"""Write a snapshot, or a part of it, as a tar archive, in one pass and in bounded memory.

    entries -> headers, chunks wanted, ends of files: steps -> fetched, in order -> stream

What an archive can not hold is left out: inode flags, and sockets, which are counted. Holes stay holes. The first name
of a file with several names has the content, the others are links to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from chunkstore.errors import Damaged
from chunkstore.format import tar
from chunkstore.format.entries import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    SOCKET,
    SYMLINK,
    Entry,
)
from chunkstore.operations.cat import zeros
from chunkstore.operations.fetching import Got
from chunkstore.operations.in_order import Step, content_of, in_order
from chunkstore.operations.link_fingerprint import link_fingerprint
from chunkstore.operations.selection import Placed
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.tree.display import display_path
from chunkstore.tree.link_groups import LinkGroups
from chunkstore.tree.postponed import PostponedDirectories

_TYPES = {
    FILE: tar.FILE_TYPE,
    DIRECTORY: tar.DIRECTORY_TYPE,
    SYMLINK: tar.SYMLINK_TYPE,
    FIFO: tar.FIFO_TYPE,
    CHARACTER_DEVICE: tar.CHARACTER_TYPE,
    BLOCK_DEVICE: tar.BLOCK_TYPE,
}


class Stream(Protocol):
    """Where the archive goes; an `OSError` of it is raised as it is."""

    def write(self, data: bytes | memoryview, /) -> object: ...


@dataclass(slots=True)
class Exported:
    """What is in the archive. `bytes` is the logical size of `files`; `problems` counts what was warned of."""

    files: int = 0
    directories: int = 0
    links: int = 0
    hard_links: int = 0
    specials: int = 0
    bytes: int = 0
    skipped_sockets: int = 0
    problems: int = 0


@dataclass(slots=True, eq=False)
class _File:
    """A file whose header is out; `left` bytes of content are to follow, so that what comes after it has its place."""

    relative: bytes
    entry: Entry
    left: int
    padding: bytes
    damage: Damaged | None = None


class _Part(NamedTuple):
    """A chunk of a file."""

    file: _File
    length: int


class _End(NamedTuple):
    """All chunks of a file that can be had are out; `damage`: why there are no more."""

    file: _File
    damage: Damaged | None = None


_Purpose = bytes | _Part | _End


def write_tar(
    reader: ChunkReader,
    manifest: ManifestReader,
    entries: Iterator[Placed],
    stream: Stream,
    workers: int,
    progress: Progress,
    *,
    ancestor_mtime_ns: int,
    scratch: str | None,
) -> Exported:
    """Write `entries` to `stream`, under their `relative` paths, the target itself as `./`.

    Directories above roots, whose times are not recorded, get `ancestor_mtime_ns`. Content that can not be had is
    replaced by zeros: its size has been announced. Raises `Damaged` for a manifest that is not whole: the archive
    lacks its end then.
    """
    with closing(LinkGroups(scratch)) as groups, closing(PostponedDirectories(scratch)) as directories:
        run = _Export(reader, manifest, stream, progress, ancestor_mtime_ns, groups, directories)
        return run.run(entries, workers)


class _Export:
    def __init__(
        self,
        reader: ChunkReader,
        manifest: ManifestReader,
        stream: Stream,
        progress: Progress,
        ancestor_mtime_ns: int,
        groups: LinkGroups,
        directories: PostponedDirectories,
    ) -> None:
        self._reader = reader
        self._manifest = manifest
        self._stream = stream
        self._progress = progress
        self._ancestor_mtime_ns = ancestor_mtime_ns
        self._groups = groups
        self._directories = directories
        self._written = 0
        self._done = Exported()

    def run(self, entries: Iterator[Placed], workers: int) -> Exported:
        for got in in_order(self._reader, self._steps(entries), workers):
            match got.purpose:
                case bytes(header):
                    self._write(header)
                case _Part() as part:
                    self._content(part, got)
                case _End(file, damage):
                    self._end(file, damage)
        self._write(tar.END)
        self._write(bytes(-self._written % tar.RECORD))
        return self._done

    # -- what is to be written

    def _steps(self, entries: Iterator[Placed]) -> Iterator[Step[_Purpose]]:
        """A directory comes right before its contents: GNU tar sets its time when something else follows."""
        for placed in entries:
            relative, entry = placed.relative, placed.found.entry
            if entry.kind == SOCKET:
                self._done.skipped_sockets += 1
                continue
            yield from map(_header, self._directories.enter(relative.rpartition(b"/")[0]))
            first = self._first_name(placed)
            member = self._member(relative, placed.found, first)
            if first is None and entry.kind == FILE:
                yield from self._file(placed, member)
                continue
            try:
                header = tar.encode_member(member)
            except ValueError as e:
                self._problem(relative, str(e))
                continue
            self._count(entry, first)
            if entry.kind == DIRECTORY and relative:
                self._directories.add(relative, header)
            else:
                yield _header(header)
        yield from map(_header, self._directories.rest())

    def _first_name(self, placed: Placed) -> bytes | None:
        found = placed.found
        if found.entry.link is None or found.entry.kind == DIRECTORY:
            return None
        return self._groups.first(found.entry.link, placed.relative, link_fingerprint(self._manifest, found))

    def _member(self, relative: bytes, found: ManifestEntry, first: bytes | None) -> tar.Member:
        entry, owners = found.entry, found.owners
        directory = entry.kind == DIRECTORY
        target = entry.target if entry.kind == SYMLINK else b""
        return tar.Member(
            (relative or b".") + b"/" * directory,
            _TYPES[entry.kind] if first is None else tar.LINK_TYPE,
            entry.mode,
            entry.uid,
            entry.gid,
            owners.users.get(entry.uid, "").encode("utf-8", "surrogateescape"),
            owners.groups.get(entry.gid, "").encode("utf-8", "surrogateescape"),
            self._ancestor_mtime_ns if entry.ancestor else entry.mtime_ns,
            entry.size if first is None and entry.kind == FILE else 0,
            target if first is None else first,
            (entry.device or (0, 0)) if first is None else (0, 0),
            entry.atime_ns,
            entry.xattrs if first is None else {},
        )

    def _file(self, placed: Placed, member: tar.Member) -> Iterator[Step[_Purpose]]:
        found, entry = placed.found, placed.found.entry
        header, stored = tar.encode_member(member), entry.size
        if entry.extents is not None:
            header, stored = tar.encode_sparse(member, entry.extents, entry.size)
        file = _File(placed.relative, entry, entry.content_size, tar.padding(stored))
        yield _header(header)
        try:
            for chunk_id, length in content_of(self._reader, self._manifest, found):
                yield Step(_Part(file, length), chunk_id, length)
        except Damaged as e:
            yield Step(_End(file, e))
        else:
            yield Step(_End(file))

    def _count(self, entry: Entry, first: bytes | None) -> None:
        if first is not None:
            self._done.hard_links += 1
            self._progress.advance(entry.kind == FILE, entry.size)
        elif entry.kind == DIRECTORY:
            self._done.directories += 1
        elif entry.kind == SYMLINK:
            self._done.links += 1
        else:
            self._done.specials += 1

    # -- writing

    def _content(self, part: _Part, got: Got[_Purpose]) -> None:
        file = part.file
        file.damage = file.damage or got.damage
        for block in zeros(part.length) if got.damage else (got.data,):
            self._write(block)
        file.left -= part.length
        self._progress.advance(0, part.length)

    def _end(self, file: _File, damage: Damaged | None) -> None:
        entry = file.entry
        for block in zeros(file.left):
            self._write(block)
        self._write(file.padding)
        self._progress.advance(1, entry.size - entry.content_size + file.left)
        self._done.files += 1
        self._done.bytes += entry.size
        if damage := file.damage or damage:
            self._problem(file.relative, f"{damage}; there are zeros for it in the archive")

    def _problem(self, relative: bytes, how: str) -> None:
        self._done.problems += 1
        self._progress.warn(f"{display_path(relative)}: {how}")

    def _write(self, data: bytes | memoryview) -> None:
        self._stream.write(data)
        self._written += len(data)


def _header(data: bytes) -> Step[_Purpose]:
    return Step(data, weight=len(data))
