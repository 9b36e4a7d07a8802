"""From a sorted stream of entries to segments, reference runs and the two trees over them.

Segment ends are decided by a keyed hash of the path of the entry they follow, so that they come back in the same places
whatever the metadata says; runs of ids and tree nodes end by the bits of what they hold, for the same reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chunkstore.format.entries import (
    MAX_SEGMENT,
    Entry,
    Row,
    encode_directory,
    encode_entry,
    encode_row,
    encode_segment,
    join,
)
from chunkstore.format.owners import Owners
from chunkstore.format.tree_nodes import (
    PathKey,
    RunRef,
    SegmentRef,
    encode_run,
)
from chunkstore.ids import ID_SIZE
from chunkstore.keys.derivation import ChunkKind
from chunkstore.repository.manifest_trees import ChunkSink, Roots, Trees

__all__ = ["ChunkSink", "ManifestWriter", "OwnerNames", "Roots", "SegmentLog"]

SEGMENT_MIN, SEGMENT_MAX = 32, 1024
"""Entries; the mean is `SEGMENT_MIN` + 128."""
_SEGMENT_MASK = 127
_SEGMENT_BYTES = MAX_SEGMENT // 2
RUN_MIN, RUN_MAX = 1024, 16384
"""Ids; the mean is `RUN_MIN` + 4096."""
_RUN_MASK = 4095
_OWN_RUN = 2048


class OwnerNames(Protocol):
    """Which names users and groups have; None for a number without one. The same for as long as a snapshot takes."""

    def user(self, uid: int) -> str | None: ...

    def group(self, gid: int) -> str | None: ...


class Nameless:
    """Knows no names."""

    def user(self, uid: int) -> str | None:
        return None

    def group(self, gid: int) -> str | None:
        return None


class SegmentLog(Protocol):
    """Is told about every finished segment, and about ids as they come; the cache of the last manifest is one."""

    def ids(self, ids: bytes) -> None: ...

    def segment(self, ref: SegmentRef, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class SoFar:
    """A manifest of the entries that there are by now: its roots, and the segment in it that is still open in the
    writer, with its bytes; None where none is.
    """

    roots: Roots
    tail: tuple[SegmentRef, bytes] | None


class ManifestWriter:
    """Takes entries in manifest order. For each: `add_ids` for the ids of its chunks, any number of times, then `add`."""

    def __init__(self, sink: ChunkSink, cut_key: bytes, log: SegmentLog, names: OwnerNames | None = None) -> None:
        self._sink = sink
        self._names: OwnerNames = names or Nameless()
        self._users: set[int] = set()
        self._groups: set[int] = set()
        self._cut_key = cut_key
        self._log = log
        self._pieces: list[bytes] = []
        self._size = 0
        self._entries = 0
        self._parent = b""
        self._first: PathKey = (b"", b"")
        self._runs: list[RunRef] = []
        self._run = bytearray()
        self._file_start = 0
        self._trees = Trees(sink)
        self._empty = True

    @property
    def is_empty(self) -> bool:
        """Whether no entry was added yet."""
        return self._empty

    @property
    def at_boundary(self) -> bool:
        """Whether the last segment is complete and none has begun."""
        return not self._entries and not self._run and not self._runs

    # -- ids

    def add_ids(self, ids: bytes) -> None:
        """Joined ids of chunks of the entry that is added next."""
        self._log.ids(ids)
        self._take_ids(ids)

    def _take_ids(self, ids: bytes) -> None:
        run = self._run
        if len(ids) == ID_SIZE and len(run) < (RUN_MIN - 1) * ID_SIZE:  # nothing to decide for most files
            run += ids
            return
        for at in range(0, len(ids), ID_SIZE):
            run += ids[at : at + ID_SIZE]
            length = len(run) // ID_SIZE
            own = length - self._file_start
            if self._file_start and own >= _OWN_RUN:
                self._end_run(self._file_start)  # a huge file's ids do not share a run with its neighbours'
            elif (length >= RUN_MIN and (run[-1] | (run[-2] & 15) << 8) & _RUN_MASK == 0) or length >= RUN_MAX:
                self._end_run(length)

    def _end_run(self, count: int) -> None:
        if not count:
            return
        self._runs += self._store_run(count)
        del self._run[: count * ID_SIZE]
        self._file_start = 0

    def _store_run(self, count: int) -> list[RunRef]:
        """The first `count` ids that are waiting, as a run, if there are any."""
        if not count:
            return []
        part = bytes(self._run[: count * ID_SIZE])
        return [RunRef(self._sink.add(ChunkKind.REFERENCE, encode_run([part])), count)]

    # -- entries

    def add(self, parent: bytes, entry: Entry) -> None:
        """The next entry, in the directory `parent`; decides whether the segment ends after it."""
        self._add(parent, entry, encode_entry(entry))
        self._end_where_due(parent, entry[0])

    def add_rows(self, rows: Sequence[tuple[bytes, Row, int]], ids: bytes, *, ends: bool) -> None:
        """`add_ids` and `add` for entries of the last manifest as they were: (parent, fields, anything); `ids` are those of
        all of them, joined. Without `ends` it is known that the segment does not end after any of them.
        """
        self._log.ids(ids)
        at = 0
        for parent, row, _ in rows:
            if row[9]:
                start, at = at, at + row[9] * ID_SIZE
                self._take_ids(ids[start:at])
            self._add(parent, row, encode_row(row))
            if ends:
                self._end_where_due(parent, row[0])

    @property
    def open_entries(self) -> int:
        """How many the segment has that is open."""
        return self._entries

    def copy_rows(self, rows: Sequence[tuple[bytes, Row, int]], ids: bytes, encoded: bytes) -> bool:
        """As `add_rows` where the segment ends after none of them; `encoded` is what there was of them, with the directories
        that come between. It must follow on what was added last. False, and nothing is added, where a limit is near.
        """
        entries, size = self._entries + len(rows), self._size + len(encoded)
        if not self._entries or entries >= SEGMENT_MAX or size >= _SEGMENT_BYTES:
            return False
        if len(self._run) + len(ids) >= (RUN_MIN - 1) * ID_SIZE:
            return False
        self._log.ids(ids)
        self._run += ids
        self._file_start = len(self._run) // ID_SIZE
        self._pieces.append(encoded)
        self._size, self._entries, self._parent = size, entries, rows[-1][0]
        self._users.update([row[3] for _, row, _ in rows])
        self._groups.update([row[4] for _, row, _ in rows])
        return True

    def _add(self, parent: bytes, entry: Entry | Row, encoded: bytes) -> None:
        if not self._entries:
            self._empty = False
            self._first = (parent, entry[0])
            self._parent = b""
        if parent != self._parent:
            self._append(encode_directory(parent))
            self._parent = parent
        self._pieces.append(encoded)
        self._size += len(encoded)
        self._users.add(entry[3])
        self._groups.add(entry[4])
        self._entries += 1
        if entry[9] > _OWN_RUN:
            self._end_run(len(self._run) // ID_SIZE)
        self._file_start = len(self._run) // ID_SIZE

    def _end_where_due(self, parent: bytes, name: bytes) -> None:
        if self._entries < SEGMENT_MIN:
            cut = False
        else:
            digest = hashlib.blake2b(join(parent, name), key=self._cut_key, digest_size=2).digest()
            cut = (digest[0] << 8 | digest[1]) & _SEGMENT_MASK == 0
        if cut or self._entries >= SEGMENT_MAX or self._size >= _SEGMENT_BYTES:
            self.end_segment()

    def _append(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)

    def end_segment(self) -> None:
        """Store what has been added since the last segment."""
        if not self._entries:
            return
        self._end_run(len(self._run) // ID_SIZE)
        ref, data = self._store_segment(self._runs)
        self._log.segment(ref, data)
        first = self._first
        self._pieces, self._size, self._entries, self._runs = [], 0, 0, []
        self._users, self._groups = set(), set()
        self._trees.add(first, ref)

    def _store_segment(self, runs: Sequence[RunRef]) -> tuple[SegmentRef, bytes]:
        data = encode_segment(self._pieces, self._owners())
        return SegmentRef(self._sink.add(ChunkKind.MANIFEST, data), len(data), tuple(runs)), data

    def _owners(self) -> Owners:
        users = ((uid, self._names.user(uid)) for uid in self._users)
        groups = ((gid, self._names.group(gid)) for gid in self._groups)
        return Owners({uid: name for uid, name in users if name}, {gid: name for gid, name in groups if name})

    def names_are_those_of(self, owners: Owners) -> bool:
        """Whether a segment with these names of owners would get the same today."""
        return all(self._names.user(uid) == name for uid, name in owners.users.items()) and all(
            self._names.group(gid) == name for gid, name in owners.groups.items()
        )

    def reuse_segment(self, first: PathKey, ref: SegmentRef, data: bytes) -> None:
        """A whole segment of the last manifest, unchanged; only at a boundary. Its ids went through the log already."""
        self._empty = False
        self._log.segment(ref, data)
        self._trees.add(first, ref)

    # -- ends

    def so_far(self) -> SoFar:
        """Store what makes a manifest of the entries so far, of which there must be one; the writer goes on as if
        nothing had been.
        """
        trees, tail = self._trees.copy(), None
        if self._entries:
            tail = self._store_segment([*self._runs, *self._store_run(len(self._run) // ID_SIZE)])
            trees.add(self._first, tail[0])
        return SoFar(trees.finish(), tail)

    def finish(self) -> Roots:
        """End everything that is open; the roots of a manifest with at least one entry."""
        self.end_segment()
        return self._trees.finish()
