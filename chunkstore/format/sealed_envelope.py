"""Keys sealed to the recipients, as they are stored: an OpenPGP message in an envelope of ours (`keys/<key id>.<n>`).

Not secret; protected by the message itself:

| bytes | what |
|---|---|
| 44 | prefix (see `kinds`), kind 3 |
| 1 | what is sealed: 1 index bundle, 2 reading key |
| 16 | key id: of the reading key; of an index bundle the first 16 bytes of the repository id |
| 4 | length of the message, big-endian |
| n | OpenPGP message (binary) |
| p | zero padding to a multiple of 4 KiB |
| 32 | SHA-256 of all before it |

What is in the message is the matter of `sealed_keys`, which whoever only looks whether the object is whole does not reach.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from chunkstore.errors import Damaged
from chunkstore.format.kinds import PREFIX, ObjectKind, check_prefix, prefix
from chunkstore.format.wire import Buffer
from chunkstore.ids import RepositoryId
from chunkstore.keys.derivation import IndexKey
from chunkstore.keys.sealing import reading_key_id

KEY_ID_SIZE = 16
HEAD = struct.Struct(">B16sI")


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
    body += HEAD.pack(sealed.kind, sealed.key_id, len(sealed.message)) + sealed.message
    body += bytes(-(len(body) + 32) % 4096)
    return body + hashlib.sha256(body).digest()


def decode(data: Buffer, name: str, repository_id: RepositoryId) -> SealedKey:
    """The sealed key stored as `name`; `Damaged` for any byte that is not as written."""
    data = bytes(data)
    check_prefix(data, name, (ObjectKind.SEALED_KEY,), repository_id)
    if hashlib.sha256(data[:-32]).digest() != data[-32:] or len(data) < PREFIX.size + HEAD.size + 32:
        raise Damaged("its checksum does not match", name)
    kind, key_id, length = HEAD.unpack_from(data, PREFIX.size)
    at = PREFIX.size + HEAD.size
    if kind not in (SealedKind.INDEX_BUNDLE, SealedKind.READING_KEY) or at + length > len(data) - 32:
        raise Damaged("is malformed", name)
    return SealedKey(SealedKind(kind), key_id, data[at : at + length])
