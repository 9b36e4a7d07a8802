"""One run of a snapshot, under one session id: the chain from the walk to the record."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from chunkstore.chunking import make_chunker, parse_chunker
from chunkstore.errors import Fenced, Interrupted
from chunkstore.format.client_state import ClientState
from chunkstore.format.records import SignedRecord, SnapshotRecord, stored_time
from chunkstore.operations.checkpoints import CheckpointSchedule
from chunkstore.operations.commit import commit_as_next
from chunkstore.operations.snapshot.estimate import estimate
from chunkstore.operations.snapshot.file_content import FileContent
from chunkstore.operations.snapshot.last_manifest import LastManifest
from chunkstore.operations.snapshot.source_entries import SourceEntries
from chunkstore.operations.snapshot.values import SnapshotOptions, SnapshotResult
from chunkstore.operations.tally import Tally
from chunkstore.progress import Progress
from chunkstore.repository.chunk_writer import ChunkWriter
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.manifest_cache import CacheHeader, ManifestCache, ManifestCacheWriter, open_manifest_cache
from chunkstore.repository.manifest_writer import ManifestWriter, Roots
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.repository.session import WriteSession
from chunkstore.tree.choosing import Chooser
from chunkstore.tree.link_groups import LinkGroups
from chunkstore.tree.metadata import Metadata
from chunkstore.tree.owners import Accounts
from chunkstore.tree.roots import ancestors, recorded_roots
from chunkstore.tree.walk import walk

_CHECK_BYTES = 64 << 10
"""Read between two looks at the clock and at who wants the run to stop; directories are looked at one by one."""


def cache_name(host: str, roots: Sequence[bytes]) -> str:
    """The name of the last manifest of these roots."""
    return hashlib.sha256(b"\0".join((host.encode(), *roots))).hexdigest()[:32]


class Source(Protocol):
    """What a snapshot is of, where that is not what a walk finds."""

    def feed(self, entries: SourceEntries, check: Callable[[], None]) -> None:
        """Hand in all entries, in the order of manifests; `check` is to be called while there is nothing to do."""
        ...


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
        source: Source | None = None,
    ) -> None:
        """`missing`: paths that were asked for and are not there; they count as errors. `source`: instead of a walk."""
        self._source = source
        self._repository = repository
        self._roots = roots
        self._recorded = recorded_roots(roots)
        self._ancestors = ancestors(roots)
        self._options = options
        self._around = around
        self._progress = progress
        self._index = index
        self._started = stored_time(around.clock())
        self._unchecked = 0
        self._checkpoints = CheckpointSchedule(options.checkpoint_every, around.clock)
        self._tally = Tally(roots, progress)
        self._metadata = Metadata(self._tally.error, atime=options.atime)
        self._session = WriteSession(repository, index, around, progress)
        for path in missing:
            self._tally.error(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))

    def run(self) -> SnapshotResult:
        key, around = self._repository.key, self._around
        directory = around.places.cache_directory(key.repository_id)
        name = cache_name(around.host, self._recorded)
        header = CacheHeader(self._session.id, self._session.generation, self._index.losses, self._started)
        with contextlib.ExitStack() as stack:
            stack.callback(self._end_session)
            log = ManifestCacheWriter(directory, name, header, self._progress.warn)
            stack.callback(log.close)
            cache = open_manifest_cache(directory, name)
            if cache:
                stack.callback(cache.close)
            self._expect(cache, stack)
            self._prepare(cache, log, str(directory), stack)
            roots = self._store_everything()
            signed = self._commit(roots, partial=False)
            counted = self._tally.statistics
            log.keep(counted.files, counted.bytes)
        self._tally.unreadable_attributes(self._metadata.unreadable)
        return SnapshotResult(signed, counted, tuple(self._tally.problems))

    def _expect(self, cache: ManifestCache | None, stack: contextlib.ExitStack) -> None:
        """Tell the progress how much there will be."""
        if self._options.estimate and cache and cache.whole:
            self._progress.total(cache.whole.files, cache.whole.size)
        elif self._options.estimate:
            estimate(self._roots, self._options.choosing, self._progress, stack)

    def _prepare(
        self, cache: ManifestCache | None, log: ManifestCacheWriter, scratch: str, stack: contextlib.ExitStack
    ) -> None:
        """Put the chain together."""
        key, options = self._repository.key, self._options
        self._log = log
        parameters = parse_chunker(self._repository.config.chunker)
        self._writer = writer = stack.enter_context(
            ChunkWriter(
                self._repository, self._index, self._session.id, self._around.random_bytes,
                parameters.max_size, options.write,
            )
        )  # fmt: skip
        self._manifest = manifest = ManifestWriter(writer, key.segment_cut_key, log, Accounts())
        blindly = cache is not None and all(map(self._may_take_over, cache.headers))
        self._last = LastManifest(cache, key, manifest, log.ids, None if blindly else writer.add)
        self._content = FileContent(
            writer, make_chunker(parameters, key.chunker_seed), scratch, self._tick_content, self._metadata.of_file
        )
        links = stack.enter_context(LinkGroups(scratch))
        self._entries = SourceEntries(
            writer, manifest, self._last, self._content, self._metadata, links, self._tally, self._progress, options,
            ancestors=self._ancestors, roots=frozenset(self._roots), look_up=not blindly, check=self._check,
        )  # fmt: skip

    def _may_take_over(self, last: CacheHeader) -> bool:
        """Chunks of unchanged files need no look-up when no prune was or is under way since (design, section 5).

        Nor may the local index have lost anything: an index object that is gone from the repository, or a repository
        that was set back to an older copy, shows as rows that went.
        """
        same = self._session.generation == last.generation and self._index.losses == last.losses
        return same and not self._session.condemned.plan_open

    def _end_session(self) -> None:
        self._session.give_up()

    # -- the chain

    def _store_everything(self) -> Roots:
        try:
            if self._source is None:
                self._walk()
            else:
                self._source.feed(self._entries, self._check)
            self._last.finish()
            roots = self._manifest.finish()
            self._writer.flush()
        except (Interrupted, Fenced):
            self._writer.flush()  # publish what was stored, so that the next run finds it
            raise
        return roots

    def _walk(self) -> None:
        chooser = Chooser(self._options.choosing, self._tally.problem)
        for parent, children in walk(self._roots, on_error=self._tally.problem, choice=chooser):
            self._check()
            at = 0
            while at < len(children):
                begun, at = at, self._entries.add_unchanged(parent, children, at)
                at = self._entries.add_new(parent, children, at)
                if at == begun:
                    self._entries.add(parent, *children[at])
                    at += 1
                if self._checkpoints.due:
                    self._checkpoint()

    # -- keeping watch

    def _tick_content(self, size: int) -> None:
        self._progress.advance(0, size)
        self._unchecked += size
        if self._unchecked >= _CHECK_BYTES:
            self._check()

    def _check(self) -> None:
        self._unchecked = 0
        self._session.beat()
        self._checkpoints.look(self._writer.written.chunks)
        if self._around.stop():
            raise Interrupted("interrupted; what was stored so far will be used by the next snapshot")

    # -- the record

    def _checkpoint(self) -> None:
        """Commit what there is so far as a partial snapshot, and go on under another session id; not while a plan is open.

        The entry before is complete. Whatever fails here, what was committed before is whole.
        """
        following = None if self._manifest.is_empty else self._session.successor()
        if following is not None:
            with contextlib.ExitStack() as undo:
                undo.callback(following.give_up)
                self._last.interrupt()
                so_far = self._manifest.so_far()
                self._writer.flush()
                self._commit(so_far.roots, partial=True)
                undo.pop_all()
            committed, self._session = self._session, following
            self._writer.go_on_as(following.id)
            committed.give_up()  # it has ended; the object is only in the way of prunes
            self._log.checkpoint(so_far.tail, self._tally.statistics.files, self._tally.statistics.bytes)
        self._checkpoints.begin_anew(self._writer.written.chunks)

    def _commit(self, roots: Roots, *, partial: bool) -> SignedRecord:
        """A checkpoint is not signed: signing may ask a person."""
        sign = None if partial else self._options.sign
        record = functools.partial(self._record, roots, partial)
        return commit_as_next(self._session, self._repository, self._around, record, sign)

    def _count_written(self, end: int) -> None:
        counted, written = self._tally.statistics, self._writer.written
        counted.files_deleted = self._last.files_gone
        counted.bytes_new, counted.bytes_stored = written.content_raw, written.stored
        counted.bytes_new_stored = written.content_stored
        counted.chunks_new, counted.packs = written.chunks, written.packs
        counted.duration_ns = max(end - self._started, 0)

    def _record(self, roots: Roots, partial: bool, state: ClientState) -> SnapshotRecord:
        around, end = self._around, stored_time(self._around.clock())
        self._count_written(end)
        return SnapshotRecord(
            id=self._session.id,
            time=self._started,
            end=end,
            host=around.host,
            user=around.user,
            roots=tuple(self._recorded),
            tags=self._options.tags,
            description=self._options.description,
            content_root=roots.content,
            reference_root=roots.reference,
            client=state.client,
            sequence=state.sequence,
            previous=state.previous,
            generation=self._session.generation,
            partial=partial,
            errors=self._tally.statistics.errors,
            statistics=self._tally.statistics.as_record(),
            program=around.program,
        )
