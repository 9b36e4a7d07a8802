"""Keys sealed to the recipients: an OpenPGP message in an envelope of ours, and the plaintext inside it.

Envelope (`keys/<key id>.<n>`), not secret, protected by the message itself:

| bytes | what |
|---|---|
| 44 | prefix (see `kinds`), kind 3 |
| 1 | what is sealed: 1 index bundle, 2 reading key |
| 16 | key id: of the reading key; of an index bundle the first 16 bytes of the repository id |
| 4 | length of the message, big-endian |
| n | OpenPGP message (binary) |
| p | zero padding to a multiple of 4 KiB |
| 32 | SHA-256 of all before it |

Plaintext of the message:

| bytes | what |
|---|---|
| 16 | magic `chunkstore key 1` |
| 1 | what it is, as above |
| 32 | repository id |
| 16 | key id |
| n | msgpack map: index bundle `id`, `ledger` (list), `reading` (list); reading key `secret` |

OpenPGP messages are malleable before their end is checked, and sealing proves nothing about who sealed: whoever opens
one believes it only when all fields are the expected ones.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from chunkstore.errors import Damaged, UnsupportedFormat
from chunkstore.format.kinds import PREFIX, ObjectKind, check_prefix, prefix
from chunkstore.format.wire import Buffer, fixed_bytes, items, pack, unpack_fields
from chunkstore.ids import RepositoryId
from chunkstore.keys.derivation import SECRET_SIZE, IndexKey
from chunkstore.keys.opening import ReadingKey
from chunkstore.keys.sealing import reading_key_id

KEY_ID_SIZE = 16
_PLAIN_MAGIC = b"chunkstore key 1"
_HEAD = struct.Struct(">B16sI")
_PLAIN = struct.Struct(">16sB32s16s")


def bundle_id(repository_id: RepositoryId) -> bytes:
    """The key id under which a repository's index bundle is stored; left-overs of a broken `init` have another."""
    return repository_id[:KEY_ID_SIZE]


def newest_reading_key_id(key: IndexKey) -> bytes:
    """The key id under which the newest reading key is stored."""
    return reading_key_id(key.reading_keys[-1])


class SealedKind(IntEnum):
    """What an OpenPGP message of ours holds."""

    INDEX_BUNDLE = 1
    READING_KEY = 2


@dataclass(frozen=True, slots=True)
class SealedKey:
    """One sealed key as it is stored."""

    kind: SealedKind
    key_id: bytes
    message: bytes


def encode(sealed: SealedKey, repository_id: RepositoryId) -> bytes:
    """The stored bytes."""
    body = prefix(ObjectKind.SEALED_KEY, repository_id)
    body += _HEAD.pack(sealed.kind, sealed.key_id, len(sealed.message)) + sealed.message
    body += bytes(-(len(body) + 32) % 4096)
    return body + hashlib.sha256(body).digest()


def decode(data: Buffer, name: str, repository_id: RepositoryId) -> SealedKey:
    """The sealed key stored as `name`; `Damaged` for any byte that is not as written."""
    data = bytes(data)
    check_prefix(data, name, (ObjectKind.SEALED_KEY,), repository_id)
    if hashlib.sha256(data[:-32]).digest() != data[-32:] or len(data) < PREFIX.size + _HEAD.size + 32:
        raise Damaged("its checksum does not match", name)
    kind, key_id, length = _HEAD.unpack_from(data, PREFIX.size)
    at = PREFIX.size + _HEAD.size
    if kind not in (SealedKind.INDEX_BUNDLE, SealedKind.READING_KEY) or at + length > len(data) - 32:
        raise Damaged("is malformed", name)
    return SealedKey(SealedKind(kind), key_id, data[at : at + length])


def index_bundle(key: IndexKey) -> bytes:
    """The plaintext that is sealed as the index bundle."""
    fields = {"id": key.id_secret, "ledger": list(key.ledger_secrets), "reading": list(key.reading_keys)}
    return _plaintext(SealedKind.INDEX_BUNDLE, key.repository_id, bundle_id(key.repository_id), fields)


def reading_key(key: ReadingKey, repository_id: RepositoryId) -> bytes:
    """The plaintext that is sealed as a reading key."""
    return _plaintext(SealedKind.READING_KEY, repository_id, key.key_id, {"secret": key.secret_bytes()})


def read_index_bundle(plaintext: bytes, repository_id: RepositoryId) -> IndexKey:
    """The index key in an unsealed bundle; its own repository id must be the expected one."""
    fields = _fields(plaintext, SealedKind.INDEX_BUNDLE, repository_id, bundle_id(repository_id))
    ledger, reading = items(fields, "ledger", bytes), items(fields, "reading", bytes)
    if len(ledger) != 1 or len(reading) != 1:
        # The repository id binds the first reading key alone: whoever stole the id secret could add one of his own.
        raise UnsupportedFormat("the repository's keys were rotated; a newer chunkstore is needed")
    key = IndexKey(fixed_bytes(fields, "id", SECRET_SIZE), ledger, reading)
    if key.repository_id != repository_id:
        raise Damaged("the index bundle belongs to another repository")
    return key


def read_reading_key(plaintext: bytes, repository_id: RepositoryId, key_id: bytes) -> ReadingKey:
    """The reading key in an unsealed message; it must be the one of `key_id`."""
    fields = _fields(plaintext, SealedKind.READING_KEY, repository_id, key_id)
    key = ReadingKey(fixed_bytes(fields, "secret", SECRET_SIZE))
    if key.key_id != key_id:
        raise Damaged("the sealed reading key is another one than it claims to be")
    return key


def _plaintext(kind: SealedKind, repository_id: RepositoryId, key_id: bytes, fields: object) -> bytes:
    return _PLAIN.pack(_PLAIN_MAGIC, kind, repository_id, key_id) + pack(fields)


def _fields(plaintext: bytes, kind: SealedKind, repository_id: RepositoryId, key_id: bytes) -> dict[str, object]:
    expected = _PLAIN.pack(_PLAIN_MAGIC, kind, repository_id, key_id)
    if plaintext[: _PLAIN.size] != expected:
        raise Damaged("a sealed key holds something else than it must")
    return unpack_fields(plaintext[_PLAIN.size :])
