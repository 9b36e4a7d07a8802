"""How large index and repository would be, computed from the format: `docs/format.md`, "Packs", "Index", "Padding".

Expected values: what is drawn at random is taken as its mean. Not in it: manifest entries (names, times, modes), which
are the same for every chunker, and what is stored once, such as keys.
"""

from __future__ import annotations

from chunkstore.aead import OVERHEAD
from chunkstore.format import envelope
from chunkstore.format.config import DEFAULT_FRAME_SIZE, DEFAULT_PACK_SIZE
from chunkstore.format.kinds import PREFIX, ObjectKind
from chunkstore.format.pack import PackInfo, Slot, SlotType, pack_fields
from chunkstore.format.wire import pack
from chunkstore.ids import ID_SIZE, PackId
from chunkstore.keys.sealing import READING_KEY_ID_SIZE, SEALED_DATA_KEY_SIZE
from chunkstore.operations.dedup_study.values import Counted
from chunkstore.repository.chunk_writer import ROWS_PER_INDEX_OBJECT, WriteOptions

_SLOT = Slot(SlotType.DATA_KEY, bytes(16), bytes(READING_KEY_ID_SIZE), bytes(SEALED_DATA_KEY_SIZE))
_EMPTY_MAP = (
    len(pack(pack_fields(PackInfo(PackId(bytes(ID_SIZE)), ObjectKind.CONTENT_PACK, 1 << 24, (_SLOT,), ())))) + 9
)
"""A pack without frames in an index object; its three lists need three bytes more each for their lengths when they are long."""
_FRAME_ROW = 20
_CHUNK_ROW = ID_SIZE + 4
_HEADER = PREFIX.size + 10 + 113 + 800
"""Of a pack: prefix, counts, one slot and the two OpenPGP messages, which are as long as the recipients' keys ask for."""
_TRAILER = 20
_REFERENCE_FRAME = DEFAULT_FRAME_SIZE // 4


def sizes(counted: Counted, frames: int, compressed: int) -> tuple[int, int]:
    """(bodies of the index objects, everything that would be stored) for new chunks that compress to so many bytes."""
    if not counted.unique_chunks:
        return 0, 0
    content = compressed + frames * OVERHEAD
    packs = max(-(-content // DEFAULT_PACK_SIZE), 1)
    index = packs * _EMPTY_MAP + frames * _FRAME_ROW + counted.unique_chunks * _CHUNK_ROW
    objects = max(
        -(-packs // WriteOptions().packs_per_index_object), -(-counted.unique_chunks // ROWS_PER_INDEX_OBJECT)
    )
    ids = counted.chunks * ID_SIZE
    return index, _packs(content, packs, index) + _ledger(index, objects) + ids + -(-ids // _REFERENCE_FRAME) * OVERHEAD


def _packs(content: int, packs: int, tables: int) -> int:
    """So many packs of the same size, each with its table, which is a ledger object, padded by itself."""
    table = _ledger(tables // packs, 1)
    bare = _HEADER + content // packs + table + _TRAILER
    return packs * (bare + _padding(bare))


def _ledger(bodies: int, objects: int) -> int:
    """So many ledger objects with bodies of so many bytes together. Ids do not compress, and lengths hardly matter."""
    bare = envelope.HEADER_SIZE + 5 + bodies // objects + 16
    return objects * (bare + _padding(bare))


def _padding(size: int) -> int:
    """What `padding_size` adds to an object of so many bytes in the mean: half a step is drawn, half a step rounds it up."""
    return 4096 if size < 1 << 20 else 65536
