"""Config and recipients: chains of put-if-absent objects, of which the highest number counts. Ledger objects.

| object | fields of the msgpack map |
|---|---|
| `config/<n>` | `number`, `format`, `repository` (32 bytes), `chunker` (text, see `chunking`), `frame_size`, `pack_size` (bytes), `features` (map: operation class `read`, `write`, `prune`, `check` -> list of required feature names), `conditional_writes` (bool: the storage honours put-if-absent), `previous` (SHA-256 of the body of n-1, or empty) |
| `recipients/<n>` | `number`, `recipients` (list of `[fingerprint, encryption subkey, user id, public key]`), `previous`, `signature` (bin or nil; over label, repository id and the map without it) |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from chunkstore.errors import Damaged, UnsupportedFormat
from chunkstore.format.pack import MAX_FRAME, MAX_PACK
from chunkstore.format.wire import Fields, field, fixed_bytes, items, natural, optional, pack, unpack_fields
from chunkstore.ids import ID_SIZE, RepositoryId

FORMAT = 1
OPERATION_CLASSES = ("read", "write", "prune", "check")
KNOWN_FEATURES: frozenset[str] = frozenset()
DEFAULT_FRAME_SIZE = 1 << 20
DEFAULT_PACK_SIZE = 16 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """What all clients of a repository agree on. Sizes in bytes: raw of a frame, stored of a pack."""

    number: int
    repository_id: RepositoryId
    chunker: str
    frame_size: int
    pack_size: int
    features: tuple[tuple[str, tuple[str, ...]], ...]
    conditional_writes: bool
    previous: bytes

    def require(self, operation: str) -> None:
        """Raise `UnsupportedFormat` when `operation` (a class) needs a feature that is unknown here."""
        unknown = {name for kind, names in self.features if kind == operation for name in names} - KNOWN_FEATURES
        if unknown:
            raise UnsupportedFormat(
                f"to {operation} this repository the features {', '.join(sorted(unknown))} are needed, "
                "which this chunkstore does not have. Install a newer chunkstore"
            )


@dataclass(frozen=True, slots=True)
class RecipientEntry:
    """A GPG key that can read: fingerprints as upper-case hex, the public key as gpg exports it."""

    fingerprint: str
    encryption_subkey: str
    user_id: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Recipients:
    """Who can read the repository."""

    number: int
    entries: tuple[RecipientEntry, ...]
    previous: bytes
    signature: bytes | None


def body_digest(body: bytes) -> bytes:
    """What the next object of a chain names as its previous one."""
    return hashlib.sha256(body).digest()


def encode_config(config: Config) -> bytes:
    return pack(
        {
            "number": config.number,
            "format": FORMAT,
            "repository": bytes(config.repository_id),
            "chunker": config.chunker,
            "frame_size": config.frame_size,
            "pack_size": config.pack_size,
            "features": {kind: list(names) for kind, names in config.features},
            "conditional_writes": config.conditional_writes,
            "previous": config.previous,
        }
    )


def decode_config(body: bytes, number: int) -> Config:
    """The config stored under this number. `UnsupportedFormat` for one of a newer format."""
    fields = unpack_fields(body)
    version = natural(fields, "format")
    if version > FORMAT:
        raise UnsupportedFormat(f"the repository has format {version}; this chunkstore knows formats up to {FORMAT}")
    features = field(fields, "features", dict)
    config = Config(
        number=natural(fields, "number"),
        repository_id=RepositoryId(fixed_bytes(fields, "repository", ID_SIZE)),
        chunker=field(fields, "chunker", str),
        frame_size=natural(fields, "frame_size", MAX_FRAME),
        pack_size=natural(fields, "pack_size", MAX_PACK // 2),
        features=tuple((_text(kind), items(features, kind, str)) for kind in sorted(features, key=_text)),
        conditional_writes=field(fields, "conditional_writes", bool),
        previous=field(fields, "previous", bytes),
    )
    if config.number != number or len(config.previous) not in (0, 32) or config.frame_size < 1024:
        raise Damaged("config is malformed")
    return config


def recipients_body(recipients: Recipients) -> bytes:
    """The map without its signature: what is signed."""
    return pack(_recipients_fields(recipients))


def encode_recipients(recipients: Recipients) -> bytes:
    return pack({**_recipients_fields(recipients), "signature": recipients.signature})


def decode_recipients(body: bytes, number: int) -> Recipients:
    fields = unpack_fields(body)
    entries = []
    for entry in items(fields, "recipients", list):
        if [type(part) for part in entry] != [str, str, str, bytes]:
            raise Damaged("recipients are malformed")
        entries.append(RecipientEntry(*entry))
    previous = field(fields, "previous", bytes)
    if natural(fields, "number") != number or not entries or len(previous) not in (0, 32):
        raise Damaged("recipients are malformed")
    return Recipients(number, tuple(entries), previous, optional(fields, "signature", bytes))


def _recipients_fields(recipients: Recipients) -> Fields:
    rows = [[e.fingerprint, e.encryption_subkey, e.user_id, e.public_key] for e in recipients.entries]
    return {"number": recipients.number, "recipients": rows, "previous": recipients.previous}


def _text(value: object) -> str:
    if type(value) is not str:
        raise Damaged("config is malformed")
    return value
