"""One run of a snapshot, under one session id: the chain from the walk to the record."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chunkstore.chunking import make_chunker, parse_chunker
from chunkstore.errors import Fenced, Interrupted, SourceError, StorageError
from chunkstore.format.client_state import ClientState
from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, Row, join
from chunkstore.format.records import SignedRecord, SnapshotRecord, stored_time
from chunkstore.operations.estimate import estimate
from chunkstore.operations.file_content import Content, FileContent, known
from chunkstore.operations.last_manifest import LastManifest, Match
from chunkstore.operations.snapshot_values import SnapshotOptions, SnapshotResult
from chunkstore.operations.statistics import Statistics
from chunkstore.progress import Progress
from chunkstore.repository.chunk_writer import ChunkWriter
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.manifest_cache import CacheHeader, ManifestCacheWriter, open_manifest_cache
from chunkstore.repository.manifest_writer import ManifestWriter, Roots
from chunkstore.repository.places import load_state, locked, save_state
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.repository.session import WriteSession
from chunkstore.tree.display import display_path
from chunkstore.tree.reading import entry_of, kind_of, read_link
from chunkstore.tree.walk import ancestors, never, walk

_CHECK_BYTES = 64 << 10
"""Read between two looks at the clock and at who wants the run to stop; directories are looked at one by one."""
_COMPARED_IDS = 32_768
"""A file of more chunks that had to be read again counts as changed: its ids are not held in memory to see."""


def cache_name(host: str, roots: Sequence[bytes]) -> str:
    """The name of the last manifest of these roots."""
    return hashlib.sha256(b"\0".join((host.encode(), *roots))).hexdigest()[:32]


class Run:
    """One attempt, under one session id."""

    def __init__(
        self,
        repository: Repository,
        index: LocalIndex,
        roots: list[bytes],
        options: SnapshotOptions,
        around: Surroundings,
        progress: Progress,
        missing: Sequence[bytes] = (),
    ) -> None:
        """`missing`: paths that were asked for and are not there; they count as errors."""
        self._repository = repository
        self._roots = roots
        self._ancestors = ancestors(roots)
        self._options = options
        self._around = around
        self._progress = progress
        self._index = index
        self._started = stored_time(around.clock())
        self._unchecked = 0
        self._statistics = Statistics()
        self._problems: list[str] = []
        self._session = WriteSession(repository, index, around, progress)
        for path in missing:
            self._problem(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), asked_for=True)

    def run(self) -> SnapshotResult:
        key, around = self._repository.key, self._around
        directory = around.places.cache_directory(key.repository_id)
        name = cache_name(around.host, self._roots)
        parameters = parse_chunker(self._repository.config.chunker)
        header = CacheHeader(self._session.id, self._session.generation, self._index.losses, self._started)
        with contextlib.ExitStack() as stack:
            stack.callback(self._end_session)
            log = ManifestCacheWriter(directory, name, header, self._progress.warn)
            stack.callback(log.close)
            cache = open_manifest_cache(directory, name)
            if cache:
                stack.callback(cache.close)
            if self._options.estimate and cache:
                self._progress.total(cache.header.files, cache.header.size)
            elif self._options.estimate:
                estimate(self._roots, self._options.leave_out, self._progress, stack)
            self._writer = writer = stack.enter_context(
                ChunkWriter(
                    self._repository, self._index, self._session.id, around.random_bytes,
                    parameters.max_size, self._options.write,
                )
            )  # fmt: skip
            self._manifest = ManifestWriter(writer, key.segment_cut_key, log)
            blindly = cache is not None and self._may_take_over(cache.header)
            self._look_up = not blindly
            self._last = LastManifest(cache, key, self._manifest, log.ids, None if blindly else writer.add)
            self._content = FileContent(
                writer, make_chunker(parameters, key.chunker_seed), str(directory), self._tick_content
            )
            roots = self._store_everything()
            signed = self._commit(roots)
            log.keep(self._statistics.files, self._statistics.bytes)
        return SnapshotResult(signed, self._statistics, tuple(self._problems))

    def _may_take_over(self, last: CacheHeader) -> bool:
        """Chunks of unchanged files need no look-up when no prune was or is under way since (design, section 5).

        Nor may the local index have lost anything: an index object that is gone from the repository, or a repository
        that was set back to an older copy, shows as rows that went.
        """
        same = self._session.generation == last.generation and self._index.losses == last.losses
        return same and not self._session.condemned.plan_open

    def _end_session(self) -> None:
        with contextlib.suppress(StorageError):  # a session that is left behind delays a prune, no more
            self._session.end()

    # -- the chain

    def _store_everything(self) -> Roots:
        try:
            self._walk()
            self._last.finish()
            roots = self._manifest.finish()
            self._writer.flush()
        except (Interrupted, Fenced):
            self._writer.flush()  # publish what was stored, so that the next run finds it
            raise
        return roots

    def _walk(self) -> None:
        skip = self._leave_out if self._options.leave_out else never
        for parent, children in walk(self._roots, on_error=self._problem, skip=skip):
            self._check()
            for name, status in children:
                self._entry(parent, name, status)

    def _leave_out(self, path: bytes, status: os.stat_result) -> bool:
        return (status.st_dev, status.st_ino) in self._options.leave_out

    def _entry(self, parent: bytes, name: bytes, status: os.stat_result) -> None:
        match = self._last.find(parent, name)
        if match is not None and self._last.unchanged(match.row, status) and self._still_stored(match):
            self._last.keep(parent, match)
            self._count_kept(match.row)
            return
        path = join(parent, name)
        try:
            kind = kind_of(status.st_mode)
            if kind == FILE:
                self._progress.current(path)
                content = self._content.store(path)
            extra: dict[str, Any] | None = {"target": read_link(path)} if kind == SYMLINK else None
        except (OSError, SourceError) as e:  # of the source alone: what writes to the cache raises errors of ours
            self._problem(path, e)
            return
        if kind == FILE:
            self._file(parent, name, content, match)
            return
        entry = entry_of(name, status, 0, extra)
        above = path in self._ancestors
        if above:  # its times say what happened beside the roots: recorded, they would make every manifest new
            entry = entry._replace(mtime_ns=0, ctime_ns=0, inode=0, extra={"ancestor": True})
        self._last.interrupt()
        self._manifest.add(parent, entry)
        if not above:
            self._count_other(kind)

    def _count_kept(self, row: Row) -> None:
        kind, size, extra = row[1], row[8], row[10]
        if kind == FILE:
            self._count_file(size, "files_unchanged")
            self._progress.advance(1, size)
        elif not (extra and extra.get("ancestor")):
            self._count_other(kind)

    def _still_stored(self, match: Match) -> bool:
        return not (self._look_up and match.row[9]) or known(self._writer, self._last.ids(match))

    def _file(self, parent: bytes, name: bytes, content: Content, match: Match | None) -> None:
        self._progress.advance(1, 0)
        self._statistics.bytes_read += content.size
        entry = entry_of(name, content.status, content.chunks, None)
        if entry.size != content.size:
            entry = entry._replace(size=content.size)
        if match is not None and entry == match.entry and entry.chunks <= _COMPARED_IDS:
            pieces = list(content.ids)
            if pieces == list(self._last.ids(match)):  # read because its times could not be trusted: it is as it was
                self._last.keep(parent, match)
                self._count_file(content.size, "files_unchanged")
                return
            content = content._replace(ids=pieces)
        self._last.interrupt()
        for ids in content.ids:
            self._manifest.add_ids(ids)
        self._manifest.add(parent, entry)
        self._count_file(content.size, "files_new" if match is None or match.row[1] != FILE else "files_changed")

    # -- keeping watch

    def _tick_content(self, size: int) -> None:
        self._progress.advance(0, size)
        self._unchecked += size
        if self._unchecked >= _CHECK_BYTES:
            self._check()

    def _check(self) -> None:
        self._unchecked = 0
        self._session.beat()
        if self._around.stop():
            raise Interrupted("interrupted; what was stored so far will be used by the next snapshot")

    def _problem(self, path: bytes, error: Exception, *, asked_for: bool = False) -> None:
        shown = display_path(path)
        vanished = isinstance(error, OSError) and error.errno == errno.ENOENT
        if vanished and not asked_for and path not in self._roots:
            self._statistics.vanished += 1
            self._progress.warn(f"vanished while the snapshot ran: {shown}")
            return
        self._statistics.errors += 1
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self._problems.append(f"{shown}: {reason}")
        self._progress.warn(f"can not read {shown}: {reason}")

    def _count_file(self, size: int, which: str) -> None:
        counted = self._statistics
        counted.files += 1
        counted.bytes += size
        setattr(counted, which, getattr(counted, which) + 1)

    def _count_other(self, kind: int) -> None:
        counted = self._statistics
        if kind == SYMLINK:
            counted.links += 1
        elif kind == DIRECTORY:
            counted.directories += 1
        else:
            counted.specials += 1

    # -- the record

    def _commit(self, roots: Roots) -> SignedRecord:
        places, repository_id = self._around.places, self._repository.key.repository_id
        with locked(places, repository_id):  # two runs on this machine must not take the same sequence number
            state = load_state(places, repository_id)
            signed = self._session.commit(self._record(roots, state), self._options.sign)
            generation = max(state.generation, self._session.generation)
            following = replace(state, sequence=state.sequence + 1, previous=signed.digest, generation=generation)
            save_state(places, following)
        return signed

    def _count_written(self, end: int) -> None:
        counted, written = self._statistics, self._writer.written
        counted.files_deleted = self._last.files_gone
        counted.bytes_new, counted.bytes_stored = written.content_raw, written.stored
        counted.bytes_new_stored = written.content_stored
        counted.chunks_new, counted.packs = written.chunks, written.packs
        counted.duration_ns = max(end - self._started, 0)

    def _record(self, roots: Roots, state: ClientState) -> SnapshotRecord:
        around, end = self._around, stored_time(self._around.clock())
        self._count_written(end)
        return SnapshotRecord(
            id=self._session.id,
            time=self._started,
            end=end,
            host=around.host,
            user=around.user,
            roots=tuple(self._roots),
            tags=self._options.tags,
            description=self._options.description,
            content_root=roots.content,
            reference_root=roots.reference,
            client=state.client,
            sequence=state.sequence,
            previous=state.previous,
            generation=self._session.generation,
            partial=False,
            errors=self._statistics.errors,
            statistics=self._statistics.as_record(),
            program=around.program,
        )
