"""Index objects: which chunk is in which pack. Ledger objects; bodies are msgpack maps.

| object | fields |
|---|---|
| run index `index/run-<session>-<n>` | `session` (text), `packs` (list of maps, see `pack`) |
| segment `index/segment-<digest>` | `packs`; at most 16 MiB; the digest (SHA-256) is that of the body |
| generation `index/generation-<n>` | `number`, `segments` (digests), `absorbed` (names of run indexes), `dropped` (pack ids that were deleted while in no index: locations in them never count) |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from chunkstore.errors import Damaged
from chunkstore.format.pack import PackInfo, pack_fields, read_pack_fields
from chunkstore.format.wire import Fields, field, items, natural, pack, unpack_fields
from chunkstore.ids import ID_SIZE, PackId, SnapshotId, is_snapshot_id

MAX_SEGMENT = 16 << 20


@dataclass(frozen=True, slots=True)
class RunIndex:
    """The packs that one run has stored since its last index object."""

    session: SnapshotId
    packs: tuple[PackInfo, ...]


@dataclass(frozen=True, slots=True)
class IndexSegment:
    """A part of a generation."""

    packs: tuple[PackInfo, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """A compacted index, complete but for run indexes that it does not name as absorbed."""

    number: int
    segments: tuple[bytes, ...]
    absorbed: frozenset[str]
    dropped: frozenset[PackId]


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


def encode_segment(segment: IndexSegment) -> bytes:
    return pack({"packs": [pack_fields(p) for p in segment.packs]})


def segment_digest(body: bytes) -> bytes:
    """What a segment is named by."""
    return hashlib.sha256(body).digest()


def decode_segment(body: bytes, digest: bytes) -> IndexSegment:
    """The segment named by `digest`."""
    if segment_digest(body) != digest:
        raise Damaged("index segment is not the one it is named as")
    return IndexSegment(_packs(unpack_fields(body)))


def encode_generation(generation: Generation) -> bytes:
    return pack(
        {
            "number": generation.number,
            "segments": list(generation.segments),
            "absorbed": sorted(generation.absorbed),
            "dropped": sorted(generation.dropped),
        }
    )


def decode_generation(body: bytes, number: int) -> Generation:
    """The generation stored under this number."""
    fields = unpack_fields(body)
    segments, dropped = items(fields, "segments", bytes), items(fields, "dropped", bytes)
    if natural(fields, "number") != number or any(len(d) != ID_SIZE for d in (*segments, *dropped)):
        raise Damaged("index generation is malformed")
    absorbed = frozenset(items(fields, "absorbed", str))
    return Generation(number, segments, absorbed, frozenset(PackId(d) for d in dropped))
