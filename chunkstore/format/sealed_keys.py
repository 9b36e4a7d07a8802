"""What the OpenPGP message of a sealed key holds (`sealed_envelope` has the object around it).

| bytes | what |
|---|---|
| 16 | magic `chunkstore key 1` |
| 1 | what it is, as in the envelope |
| 32 | repository id |
| 16 | key id |
| n | msgpack map: index bundle `id`, `ledger` (list), `reading` (list); reading key `secret` |

OpenPGP messages are malleable before their end is checked, and sealing proves nothing about who sealed: whoever opens
one believes it only when all fields are the expected ones.
"""

from __future__ import annotations

import struct

from chunkstore.errors import Damaged, UnsupportedFormat
from chunkstore.format.sealed_envelope import SealedKey as SealedKey
from chunkstore.format.sealed_envelope import SealedKind as SealedKind
from chunkstore.format.sealed_envelope import bundle_id as bundle_id
from chunkstore.format.sealed_envelope import decode as decode
from chunkstore.format.sealed_envelope import encode as encode
from chunkstore.format.sealed_envelope import newest_reading_key_id as newest_reading_key_id
from chunkstore.format.wire import fixed_bytes, items, pack, unpack_fields
from chunkstore.ids import RepositoryId
from chunkstore.keys.derivation import SECRET_SIZE, IndexKey
from chunkstore.keys.opening import ReadingKey

_PLAIN_MAGIC = b"chunkstore key 1"
_PLAIN = struct.Struct(">16sB32s16s")


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
