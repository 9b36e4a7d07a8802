"""Index objects: which chunk is in which pack. Ledger objects; bodies are msgpack maps.

| object | fields |
|---|---|
| run index `index/run-<session>-<n>` | `session` (text), `packs` (list of maps, see `pack`) |
| segment `index/segment-<digest>` | `packs`, `salt` (random bytes, may be left out: no two segments ever have one name); at most 16 MiB; the digest (SHA-256) is that of the body |
| generation `index/generation-<n>` | `number`, `segments` (digests), `absorbed` (names of run indexes), `dropped` (pack ids that were deleted while in no index: locations in them never count), `sparse` (left out when empty: list of [pack id, list of frame offsets]), `recovered` (left out when empty: pack ids that came from the tables of packs, not from an index object; when one is deleted it goes to `dropped`, since the run that wrote it may still publish it) |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from chunkstore.errors import Damaged
from chunkstore.format.pack import PackInfo, pack_fields, read_pack_fields
from chunkstore.format.wire import Fields, field, items, natural, pack, unpack_fields
from chunkstore.ids import ID_SIZE, PackId, SnapshotId, is_snapshot_id

MAX_SEGMENT = 16 << 20
_MAX_OFFSET = 2**32 - 1
"""Places of frames in packs are numbers of 4 bytes."""


@dataclass(frozen=True, slots=True)
class RunIndex:
    """The packs that one run has stored since its last index object."""

    session: SnapshotId
    packs: tuple[PackInfo, ...]


@dataclass(frozen=True, slots=True)
class IndexSegment:
    """A part of a generation."""

    packs: tuple[PackInfo, ...]


class SparseFrames(NamedTuple):
    """Frames of one pack of whose chunks few are still referenced, by their offsets in the pack (bytes), ascending."""

    pack_id: PackId
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """A compacted index, complete but for run indexes that it does not name as absorbed.

    `sparse`: frames that are whole, but that writers had better not rely on (within a budget), so that they can go one day.
    """

    number: int
    segments: tuple[bytes, ...]
    absorbed: frozenset[str]
    dropped: frozenset[PackId]
    sparse: tuple[SparseFrames, ...] = ()
    recovered: frozenset[PackId] = frozenset()


def _packs(fields: Fields) -> tuple[PackInfo, ...]:
    return tuple(read_pack_fields(each) for each in items(fields, "packs", dict))


def encode_run_index(run: RunIndex) -> bytes:
    return pack({"session": run.session, "packs": [pack_fields(p) for p in run.packs]})


def decode_run_index(body: bytes) -> RunIndex:
    fields = unpack_fields(body)
    session = field(fields, "session", str)
    if not is_snapshot_id(session):
        raise Damaged("run index of a malformed session")
    return RunIndex(SnapshotId(session), _packs(fields))


def encode_segment(segment: IndexSegment, salt: bytes = b"") -> bytes:
    """`salt`: random bytes, so that a segment that is written later never has the name of an older one."""
    fields: dict[str, Any] = {"packs": [pack_fields(p) for p in segment.packs]}
    if salt:
        fields["salt"] = salt
    return pack(fields)


def segment_digest(body: bytes) -> bytes:
    """What a segment is named by."""
    return hashlib.sha256(body).digest()


def decode_segment(body: bytes, digest: bytes) -> IndexSegment:
    """The segment named by `digest`."""
    if segment_digest(body) != digest:
        raise Damaged("index segment is not the one it is named as")
    return IndexSegment(_packs(unpack_fields(body)))


def encode_generation(generation: Generation) -> bytes:
    fields: dict[str, Any] = {
        "number": generation.number,
        "segments": list(generation.segments),
        "absorbed": sorted(generation.absorbed),
        "dropped": sorted(generation.dropped),
    }
    if generation.recovered:
        fields["recovered"] = sorted(generation.recovered)
    if generation.sparse:
        fields["sparse"] = [[each.pack_id, sorted(each.offsets)] for each in sorted(generation.sparse)]
    return pack(fields)


def decode_generation(body: bytes, number: int) -> Generation:
    """The generation stored under this number."""
    fields = unpack_fields(body)
    segments, dropped = items(fields, "segments", bytes), items(fields, "dropped", bytes)
    if natural(fields, "number") != number or any(len(d) != ID_SIZE for d in (*segments, *dropped)):
        raise Damaged("index generation is malformed")
    absorbed = frozenset(items(fields, "absorbed", str))
    sparse = tuple(map(_sparse, items(fields, "sparse", list) if "sparse" in fields else ()))
    recovered = items(fields, "recovered", bytes) if "recovered" in fields else ()
    if any(len(each) != ID_SIZE for each in recovered):
        raise Damaged("index generation is malformed")
    gone = frozenset(PackId(each) for each in dropped)
    return Generation(number, segments, absorbed, gone, sparse, frozenset(PackId(each) for each in recovered))


def _sparse(value: list[Any]) -> SparseFrames:
    match value:
        case [bytes(pack_id), list(offsets)] if len(pack_id) == ID_SIZE:
            if all(type(at) is int and 0 <= at <= _MAX_OFFSET for at in offsets):
                return SparseFrames(PackId(pack_id), tuple(offsets))
    raise Damaged("index generation names sparse frames that can not be")
