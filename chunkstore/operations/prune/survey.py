"""What a prune has to know, taken in the order that makes it safe: packs, then snapshots, then the index.

A listing that can not be believed, a record that can not be read, or a chunk that is needed and nowhere, stops a prune: the
message says what to do. What is read later than a listing may be newer than it, never older.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from chunkstore.errors import Damaged, ObjectMissing, PruneRefused, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import SnapshotRecord, decode_record
from chunkstore.ids import SnapshotId, is_snapshot_id
from chunkstore.operations.live import LiveChunks
from chunkstore.operations.pack_listing import PackListing
from chunkstore.operations.prune.generation import Overtaken, newest_number
from chunkstore.operations.usage import Usage, measure
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_scan import IndexScan
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.repository import Repository
from chunkstore.storage import ObjectInfo

_HEX = "0123456789abcdef"
_MAX_UNLISTED = 2000
"""More packs than this do not come between a listing and the reading of the index."""


class Survey:
    """Looks at a repository, as often as it is asked to; what was found to be live once stays so. `close` it."""

    def __init__(self, repository: Repository, index: LocalIndex, directory: Path, progress: Progress) -> None:
        """`directory`: for temporary files."""
        self.repository = repository
        self.index = index
        self.directory = directory
        self.progress = progress
        self.known: set[SnapshotId] = set()
        """The snapshots whose chunks are marked."""
        self.unindexed = 0
        self._synced = 0
        reader = ChunkReader(repository, index, LedgerKeys(repository.key), progress)
        self._reader = reader
        self._live = LiveChunks(reader, directory)
        self._packs: PackListing | None = None

    def look(self) -> None:
        """List packs, read records, sync the index, mark what the records need. Raises `PruneRefused` and `Overtaken`."""
        self._forget_packs()
        self._packs = PackListing(self.repository.storage, self.directory, self.progress)
        fresh = [record for record in self._records() if record.id not in self.known]
        if not sync_strictly(self.repository, self.index):
            raise PruneRefused(
                "the newest generation of the index can not be read. Nothing is deleted. "
                "`chunkstore repair index` makes a new one from the packs"
            )
        self._synced = self.index.generation
        self._live.mark(fresh)
        self.known.update(record.id for record in fresh)
        if not self.known:
            raise PruneRefused(
                "there is no snapshot, so everything would be deleted. Is this the place that is meant? "
                "Nothing is done; a repository that nobody needs any more can be deleted as a whole"
            )
        if self._live.damaged and self._has_moved_on():
            raise Overtaken
        for error in self._live.damaged.values():
            raise PruneRefused(
                f"what snapshots need can not be told, since a part of them can not be read: {error}. Nothing is deleted. "
                "`chunkstore check` says which snapshots are hit; forget these, or bring the object back from a copy"
            )

    @property
    def packs(self) -> PackListing:
        """The packs that the last look listed."""
        assert self._packs is not None
        return self._packs

    @property
    def scan(self) -> IndexScan:
        return IndexScan(self.index)

    def usage(self) -> Usage:
        """What is in use, as of the last look. Raises `PruneRefused` when something that is needed is not there."""
        self.index.hold_still()
        there, _ = self.packs.compared(self.scan)
        self._look_for_unlisted(there)
        usage = measure(self._live.ids, self.scan, there, self.directory)
        if usage.missing and self._has_moved_on():
            raise Overtaken
        if usage.missing:
            raise PruneRefused(
                f"{usage.missing_count} chunks that snapshots need are in no index, or in packs that are gone (the first: "
                f"{usage.missing[0].hex()[:16]}). Nothing is deleted. `chunkstore check` says which snapshots are hit. Bring the "
                "packs back from a copy, run `chunkstore repair index`, make new snapshots, which store again what is still "
                "there, or forget those that are hit"
            )
        return usage

    def _has_moved_on(self) -> bool:
        """Whether others have put things elsewhere since the last look, or forgotten a snapshot that was found then."""
        if newest_number(self.repository) != self._synced:
            return True
        return not self.known <= {record.id for record in self._records()}

    def live_bucket(self, number: int) -> set[bytes]:
        """The ids of the chunks in use that begin with this byte."""
        return self._live.ids.bucket(number)

    def _look_for_unlisted(self, there: bytearray) -> None:
        """Packs of the index that were not listed: stored since then, or gone, or the listing is not to be believed."""
        unlisted = found = 0
        for pack in self.scan.packs():
            if there[pack.no]:
                continue
            unlisted += 1
            with contextlib.suppress(ObjectMissing):
                self.repository.storage.stat(names.pack(pack.pack_id))
                there[pack.no] = 1
                found += 1
            if unlisted >= _MAX_UNLISTED and found:
                raise PruneRefused(
                    f"the storage did not list {unlisted} packs, {found} of which are there: its listings can not be "
                    "believed. Nothing is deleted"
                )

    # -- records

    def _records(self) -> Iterator[SnapshotRecord]:
        """All records; what can not be read stops everything, since nobody knows what it needs."""
        for info in self._listed():
            text = info.name[len(names.SNAPSHOTS) :]
            if not is_snapshot_id(text):
                self.progress.warn(f"left out, not a snapshot: {info.name}")
                continue
            try:
                kind, body = self.repository.read_listed(info, ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE)
                if kind == ObjectKind.SNAPSHOT:
                    yield decode_record(body, SnapshotId(text)).record
            except ObjectMissing:
                continue  # forgotten since it was listed
            except (Damaged, UnsupportedFormat) as e:
                raise PruneRefused(
                    f"nobody can tell what this snapshot needs: {e}. Nothing is deleted. Bring the object back from a copy, "
                    f"or give it up with `chunkstore repair exclude {info.name}`"
                ) from e

    def _listed(self) -> Iterable[ObjectInfo]:
        """All that is listed below `snapshots/`, by one listing or by a second one in other pieces.

        What was here before, or is in the one and not in the other, must be gone; else listings are not to be believed.
        """
        storage, records = self.repository.storage, self.repository.records
        seen = {*(records.names(names.SNAPSHOTS) if records else ()), *map(names.snapshot, self.known)}
        first = {info.name: info for info in storage.list(names.SNAPSHOTS)}
        second = {info.name: info for digit in _HEX for info in storage.list(names.SNAPSHOTS + digit)}
        foreign = {name for name in first if not is_snapshot_id(name[len(names.SNAPSHOTS) :])}
        for name in {*first, *seen} - foreign - (first.keys() & second.keys()):
            with contextlib.suppress(ObjectMissing):
                storage.stat(name)
                raise PruneRefused(
                    f"the storage did not list {name}, which is there: its listings can not be believed. Nothing is deleted"
                )
        every = {**second, **first}
        if records:
            records.keep_only(names.SNAPSHOTS, every)
        return every.values()

    # -- ending

    def _forget_packs(self) -> None:
        if self._packs is not None:
            self._packs.close()
            self._packs = None

    def close(self) -> None:
        """Remove the temporary files."""
        self._forget_packs()
        self._live.close()


class _Strict:
    """Progress for syncing an index from which deletions follow: what is left out elsewhere stops here."""

    def total(self, files: int, size: int) -> None:
        pass

    def advance(self, files: int, size: int) -> None:
        pass

    def current(self, path: bytes) -> None:
        pass

    def stored(self, path: bytes, size: int, new: bool) -> None:
        pass

    def warn(self, message: str) -> None:
        raise PruneRefused(
            f"{message}. Nothing is deleted. Bring the object back from a copy, or run `chunkstore repair index`, which reads "
            "the packs again and makes a new index without it"
        )


def sync_strictly(repository: Repository, index: LocalIndex) -> bool:
    """As `sync_index`; an index object that can not be read raises `PruneRefused`."""
    return sync_index(repository, index, _Strict())
