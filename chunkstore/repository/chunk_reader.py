"""Reading chunks back: from an id to checked plaintext."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from chunkstore.chunking import parse_chunker
from chunkstore.compression import DEFAULT_LEVEL
from chunkstore.errors import Damaged, NoUsableKey, ObjectMissing
from chunkstore.format import names
from chunkstore.format.entries import MAX_SEGMENT
from chunkstore.format.pack import Slot, SlotType
from chunkstore.ids import ChunkId, PackId
from chunkstore.keys.derivation import LEDGER_KEY_ID_SIZE, SALT_SIZE, ChunkKind, IndexKey
from chunkstore.keys.sealing import FrameKey, SealedDataKey
from chunkstore.progress import Progress, Silent
from chunkstore.repository.frames import FrameCoder
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import ChunkAt, FrameAt, LocalIndex
from chunkstore.repository.repository import Repository

RANGE_STEP = 64 << 10
"""Ranges of packs are widened to multiples of this, so that a storage does not learn where frames begin and end."""
RESYNCS = 5
"""How often the index is synced again for what is not there: so many prunes may go on during one read."""
PACK_MISSING = "the pack is missing"
_CACHED_FRAMES = 16

Spot = tuple[PackId, int]
"""The pack of a frame and the frame's offset in it: the same in every index, unlike numbers of frames."""


class FrameKeys(Protocol):
    """From a key slot to the key of its frames. What can open which plane is a matter of type (I-7)."""

    def frame_key(self, slot: Slot) -> FrameKey: ...


class LedgerKeys:
    """Opens reference frames, with the index key alone."""

    def __init__(self, key: IndexKey) -> None:
        self._key = key

    def frame_key(self, slot: Slot) -> FrameKey:
        if slot.type != SlotType.LEDGER:
            raise NoUsableKey("the content plane opens with the GPG private key only")
        generation = self._key.generation(slot.opener[:LEDGER_KEY_ID_SIZE])
        key, key_id = generation.reference_frame_key(slot.sealed[:SALT_SIZE])
        if key_id != slot.key_id:
            raise Damaged("key slot is not authentic")
        return FrameKey(key_id, key)


class OpensDataKeys(Protocol):
    """An `Opener`. Not named here, so that who reads the ledger plane alone does not reach it (I-7)."""

    def open(self, data_key: SealedDataKey) -> FrameKey: ...


class AllKeys:
    """Opens both planes; needs an `Opener`, which only gpg can make."""

    def __init__(self, key: IndexKey, opener: OpensDataKeys) -> None:
        self._ledger = LedgerKeys(key)
        self._opener = opener

    def frame_key(self, slot: Slot) -> FrameKey:
        if slot.type == SlotType.LEDGER:
            return self._ledger.frame_key(slot)
        return self._opener.open(SealedDataKey(slot.opener, slot.key_id, slot.sealed))


def widened(offset: int, length: int, pack_size: int) -> tuple[int, int]:
    """(offset, length) of the range to ask for so that it holds the given one."""
    start = offset - offset % RANGE_STEP
    end = min(-(-(offset + length) // RANGE_STEP) * RANGE_STEP, pack_size)
    return start, max(end, offset + length) - start


def spot(frame: FrameAt) -> Spot:
    return frame.pack_id, frame.offset


def in_no_index(kind: ChunkKind, chunk_id: ChunkId) -> Damaged:
    """The error for a chunk that the newest index does not name."""
    return Damaged(f"{kind.name.lower()} chunk {chunk_id.hex()[:16]} is in no index")


class ChunkReader:
    """Fetches single chunks, keeping the last few frames: for manifests and small reads.

    A chunk that is not where the index says is looked for in its other places, then where the newest index says, for a
    prune may have moved it (I-1).
    """

    def __init__(
        self, repository: Repository, index: LocalIndex, keys: FrameKeys, progress: Progress | None = None
    ) -> None:
        key = repository.key
        self.repository = repository
        self.index = index
        self.keys = keys
        largest = max(repository.config.frame_size, parse_chunker(repository.config.chunker).max_size, MAX_SEGMENT)
        self.coder = FrameCoder(key.repository_id, key.chunk_id_keys, largest, DEFAULT_LEVEL, _no_random)
        self.fetched = 0
        """Bytes of packs that were got from the storage."""
        self._progress = progress or Silent()
        self._frames: OrderedDict[Spot, bytes] = OrderedDict()
        self._in_vain = 0

    def read(self, kind: ChunkKind, chunk_id: ChunkId) -> bytes:
        """The chunk, checked against its id. `Damaged` when it is nowhere, or nowhere what it must be."""
        failed: dict[Spot, Damaged | NoUsableKey] = {}
        for attempt in range(RESYNCS + 1):
            if attempt:
                self.resync()
            before = len(failed)
            for place in self.index.places(chunk_id):
                frame = self.index.frame(place.frame)
                if frame is None or spot(frame) in failed:
                    continue
                try:
                    return self._read_at(frame, place, kind, chunk_id)
                except (Damaged, NoUsableKey) as e:
                    failed[spot(frame)] = e
            if attempt and len(failed) == before:  # the newest index names no other place
                break
        raise next(reversed(failed.values()), None) or in_no_index(kind, chunk_id)

    def length(self, chunk_id: ChunkId) -> int:
        """Length of a content chunk in bytes, as the index has it. `Damaged` when the newest one does not name it."""
        place = self.index.locate(chunk_id)
        if place is None and self._in_vain < RESYNCS:  # where much is lost, not one listing for each chunk
            self.resync()
            place = self.index.locate(chunk_id)
            self._in_vain = 0 if place else self._in_vain + 1
        if place is None:
            raise in_no_index(ChunkKind.CONTENT, chunk_id)
        return place.length

    def resync(self) -> None:
        """Bring the index in line with the repository again; what it said before may not hold any more."""
        sync_index(self.repository, self.index, self._progress)

    def _read_at(self, frame: FrameAt, place: ChunkAt, kind: ChunkKind, chunk_id: ChunkId) -> bytes:
        raw = self._frames.get(spot(frame))
        if raw is None:
            raw = self._frames[spot(frame)] = self._fetch(frame)
            if len(self._frames) > _CACHED_FRAMES:
                self._frames.popitem(last=False)
        else:
            self._frames.move_to_end(spot(frame))
        chunk = raw[place.offset : place.offset + place.length]
        try:
            self.coder.check_chunk(memoryview(chunk), kind, chunk_id)
        except Damaged as e:
            raise Damaged(e.reason, names.pack(frame.pack_id)) from e
        return chunk

    def _fetch(self, frame: FrameAt) -> bytes:
        stored, size = self._got(frame)
        raw, again = self.opened(frame, stored)
        self.fetched += size + again
        return bytes(raw)

    def _got(self, frame: FrameAt) -> tuple[memoryview, int]:
        """A frame as it is stored, and how many bytes were got for it."""
        name = names.pack(frame.pack_id)
        offset, length = widened(frame.offset, frame.stored, frame.pack_size)
        try:
            data = self.repository.storage.get(name, offset, length)
        except ObjectMissing as e:
            raise Damaged(PACK_MISSING, name) from e
        return memoryview(data)[frame.offset - offset :][: frame.stored], len(data)

    def opened(self, frame: FrameAt, stored: memoryview) -> tuple[memoryview, int]:
        """The raw bytes of a frame, valid as long as they are held, and how many bytes were got besides; any thread may
        call it. Errors name the pack.

        A frame that is damaged is got once more, by itself: parts of objects come without a checksum, so that what was
        damaged on its way shows only here.
        """
        try:
            return self._decode(frame, stored), 0
        except Damaged:
            again, size = self._got(frame)
            if again == stored:
                raise
        return self._decode(frame, again), size

    def _decode(self, frame: FrameAt, stored: memoryview) -> memoryview:
        name = names.pack(frame.pack_id)
        if len(stored) != frame.stored:
            raise Damaged("the pack is cut off", name)
        try:
            return self.coder.decode(stored, self.keys.frame_key(frame.slot), frame.kind, frame.raw, keep=True)
        except Damaged as e:
            raise Damaged(e.reason, name) from e


def _no_random(size: int) -> bytes:
    raise AssertionError("reading needs no random bytes")
