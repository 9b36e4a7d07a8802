"""Which files damage hits: the manifests of the snapshots that it hits, of which only the parts are read that it hits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from chunkstore.errors import Damaged, NoUsableKey
from chunkstore.format.tree_nodes import NodeRef, SegmentRef
from chunkstore.ids import ID_SIZE, ChunkId, SnapshotId
from chunkstore.operations.check.hits import Hits
from chunkstore.operations.check.scratch import Scratch
from chunkstore.repository.manifest_reader import Key, ManifestEntry, ManifestReader

NAMED: Final = 10_000
"""So many paths are given for each damaged object; the others are counted."""

_REMEMBERED: Final = 200_000
"""Subtrees and segments that were looked at already; what comes after them is looked at for each snapshot."""

Unread = Callable[[SnapshotId, str], None]
"""Is told why a part of the list of files of a snapshot can not be read."""


class HitFiles:
    """Collects the paths that each damaged object hits, each path once, whatever snapshots it is in."""

    def __init__(self, hits: Hits, scratch: Scratch, unread: Unread) -> None:
        self._hits = hits
        self._db = scratch.db
        self._db.execute("DELETE FROM files")
        self._unread = unread
        self._seen: set[ChunkId] = set()

    def collect(self, snapshot_id: SnapshotId, manifest: ManifestReader) -> None:
        """The files of one snapshot. What other snapshots share with it is looked at once."""
        self._enter(snapshot_id, manifest, manifest.root, None, None)

    def paths(self, bit: int) -> tuple[tuple[bytes, ...], int]:
        """(the first paths that an object hits, how many more there are)."""
        rows = self._db.execute("SELECT path FROM files WHERE bit=? ORDER BY path LIMIT ?", (bit, NAMED)).fetchall()
        count = self._db.execute("SELECT count(*) FROM files WHERE bit=?", (bit,)).fetchone()[0]
        return tuple(path for (path,) in rows), count - len(rows)

    def _enter(
        self, snapshot_id: SnapshotId, manifest: ManifestReader, ref: NodeRef, level: int | None, first: Key | None
    ) -> None:
        """Go through what is below a node and is hit."""
        try:
            node = manifest.node(ref, level, first)
        except (Damaged, NoUsableKey) as e:
            self._unread(snapshot_id, f"its list of files can not be read{_place(first)}: {e}")
            return
        children: tuple[NodeRef | SegmentRef, ...] = node.children
        for key, child in zip(node.keys, children, strict=True):
            if not self._is_new(child) or not self._hits.of_unit(child):
                continue
            if isinstance(child, NodeRef):
                self._enter(snapshot_id, manifest, child, node.level - 1, key)
            else:
                self._read(snapshot_id, manifest, child, key)

    def _read(self, snapshot_id: SnapshotId, manifest: ManifestReader, ref: SegmentRef, first: Key) -> None:
        try:
            for _, found in manifest.segment(ref, first):
                self._look(manifest, found)
        except (Damaged, NoUsableKey) as e:
            self._unread(snapshot_id, f"its list of files can not be read{_place(first)}: {e}")

    def _is_new(self, unit: NodeRef | SegmentRef) -> bool:
        mark = unit.reference_id if isinstance(unit, NodeRef) else unit.segment_id
        if mark in self._seen:
            return False
        if len(self._seen) < _REMEMBERED:
            self._seen.add(mark)
        return True

    def _look(self, manifest: ManifestReader, found: ManifestEntry) -> None:
        mask = 0
        try:
            for ids in manifest.ids(found):
                for at in range(0, len(ids), ID_SIZE):
                    mask |= self._hits.of_chunk(ChunkId(ids[at : at + ID_SIZE]))
        except (Damaged, NoUsableKey) as e:
            mask |= 1 << self._hits.bits.of(e.object_name if isinstance(e, Damaged) else "")
        while mask:
            bit = (mask & -mask).bit_length() - 1
            mask &= mask - 1
            self._db.execute("INSERT OR IGNORE INTO files VALUES(?,?)", (bit, found.path))


def _place(first: Key | None) -> str:
    if first is None:
        return ""
    parent, name = first
    return " from " + b"/".join((b"", *parent, name)).decode("utf-8", "backslashreplace") + " on"
