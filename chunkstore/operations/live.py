"""What snapshots need: every chunk that their records reach, by the reference trees alone, so with the index key alone.

    records -> reference nodes, each read once however many snapshots share it -> runs, each read once -> ids, in buckets

Nodes and runs wait in a temporary database and are read in the order in which they are stored, so that each frame is
fetched and opened about once. Memory does not grow with the number of chunks or of snapshots.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from chunkstore.errors import ChunkstoreError, Damaged, NoUsableKey
from chunkstore.format.records import SnapshotRecord
from chunkstore.format.tree_nodes import SegmentRef, decode_reference_node, decode_run
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.id_buckets import IdBuckets

_SCHEMA = """
CREATE TABLE seen(id BLOB PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE todo(frame INTEGER NOT NULL, id BLOB NOT NULL, count INTEGER NOT NULL, PRIMARY KEY(frame, id)) WITHOUT ROWID;
"""
_NODE = 0
"""Stands for the number of ids where a reference chunk is a node, not a run; no run is empty."""
_AT_ONCE = 2048
_CACHE_KIB = 8 * 1024


class LiveChunks:
    """The chunks that records need; `mark` may be called again with more records. `close` it.

    `ids` has the id of every chunk of theirs: content, manifest and reference. `damaged` has what could not be read, and
    what is below it is not known then: whoever deletes must not go on.
    """

    def __init__(self, reader: ChunkReader, directory: Path) -> None:
        """`directory`: where temporary files may be made. The reader's index has to be in line with the repository."""
        self.ids = IdBuckets(directory)
        self.damaged: dict[ChunkId, ChunkstoreError] = {}
        self._reader = reader
        self._scratch = tempfile.TemporaryDirectory(prefix="live-", dir=directory)
        self._db = sqlite3.connect(Path(self._scratch.name) / "seen.sqlite", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{_CACHE_KIB}"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")  # never ended: nobody else reads it, and a commit for each row would cost a write

    def mark(self, records: Iterable[SnapshotRecord]) -> None:
        """Add what these records need; call it after the records have been read and the index has been synced (I-1)."""
        for record in records:
            self.ids.add(record.content_root)
            self._want(record.reference_root, _NODE)
        for chunk_id, count in self._waiting():
            try:
                data = self._reader.read(ChunkKind.REFERENCE, chunk_id)
                self._take_node(data) if count == _NODE else self.ids.add(decode_run(data, count))
            except (Damaged, NoUsableKey) as e:
                self.damaged[chunk_id] = e

    def _want(self, chunk_id: ChunkId, count: int) -> None:
        """Read this reference chunk some time, unless that was asked for before."""
        row = self._db.execute("SELECT count FROM seen WHERE id=?", (chunk_id,)).fetchone()
        if row is not None:
            if row[0] != count:
                self.damaged.setdefault(chunk_id, Damaged("two nodes disagree on what a reference chunk is"))
            return
        self._db.execute("INSERT INTO seen VALUES(?,?)", (chunk_id, count))
        self.ids.add(chunk_id)
        place = self._reader.index.locate(chunk_id)
        self._db.execute("INSERT INTO todo VALUES(?,?,?)", (place.frame if place else -1, chunk_id, count))

    def _waiting(self) -> Iterator[tuple[ChunkId, int]]:
        """What is to be read, in the order of the frames, and round again for what came meanwhile."""
        last = (-1, b"")
        while True:
            rows = self._db.execute(
                "SELECT frame, id, count FROM todo WHERE (frame, id) > (?,?) ORDER BY frame, id LIMIT ?",
                (*last, _AT_ONCE),
            ).fetchall()
            if not rows:
                if last == (-1, b""):
                    return
                last = (-1, b"")
                continue
            for frame, chunk_id, count in rows:
                self._db.execute("DELETE FROM todo WHERE frame=? AND id=?", (frame, chunk_id))
                yield ChunkId(chunk_id), count
            last = rows[-1][:2]

    def _take_node(self, data: bytes) -> None:
        for child in decode_reference_node(data).children:
            if isinstance(child, SegmentRef):
                self.ids.add(child.segment_id)
                for run in child.runs:
                    self._want(run.run_id, run.count)
            else:
                self.ids.add(child.content_id)
                self._want(child.reference_id, _NODE)

    def close(self) -> None:
        """Forget everything."""
        self.ids.close()
        self._db.close()
        self._scratch.cleanup()

    def __enter__(self) -> LiveChunks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
