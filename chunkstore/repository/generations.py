"""Writing a generation of the index: its segments, then itself.

A segment that loses nothing is taken over by name. What run indexes and shrunk segments still hold is written anew, one
object in memory at a time. Segments carry a random value, so that no name ever comes back: whoever deletes those of
an older generation, however late, can not hit one that was made again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from chunkstore.errors import Damaged, ObjectMissing
from chunkstore.format import names
from chunkstore.format.index import (
    Generation,
    IndexSegment,
    decode_run_index,
    decode_segment,
    encode_generation,
    encode_segment,
    segment_digest,
)
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import PackInfo
from chunkstore.ids import PackId, RandomBytes
from chunkstore.repository.repository import Repository

SEGMENT_TARGET = 4 << 20
"""Bytes of ids and lengths in one segment: what a new client or a prune has in memory of it is about four times that."""
_PER_CHUNK = 36
_PER_FRAME = 20
_PER_SLOT = 113
_SALT_SIZE = 16


class SegmentWriter:
    """Collects packs and stores them in segments."""

    def __init__(self, repository: Repository, random_bytes: RandomBytes) -> None:
        self.digests: list[bytes] = []
        self.size = 0
        """Bytes that were stored."""
        self._repository = repository
        self._random_bytes = random_bytes
        self._packs: list[PackInfo] = []
        self._raw = 0

    def add(self, info: PackInfo) -> None:
        """One more pack of the index."""
        self._packs.append(info)
        chunks = sum(len(frame.ids) for frame in info.frames)
        self._raw += 128 + _PER_CHUNK * chunks + _PER_FRAME * len(info.frames) + _PER_SLOT * len(info.slots)
        if self._raw >= SEGMENT_TARGET:
            self.flush()

    def flush(self) -> None:
        """Store what is held back."""
        if not self._packs:
            return
        body = encode_segment(IndexSegment(tuple(self._packs)), self._random_bytes(_SALT_SIZE))
        digest = segment_digest(body)
        name = names.segment(digest)
        data = self._repository.seal(ObjectKind.INDEX_SEGMENT, name, body, self._random_bytes)
        self._repository.storage.put(name, data)
        self.digests.append(digest)
        self.size += len(data)
        self._packs, self._raw = [], 0


def copy_rows(repository: Repository, sources: Iterable[str], gone: Container[PackId], to: SegmentWriter) -> None:
    """Write the packs that these run indexes and segments name, but for those that are gone. `Damaged`, `ObjectMissing`."""
    for name in sources:
        for info in read_packs(repository, name):
            if info.pack_id not in gone:
                to.add(info)


def read_packs(repository: Repository, name: str) -> tuple[PackInfo, ...]:
    """The packs that a run index or a segment names. `Damaged`, `ObjectMissing`, `UnsupportedFormat`."""
    try:
        if name.startswith(names.RUNS):
            _, body = repository.read(name, ObjectKind.RUN_INDEX)
            return decode_run_index(body).packs
        _, body = repository.read(name, ObjectKind.INDEX_SEGMENT)
        return decode_segment(body, bytes.fromhex(name[len(names.SEGMENTS) :])).packs
    except Damaged as e:
        raise Damaged(e.reason, name) from e


def publish(repository: Repository, generation: Generation, random_bytes: RandomBytes) -> bool:
    """Put-if-absent; False when another pruner was first."""
    name = names.generation(generation.number)
    try:
        return repository.create(ObjectKind.GENERATION, name, encode_generation(generation), random_bytes)
    except ObjectMissing:  # it was there, and has been deleted since as too old
        return False
