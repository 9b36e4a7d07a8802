"""Frames of which little is still referenced: a writer had better not rely on them, so that they can go one day.

They are whole, and whoever relies on one is right: this is about space alone. The newest generation names them.
"""

from __future__ import annotations

from collections.abc import Iterable

from chunkstore.format.index import SparseFrames
from chunkstore.ids import ChunkId
from chunkstore.repository.local_index import LocalIndex

_SOLID = (
    "SELECT 1 FROM chunks c JOIN frames f ON f.no=c.frame JOIN packs p ON p.no=f.pack WHERE c.id=? AND p.id NOT IN (SELECT id FROM condemned) "
    "AND f.no NOT IN (SELECT frame FROM sparse) LIMIT 1"
)


def mark_sparse(index: LocalIndex, sparse: Iterable[SparseFrames]) -> None:
    """From now on these frames are the sparse ones; in a transaction of `index.change`. Frames that are not here are left
    out. Goes through all frames once when there is any.
    """
    db = index.file.db
    db.execute("DELETE FROM sparse")
    db.execute(
        "CREATE TEMP TABLE IF NOT EXISTS sparse_at("
        "pack INTEGER NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY(pack, offset)) WITHOUT ROWID"
    )
    places = ((at, each.pack_id) for each in sparse for at in each.offsets)
    db.executemany("INSERT OR IGNORE INTO sparse_at SELECT no, ? FROM packs WHERE id=?", places)
    if db.execute(
        "SELECT 1 FROM sparse_at LIMIT 1"
    ).fetchone():  # frames are the outer loop: they have no index by pack
        db.execute(
            "INSERT INTO sparse SELECT f.no FROM frames f CROSS JOIN sparse_at s ON s.pack=f.pack AND s.offset=f.offset"
        )
        db.execute("DELETE FROM sparse_at")


class Renewal:
    """Which known chunks a run stores again because only sparse frames have them, within a budget."""

    def __init__(self, index: LocalIndex, percent: int, floor: int) -> None:
        """At most so many percent of the bytes that were seen, or `floor` bytes where that is more."""
        self._file = index.file
        self._percent = percent
        self._floor = floor
        self._seen = 0
        self.renewed = 0
        """Bytes of chunks that are stored again."""
        with self._file.guarded():
            found = self._file.db.execute("SELECT 1 FROM sparse LIMIT 1").fetchone()
        self.active = found is not None and (percent > 0 or floor > 0)

    def wants(self, chunk_id: ChunkId, size: int, new: int) -> bool:
        """Whether a known chunk that this run has not written is to be stored again; it counts as that then.

        `new`: bytes of chunks that this run has stored, those included that it stored again.
        """
        self._seen += size
        read = self._seen + new - self.renewed
        if self.renewed + size > max(self._floor, read * self._percent // 100):
            return False
        with self._file.guarded():
            if self._file.db.execute(_SOLID, (chunk_id,)).fetchone():
                return False
        self.renewed += size
        return True
