"""What stands under `snapshots/` and `amendments/`. Ledger objects; bodies are msgpack maps.

| object | fields |
|---|---|
| record `snapshots/<id>` | `record` (bin: the map below), `signature` (bin or nil: detached OpenPGP signature) |
| tombstone `snapshots/<id>` | `id`, `time` |
| amendment `amendments/<id>` | `snapshot`, `time`, `add_tags`, `remove_tags`, `pinned` (bool or nil), `description` (text or nil) |

The map of a record: `id`, `time`, `end` (ns since 1970), `host`, `user`, `roots` (list of bin), `tags`, `description`,
`content_root`, `reference_root` (nodes of `tree_nodes`), `client` (16 bytes), `sequence`, `previous` (SHA-256 of the body
of this client's previous record, or empty), `generation` (index generation that the run synced), `partial` (a checkpoint),
`errors` (sources that could not be read), `statistics` (map of text to whole numbers), `program` (text), and in a copy from
another repository `original` (map: `repository`, bin 32, and `snapshot`, text), which others lack.

A signature is over `signed_bytes`: label, repository id, snapshot id and the map as stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from dataclasses import field as dataclass_field
from typing import Any

from chunkstore.errors import Damaged
from chunkstore.format.wire import Fields, field, fixed_bytes, items, natural, optional, pack, unpack_fields
from chunkstore.ids import ID_SIZE, ChunkId, RepositoryId, SnapshotId, is_snapshot_id

CLIENT_ID_SIZE = 16


@dataclass(frozen=True, slots=True)
class Original:
    """The snapshot, of another repository, that a copy is of: the first one, where copies were copied."""

    repository: RepositoryId
    snapshot: SnapshotId


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """The small object that makes a snapshot exist. Times are ns since 1970, UTC."""

    id: SnapshotId
    time: int
    end: int
    host: str
    user: str
    roots: tuple[bytes, ...]
    tags: tuple[str, ...]
    description: str
    content_root: ChunkId
    reference_root: ChunkId
    client: bytes
    sequence: int
    previous: bytes
    generation: int
    partial: bool
    errors: int
    statistics: dict[str, int] = dataclass_field(hash=False)
    program: str = ""
    original: Original | None = None


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record as it is stored: its exact bytes, and the signature over them where there is one."""

    record: SnapshotRecord
    body: bytes
    signature: bytes | None

    @property
    def digest(self) -> bytes:
        """What the next record of the same client refers to as its previous."""
        return hashlib.sha256(self.body).digest()


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Stands where a dead session would have committed."""

    id: SnapshotId
    time: int


@dataclass(frozen=True, slots=True)
class Amendment:
    """What is said about a snapshot later; None leaves a thing as it is."""

    snapshot: SnapshotId
    time: int
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    pinned: bool | None = None
    description: str | None = None


def stored_time(time_ns: int) -> int:
    """A clock's time as records can hold it: from 1970 on, in 63 bits. Clocks may be wrong; nothing depends on them."""
    return min(max(time_ns, 0), 2**63 - 1)


def record_body(record: SnapshotRecord) -> bytes:
    """The map of a record, as it is signed and stored."""
    fields: dict[str, Any] = asdict(record)
    fields["roots"], fields["tags"] = list(record.roots), list(record.tags)
    if record.original is None:
        del fields["original"]
    return pack(fields)


def signed_bytes(body: bytes, repository_id: RepositoryId, snapshot_id: SnapshotId) -> bytes:
    """What a signature of a record is made over."""
    return b"chunkstore/1 snapshot\0" + repository_id + bytes.fromhex(snapshot_id) + body


def encode_record(body: bytes, signature: bytes | None) -> bytes:
    return pack({"record": body, "signature": signature})


def decode_record(data: bytes, snapshot_id: SnapshotId) -> SignedRecord:
    """The record stored under this id."""
    outer = unpack_fields(data)
    body = field(outer, "record", bytes)
    fields = unpack_fields(body)
    statistics = field(fields, "statistics", dict)
    if not all(type(k) is str and type(v) is int for k, v in statistics.items()):
        raise Damaged("record with malformed statistics")
    previous, roots = field(fields, "previous", bytes), items(fields, "roots", bytes)
    if len(previous) not in (0, 32) or not roots or not all(_plain(root) for root in roots):
        raise Damaged("record with malformed roots or predecessor")
    record = SnapshotRecord(
        id=_id(fields, "id", snapshot_id),
        time=natural(fields, "time"),
        end=natural(fields, "end"),
        host=field(fields, "host", str),
        user=field(fields, "user", str),
        roots=roots,
        tags=items(fields, "tags", str),
        description=field(fields, "description", str),
        content_root=ChunkId(fixed_bytes(fields, "content_root", ID_SIZE)),
        reference_root=ChunkId(fixed_bytes(fields, "reference_root", ID_SIZE)),
        client=fixed_bytes(fields, "client", CLIENT_ID_SIZE),
        sequence=natural(fields, "sequence"),
        previous=previous,
        generation=natural(fields, "generation"),
        partial=field(fields, "partial", bool),
        errors=natural(fields, "errors"),
        statistics=statistics,
        program=field(fields, "program", str),
        original=_original(optional(fields, "original", dict)),
    )
    return SignedRecord(record, body, optional(outer, "signature", bytes))


def encode_tombstone(tombstone: Tombstone) -> bytes:
    return pack(asdict(tombstone))


def decode_tombstone(data: bytes, snapshot_id: SnapshotId) -> Tombstone:
    fields = unpack_fields(data)
    return Tombstone(_id(fields, "id", snapshot_id), natural(fields, "time"))


def encode_amendment(amendment: Amendment) -> bytes:
    fields: Fields = asdict(amendment)
    fields["add_tags"], fields["remove_tags"] = list(amendment.add_tags), list(amendment.remove_tags)
    return pack(fields)


def decode_amendment(data: bytes) -> Amendment:
    fields = unpack_fields(data)
    return Amendment(
        snapshot=_id(fields, "snapshot", None),
        time=natural(fields, "time"),
        add_tags=items(fields, "add_tags", str),
        remove_tags=items(fields, "remove_tags", str),
        pinned=optional(fields, "pinned", bool),
        description=optional(fields, "description", str),
    )


def _original(fields: Fields | None) -> Original | None:
    if fields is None:
        return None
    return Original(RepositoryId(fixed_bytes(fields, "repository", ID_SIZE)), _id(fields, "snapshot", None))


def _id(fields: Fields, name: str, expected: SnapshotId | None) -> SnapshotId:
    value = field(fields, name, str)
    if not is_snapshot_id(value) or (expected is not None and value != expected):
        raise Damaged("snapshot object that claims to be another one")
    return SnapshotId(value)


def _plain(root: bytes) -> bool:
    parts = set(root[1:].split(b"/"))
    return root[:1] == b"/" and b"\0" not in root and (root == b"/" or not parts & {b"", b".", b".."})
