"""Reading chunks back: from an id to checked plaintext."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from chunkstore.compression import DEFAULT_LEVEL
from chunkstore.errors import Damaged, NoUsableKey, ObjectMissing
from chunkstore.format import names
from chunkstore.format.pack import MAX_FRAME, Slot, SlotType
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import LEDGER_KEY_ID_SIZE, SALT_SIZE, ChunkKind, IndexKey
from chunkstore.keys.opening import Opener
from chunkstore.keys.sealing import FrameKey, SealedDataKey
from chunkstore.repository.frames import FrameCoder
from chunkstore.repository.local_index import FrameAt, LocalIndex
from chunkstore.repository.repository import Repository

RANGE_STEP = 64 << 10
"""Ranges of packs are widened to multiples of this, so that a storage does not learn where frames begin and end."""
_CACHED_FRAMES = 16


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


class AllKeys:
    """Opens both planes; needs an `Opener`, which only gpg can make."""

    def __init__(self, key: IndexKey, opener: Opener) -> None:
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


class ChunkReader:
    """Fetches single chunks, keeping the last few frames: for manifests and small reads."""

    def __init__(self, repository: Repository, index: LocalIndex, keys: FrameKeys) -> None:
        key = repository.key
        self.repository = repository
        self.index = index
        self.keys = keys
        self.coder = FrameCoder(key.repository_id, key.chunk_id_keys, MAX_FRAME, DEFAULT_LEVEL, _no_random)
        self._frames: OrderedDict[int, bytes] = OrderedDict()

    def read(self, kind: ChunkKind, chunk_id: ChunkId) -> bytes:
        """The chunk, checked against its id. `Damaged` when it is not there or not what it must be."""
        place = self.index.locate(chunk_id)
        if place is None:
            raise Damaged(f"{kind.name.lower()} chunk {chunk_id.hex()[:16]} is in no index")
        raw = self._frames.get(place.frame)
        if raw is None:
            raw = self._fetch(self.index.frame(place.frame))
            self._frames[place.frame] = raw
            if len(self._frames) > _CACHED_FRAMES:
                self._frames.popitem(last=False)
        else:
            self._frames.move_to_end(place.frame)
        chunk = raw[place.offset : place.offset + place.length]
        self.coder.check_chunk(memoryview(chunk), kind, chunk_id)
        return chunk

    def _fetch(self, frame: FrameAt) -> bytes:
        name = names.pack(frame.pack_id)
        offset, length = widened(frame.offset, frame.stored, frame.pack_size)
        try:
            data = self.repository.storage.get(name, offset, length)
        except ObjectMissing as e:
            raise Damaged("the pack is missing", name) from e
        return bytes(self.decode(frame, memoryview(data)[frame.offset - offset :][: frame.stored]))

    def decode(self, frame: FrameAt, stored: memoryview) -> memoryview:
        """The raw bytes of a frame; a view of this thread's buffer. Errors name the pack."""
        name = names.pack(frame.pack_id)
        if len(stored) != frame.stored:
            raise Damaged("the pack is cut off", name)
        try:
            return self.coder.decode(stored, self.keys.frame_key(frame.slot), frame.kind, frame.raw)
        except Damaged as e:
            raise Damaged(e.reason, name) from e


def _no_random(size: int) -> bytes:
    raise AssertionError("reading needs no random bytes")
