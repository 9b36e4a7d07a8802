"""Which chunk is needed by whom: the reference trees of all snapshots, walked once, with the index key alone.

    roots -> nodes, the highest first -> runs -> ids, in buckets, with who needs them

All that is above a node is read before it, so that it is known by then who needs it, and it is read once. Trees that do not
keep to that (nobody makes such ones, but somebody might forge them) only cost more: what is needed by more than was known
is looked at again, four times at most. Nodes and runs wait in a temporary database, in the order in which they are stored.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from chunkstore.errors import ChunkstoreError, Damaged, NoUsableKey
from chunkstore.format.records import SnapshotRecord
from chunkstore.format.tree_nodes import MAX_LEVEL, ReferenceNode, SegmentRef, decode_reference_node, decode_run
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.stats.owners import OwnedIds, Owners
from chunkstore.repository.chunk_reader import ChunkReader

_SCHEMA = """
CREATE TABLE seen(id BLOB PRIMARY KEY, count INTEGER NOT NULL, owner INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE todo(
    rank INTEGER NOT NULL, frame INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY(rank, frame, id)) WITHOUT ROWID;
"""
_NODE = 0
"""Stands for the number of ids where a reference chunk is a node, not a run; no run is empty."""
_AT_ONCE = 2048
_CACHE_KIB = 8 * 1024


class OwnedChunks:
    """The chunks that snapshots need; `close` it.

    `ids` has the id of every chunk: content, manifest and reference. `damaged` has what could not be read: what is below
    it is not known then, and neither is who else does not need it.
    """

    def __init__(self, reader: ChunkReader, directory: Path, owners: Owners) -> None:
        """`directory`: where temporary files may be made. The reader's index has to be in line with the repository."""
        self.ids = OwnedIds(directory, owners)
        self.damaged: dict[ChunkId, ChunkstoreError] = {}
        self._owners = owners
        self._reader = reader
        self._scratch = tempfile.TemporaryDirectory(prefix="stats-", dir=directory)
        self._db = sqlite3.connect(Path(self._scratch.name) / "seen.sqlite", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{_CACHE_KIB}"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")  # never ended: nobody else reads it, and a commit for each row would cost a write

    def mark(self, records: Iterable[tuple[int, SnapshotRecord]]) -> None:
        """Say what these need, each with its number; call it once, after the index has been synced (I-1)."""
        for owner, record in records:
            self.ids.add_for(owner, record.content_root)
            self._want(record.reference_root, _NODE, 0, owner)
        for chunk_id, count, owner in self._waiting():
            try:
                data = self._reader.read(ChunkKind.REFERENCE, chunk_id)
                if count == _NODE:
                    self._take_node(decode_reference_node(data), owner)
                else:
                    self.ids.add_for(owner, decode_run(data, count))
            except (Damaged, NoUsableKey) as e:
                self.damaged[chunk_id] = e

    def _want(self, chunk_id: ChunkId, count: int, rank: int, owner: int) -> None:
        """Read this reference chunk some time for `owner`, unless that was asked for by somebody who stands for him."""
        row = self._db.execute("SELECT count, owner FROM seen WHERE id=?", (chunk_id,)).fetchone()
        if row is not None:
            if row[0] != count:
                self.damaged.setdefault(chunk_id, Damaged("two nodes disagree on what a reference chunk is"))
                return
            before, owner = row[1], self._owners.joined(row[1], owner)
            if owner == before:
                return
        self._db.execute("INSERT OR REPLACE INTO seen VALUES(?,?,?)", (chunk_id, count, owner))
        self.ids.add_for(owner, chunk_id)
        place = self._reader.index.locate(chunk_id)
        self._db.execute("INSERT OR IGNORE INTO todo VALUES(?,?,?)", (rank, place.frame if place else -1, chunk_id))

    def _waiting(self) -> Iterator[tuple[ChunkId, int, int]]:
        """(id, count, owner) of what is to be read: by rank, then in the order of the frames."""
        while (rank := self._db.execute("SELECT min(rank) FROM todo").fetchone()[0]) is not None:
            rows = self._db.execute(
                "SELECT frame, id FROM todo WHERE rank=? ORDER BY frame, id LIMIT ?", (rank, _AT_ONCE)
            ).fetchall()
            for frame, chunk_id in rows:
                self._db.execute("DELETE FROM todo WHERE rank=? AND frame=? AND id=?", (rank, frame, chunk_id))
                count, owner = self._db.execute("SELECT count, owner FROM seen WHERE id=?", (chunk_id,)).fetchone()
                yield ChunkId(chunk_id), count, owner

    def _take_node(self, node: ReferenceNode, owner: int) -> None:
        rank = 2 + MAX_LEVEL - node.level  # of what is below; of roots, whose level is not known yet, it is 0
        for child in node.children:
            if isinstance(child, SegmentRef):
                self.ids.add_for(owner, child.segment_id)
                for run in child.runs:
                    self._want(run.run_id, run.count, rank, owner)
            else:
                self.ids.add_for(owner, child.content_id)
                self._want(child.reference_id, _NODE, rank, owner)

    def close(self) -> None:
        """Forget everything."""
        self.ids.close()
        self._db.close()
        self._scratch.cleanup()

    def __enter__(self) -> OwnedChunks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
