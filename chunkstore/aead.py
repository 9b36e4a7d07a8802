"""Sealed frames: AES-256-GCM over one payload. Pure.

| bytes | what |
|---|---|
| 12 | nonce, random |
| n | ciphertext |
| 16 | tag |

AAD: `CSFRAME1`, repository id (32), key id (16), kind (1), raw length (4, big-endian). A frame is not bound to a pack
or a position, so that it can be copied; the authenticated index binds it to a pack's name.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chunkstore.errors import Damaged
from chunkstore.ids import RandomBytes, RepositoryId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.keys.sealing import FrameKey

NONCE_SIZE = 12
TAG_SIZE = 16
OVERHEAD = NONCE_SIZE + TAG_SIZE
_MAGIC = b"CSFRAME1"
_LENGTH = struct.Struct(">BI")


def _aad(repository_id: RepositoryId, key: FrameKey, kind: ChunkKind, raw_length: int) -> bytes:
    return _MAGIC + repository_id + key.key_id + _LENGTH.pack(kind, raw_length)


def seal_frame(
    payload: memoryview,
    key: FrameKey,
    repository_id: RepositoryId,
    kind: ChunkKind,
    raw_length: int,
    random_bytes: RandomBytes,
) -> bytearray:
    """The stored bytes of one frame whose uncompressed length is `raw_length`."""
    nonce = random_bytes(NONCE_SIZE)
    out = bytearray(len(payload) + OVERHEAD)
    out[:NONCE_SIZE] = nonce
    aad = _aad(repository_id, key, kind, raw_length)
    AESGCM(key.key).encrypt_into(nonce, payload, aad, memoryview(out)[NONCE_SIZE:])
    return out


def open_frame(
    stored: memoryview,
    key: FrameKey,
    repository_id: RepositoryId,
    kind: ChunkKind,
    raw_length: int,
    into: bytearray,
) -> memoryview:
    """The payload, as a view of `into` (at least as long as `stored`). `Damaged` unless it is authentic."""
    size = len(stored) - OVERHEAD
    if size < 1 or size > len(into):
        raise Damaged("frame is too short or too long")
    out = memoryview(into)[:size]
    aad = _aad(repository_id, key, kind, raw_length)
    try:
        AESGCM(key.key).decrypt_into(stored[:NONCE_SIZE], stored[NONCE_SIZE:], aad, out)
    except InvalidTag as e:
        raise Damaged("frame is not authentic") from e
    return out
