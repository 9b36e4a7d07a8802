"""Packs: many sealed frames in one object, named by the SHA-256 of all its bytes.

| bytes | what |
|---|---|
| 44 | prefix (see `kinds`), kind 4 content pack or 5 tree pack |
| 2 | number of key slots, big-endian |
| 4, 4 | lengths of the two OpenPGP messages that follow the slots, big-endian |
| 113 each | slots |
| n | OpenPGP message: the reading key (as in `sealed_keys`) |
| n | OpenPGP message: the index bundle |
| n | frames, one after the other (`aead`) |
| p | random bytes: padding |
| n | the table: a ledger object of kind 15 under the name `table` (`envelope`) |
| 8, 4, 8 | offset and length of the table, magic `CHUNKEND` |

Slot: type (1 byte: 1 data key, 2 ledger), key id (16), who opens it (16: reading key id, or the ledger key id and 8
zero bytes), what opens it (80: HPKE-sealed data key, or 32 bytes of salt and 48 zero bytes).

The two messages make a pack that is found alone readable with gpg: index bundle -> table, reading key -> data keys ->
frames. The frames' offsets stand only in the encrypted table, so the padding hides where they end.

Table, and each pack in index objects, is a msgpack map: `id` (32 bytes; empty in the table itself), `plane` (kind),
`size`, `slots` (as above), `frames` (20 bytes each: kind 1, slot 2, offset 4, stored length 4, raw length 4, chunks 4, 1
zero byte), `ids` (32 bytes each), `lengths` (4 bytes each).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import TypeVar

from chunkstore.errors import Damaged
from chunkstore.format import envelope
from chunkstore.format.kinds import PREFIX, ObjectKind, check_prefix, prefix
from chunkstore.format.padding import padding_size
from chunkstore.format.wire import Buffer, Fields, field, natural, pack, split, unpack_fields
from chunkstore.ids import ID_SIZE, ChunkId, PackId, RandomBytes
from chunkstore.keys.derivation import ChunkKind, IndexKey

Part = TypeVar("Part", bound=Buffer)

MAX_FRAME = 8 << 20
"""Bytes: no frame's raw length is above this, whatever the config says."""
MAX_PACK = 1 << 31
TABLE_NAME = "table"
_COUNTS = struct.Struct(">HII")
_SLOT = struct.Struct(">B16s16s80s")
_FRAME = struct.Struct(">BHIIIIx")
_TRAILER = struct.Struct(">QI8s")
TRAILER_SIZE = _TRAILER.size
_END = b"CHUNKEND"
_PLANES = {
    ObjectKind.CONTENT_PACK: frozenset({ChunkKind.CONTENT}),
    ObjectKind.TREE_PACK: frozenset({ChunkKind.MANIFEST, ChunkKind.REFERENCE}),
}


class SlotType(IntEnum):
    """Which plane the frames of a slot belong to."""

    DATA_KEY = 1
    LEDGER = 2


@dataclass(frozen=True, slots=True)
class Slot:
    """How a frame key is found again. `opener` and `sealed` have their length on the wire, zeros included."""

    type: SlotType
    key_id: bytes
    opener: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a frame stands in its pack, and the ids and lengths of the chunks in it, in order."""

    kind: ChunkKind
    slot: int
    offset: int
    stored: int
    raw: int
    ids: Sequence[ChunkId]
    lengths: Sequence[int]


@dataclass(frozen=True, slots=True)
class PackInfo:
    """What the index knows of one pack; `size` is that of the whole object in bytes."""

    pack_id: PackId
    plane: ObjectKind
    size: int
    slots: tuple[Slot, ...]
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class KeyMessages:
    """The OpenPGP messages that every pack carries."""

    reading_key: bytes
    index_bundle: bytes


def header(plane: ObjectKind, slots: Sequence[Slot], messages: KeyMessages, key: IndexKey) -> bytes:
    """The bytes before the first frame."""
    counts = _COUNTS.pack(len(slots), len(messages.reading_key), len(messages.index_bundle))
    start = prefix(plane, key.repository_id) + counts + _encode_slots(slots)
    return start + messages.reading_key + messages.index_bundle


def finish(
    plane: ObjectKind,
    slots: Sequence[Slot],
    frames: Sequence[Frame],
    body: list[Part],
    key: IndexKey,
    random_bytes: RandomBytes,
) -> tuple[PackInfo, bytearray]:
    """The whole pack whose header and frames are `body`, and what the index has to know of it.

    Empties `body`: its parts are in memory once, not twice.
    """
    info = PackInfo(PackId(b""), plane, 0, tuple(slots), tuple(frames))
    table = envelope.seal(ObjectKind.PACK_TABLE, TABLE_NAME, pack(pack_fields(info)), key, random_bytes)
    length = sum(len(part) for part in body)
    padding = padding_size(length + len(table) + _TRAILER.size, random_bytes)
    trailer = _TRAILER.pack(length + padding, len(table), _END)
    data = _joined(body, (random_bytes(padding), table, trailer))
    pack_id = PackId(hashlib.sha256(data).digest())
    return PackInfo(pack_id, plane, len(data), info.slots, info.frames), data


def _joined(parts: list[Part], end: Sequence[Buffer]) -> bytearray:
    """All in one piece. A part goes once it is copied, and no other thread waits until all of them are."""
    data, at = bytearray(sum(map(len, parts)) + sum(map(len, end))), 0
    parts.reverse()
    with memoryview(data) as view:
        while parts:
            part = parts.pop()
            view[at : at + len(part)] = part
            at += len(part)
        view[at:] = b"".join(end)
    return data


def read_header(data: Buffer, name: str, key: IndexKey) -> tuple[ObjectKind, tuple[Slot, ...], KeyMessages]:
    """Plane, slots and messages from the first bytes of a pack."""
    view = memoryview(data)
    plane = check_prefix(view, name, (ObjectKind.CONTENT_PACK, ObjectKind.TREE_PACK), key.repository_id)
    if len(view) < PREFIX.size + _COUNTS.size:
        raise Damaged("is cut off", name)
    count, reading, bundle = _COUNTS.unpack_from(view, PREFIX.size)
    at = PREFIX.size + _COUNTS.size
    end = at + count * _SLOT.size
    if end + reading + bundle > len(view):
        raise Damaged("is cut off", name)
    messages = KeyMessages(bytes(view[end : end + reading]), bytes(view[end + reading : end + reading + bundle]))
    return plane, _decode_slots(bytes(view[at:end])), messages


def read_pack(data: Buffer, pack_id: PackId, name: str, key: IndexKey) -> PackInfo:
    """Check a whole pack against its name and return its table."""
    if hashlib.sha256(data).digest() != pack_id:
        raise Damaged("its bytes do not have the checksum in its name", name)
    view = memoryview(data)
    plane, slots, _ = read_header(view, name, key)
    if len(view) < _TRAILER.size:
        raise Damaged("is cut off", name)
    offset, length, end = _TRAILER.unpack(view[-_TRAILER.size :])
    if end != _END or offset + length + _TRAILER.size != len(view):
        raise Damaged("its trailer is malformed", name)
    _, body = envelope.unseal(view[offset : offset + length], TABLE_NAME, (ObjectKind.PACK_TABLE,), key)
    info = read_pack_fields({**unpack_fields(body), "id": bytes(pack_id), "size": len(view)})
    if info.plane != plane or info.slots != slots:
        raise Damaged("its header and its table differ", name)
    return info


def table_place(trailer: Buffer, size: int, name: str) -> tuple[int, int]:
    """(offset, length) of the table of a pack of `size` bytes, from its last `TRAILER_SIZE` bytes."""
    if len(trailer) != TRAILER_SIZE:
        raise Damaged("is cut off", name)
    offset, length, end = _TRAILER.unpack(trailer)
    if end != _END or offset + length + TRAILER_SIZE != size:
        raise Damaged("its trailer is malformed", name)
    return offset, length


def read_table(table: Buffer, pack_id: PackId, size: int, name: str, key: IndexKey) -> PackInfo:
    """What the table of a pack says of it. The rest of the pack, and so its name, is not compared with anything."""
    try:
        _, body = envelope.unseal(table, TABLE_NAME, (ObjectKind.PACK_TABLE,), key)
        return read_pack_fields({**unpack_fields(body), "id": bytes(pack_id), "size": size})
    except Damaged as e:
        raise Damaged(e.reason, name) from e


def _encode_slots(slots: Sequence[Slot]) -> bytes:
    return b"".join(_SLOT.pack(s.type, s.key_id, s.opener, s.sealed) for s in slots)


def _decode_slots(data: bytes) -> tuple[Slot, ...]:
    slots = []
    for piece in split(data, _SLOT.size, "slots"):
        kind, key_id, opener, sealed = _SLOT.unpack(piece)
        if kind not in (SlotType.DATA_KEY, SlotType.LEDGER):
            raise Damaged(f"key slot of unknown type {kind}")
        slots.append(Slot(SlotType(kind), key_id, opener, sealed))
    return tuple(slots)


def pack_fields(info: PackInfo) -> Fields:
    """The msgpack map of a pack, for index objects and the pack's own table."""
    lengths = [length for frame in info.frames for length in frame.lengths]
    return {
        "id": bytes(info.pack_id),
        "plane": int(info.plane),
        "size": info.size,
        "slots": _encode_slots(info.slots),
        "frames": b"".join(_FRAME.pack(f.kind, f.slot, f.offset, f.stored, f.raw, len(f.ids)) for f in info.frames),
        "ids": b"".join(chunk_id for frame in info.frames for chunk_id in frame.ids),
        "lengths": struct.pack(f">{len(lengths)}I", *lengths),
    }


def read_pack_fields(fields: Fields) -> PackInfo:
    """The pack in a msgpack map, each part of it checked against the others."""
    pack_id, size = field(fields, "id", bytes), natural(fields, "size", MAX_PACK)
    if len(pack_id) != ID_SIZE:
        raise Damaged("pack with a malformed id")
    try:
        plane = ObjectKind(natural(fields, "plane", 255))
        kinds = _PLANES[plane]
    except (ValueError, KeyError) as e:
        raise Damaged("pack of an unknown plane") from e
    slots = _decode_slots(field(fields, "slots", bytes))
    ids = split(field(fields, "ids", bytes), ID_SIZE, "ids")
    lengths = struct.unpack(f">{len(ids)}I", _sized(field(fields, "lengths", bytes), 4 * len(ids)))
    frames = []
    at = 0
    for row in _FRAME.iter_unpack(_multiple(field(fields, "frames", bytes), _FRAME.size)):
        kind, slot, offset, stored, raw, count = row
        frame = Frame(kind, slot, offset, stored, raw, ids[at : at + count], lengths[at : at + count])  # type: ignore[arg-type]
        at += count
        frames.append(_checked(frame, count, kinds, len(slots), size))
    if at != len(ids) or any(a.offset + a.stored > b.offset for a, b in pairwise(frames)):
        raise Damaged("pack with a malformed table")
    return PackInfo(PackId(pack_id), plane, size, slots, tuple(frames))


def _checked(frame: Frame, count: int, kinds: frozenset[ChunkKind], slots: int, size: int) -> Frame:
    fits = frame.offset + frame.stored <= size and frame.stored > 0 and 0 < frame.raw <= MAX_FRAME
    whole = len(frame.ids) == count > 0 and sum(frame.lengths) == frame.raw and 0 not in frame.lengths
    if not (fits and whole and frame.kind in kinds and frame.slot < slots):
        raise Damaged("pack with a malformed frame")
    return Frame(ChunkKind(frame.kind), frame.slot, frame.offset, frame.stored, frame.raw, frame.ids, frame.lengths)


def _sized(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise Damaged("pack with a malformed table")
    return data


def _multiple(data: bytes, size: int) -> bytes:
    if len(data) % size:
        raise Damaged("pack with a malformed table")
    return data
