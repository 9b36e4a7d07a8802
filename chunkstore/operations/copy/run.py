"""One snapshot is copied, under one session id of the destination: as any writer does it (design, section 5)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chunkstore.chunking import Chunker, make_chunker, parse_chunker
from chunkstore.errors import Damaged, Fenced, Interrupted, InvalidArgument, NoUsableKey
from chunkstore.format.client_state import ClientState
from chunkstore.format.entries import Entry
from chunkstore.format.owners import Owners
from chunkstore.format.records import SignedRecord, SnapshotRecord
from chunkstore.format.tree_nodes import SegmentRef
from chunkstore.ids import ID_SIZE
from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.commit import commit_as_next
from chunkstore.operations.copy.content import ContentCopier
from chunkstore.operations.copy.map import CopyMap
from chunkstore.operations.copy.values import CopyOptions, CopyOutcome, Fate, origin
from chunkstore.operations.reading import Reading
from chunkstore.progress import Progress
from chunkstore.repository.chunk_writer import ChunkWriter
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.manifest_writer import ManifestWriter, Roots
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.repository.session import WriteSession

_CHECK_BYTES = 64 << 10
"""Copied between two looks at the clock and at who wants the run to stop."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where copies go, how, and what is known of earlier ones."""

    repository: Repository
    known: CopyMap
    options: CopyOptions
    around: Surroundings
    progress: Progress


class CopyRun:
    """One attempt, under one session id."""

    def __init__(self, destination: Destination, index: LocalIndex, read: Reading, snapshot: Snapshot) -> None:
        self._to = destination
        self._read = read
        self._snapshot = snapshot
        self._session = WriteSession(destination.repository, index, destination.around, destination.progress)
        self._index = index
        self._unchecked = 0

    def run(self) -> tuple[CopyOutcome, SignedRecord | None]:
        """Copy and commit; what became of it, and the record. Where the source is damaged nothing is committed."""
        to, before = self._to, self._read.reader.fetched
        parameters = parse_chunker(to.repository.config.chunker)
        with contextlib.ExitStack() as stack:
            stack.callback(self._session.give_up)  # after the commit, it has ended
            writer = stack.enter_context(
                ChunkWriter(
                    to.repository, self._index, self._session.id, to.around.random_bytes,
                    parameters.max_size, to.options.write,
                )
            )  # fmt: skip
            try:
                roots = self._copy_everything(writer, make_chunker(parameters, to.repository.key.chunker_seed))
            except Damaged as e:
                return CopyOutcome(self._snapshot, Fate.DAMAGED, None, problem=str(e)), None
            signed = commit_as_next(
                self._session, to.repository, to.around, lambda state: self._record(roots, state), to.options.sign
            )
        read = self._read.reader.fetched - before
        return CopyOutcome(self._snapshot, Fate.COPIED, signed.record.id, read, writer.written.stored), signed

    def _copy_everything(self, writer: ChunkWriter, chunker: Chunker) -> Roots:
        try:
            with _damage():
                roots = self._copy_entries(writer, chunker)
        except (Interrupted, Fenced, Damaged):
            writer.flush()  # publish what was stored, so that it is found by the next copy
            raise
        writer.flush()
        return roots

    def _copy_entries(self, writer: ChunkWriter, chunker: Chunker) -> Roots:
        to, there = self._to, self._read.manifest(self._snapshot.record)
        names = NamesThere()
        manifest = ManifestWriter(writer, to.repository.key.segment_cut_key, _NoLog(), names)
        copier = ContentCopier(self._read.reader, there, writer, chunker, to.known, to.around.workers, self._tick)
        self._check()
        for found, pieces in copier.copied():
            entry = found.entry
            names.take(entry, found.owners, manifest)
            to.progress.current(found.path)
            chunks = 0
            for ids in pieces:
                manifest.add_ids(ids)
                chunks += len(ids) // ID_SIZE
            manifest.add(found.parent, entry._replace(chunks=chunks))
            to.progress.advance(1, 0)
        return manifest.finish()

    # -- keeping watch

    def _tick(self, size: int) -> None:
        self._to.progress.advance(0, size)
        self._unchecked += max(size, 1)
        if self._unchecked >= _CHECK_BYTES:
            self._check()

    def _check(self) -> None:
        self._unchecked = 0
        self._session.beat()
        if self._to.around.stop():
            raise Interrupted("interrupted; the same command goes on where this one ended")

    # -- the record

    def _record(self, roots: Roots, state: ClientState) -> SnapshotRecord:
        """What it says of the source stays; what it says of its writer is about this client."""
        snapshot = self._snapshot
        return replace(
            snapshot.record,
            id=self._session.id,
            tags=snapshot.tags,
            description=snapshot.description,
            content_root=roots.content,
            reference_root=roots.reference,
            client=state.client,
            sequence=state.sequence,
            previous=state.previous,
            generation=self._session.generation,
            program=self._to.around.program,
            original=origin(self._read.reader.repository.key.repository_id, snapshot.record),
        )


class NamesThere:
    """The names of owners as the source has them."""

    def __init__(self) -> None:
        self._users: dict[int, str | None] = {}
        self._groups: dict[int, str | None] = {}

    def user(self, uid: int) -> str | None:
        return self._users.get(uid)

    def group(self, gid: int) -> str | None:
        return self._groups.get(gid)

    def take(self, entry: Entry, owners: Owners, manifest: ManifestWriter) -> None:
        """The entry is added next. Where a number has another name than before, the segment ends."""
        user, group = owners.users.get(entry.uid), owners.groups.get(entry.gid)
        if self._users.get(entry.uid, user) != user or self._groups.get(entry.gid, group) != group:
            manifest.end_segment()
        if manifest.at_boundary:
            self._users, self._groups = {}, {}
        self._users[entry.uid], self._groups[entry.gid] = user, group


class _NoLog:
    """The file cache is of what this machine's own walks find, not of copies."""

    def ids(self, ids: bytes) -> None:
        pass

    def segment(self, ref: SegmentRef, data: bytes) -> None:
        pass


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """What only damage, or somebody who forged the source, can be to blame for."""
    try:
        yield
    except (NoUsableKey, InvalidArgument) as e:
        raise Damaged(str(e)) from e
