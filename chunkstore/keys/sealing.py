"""The Sealer: the half of the content plane's lock that every client has.

A data key is a random AES-256 key of one run. The `Sealer` makes data keys and seals them to the reading public key
with HPKE (RFC 9180; DHKEM X25519 HKDF-SHA256, HKDF-SHA256, AES-256-GCM); it can not open what it sealed. What opens
is in `opening`, which nothing that makes a snapshot imports: a failing test, not a habit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from chunkstore.ids import RandomBytes, RepositoryId

DATA_KEY_ID_SIZE = 16
READING_KEY_ID_SIZE = 16
SEALED_DATA_KEY_SIZE = 80
DATA_KEY_LABEL = b"chunkstore/1 data key\0"
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class FrameKey:
    """A key that seals frames, and the 16-byte id that frames are bound to."""

    key_id: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealedDataKey:
    """A data key as it is stored: who opens it, its id, and 80 bytes of HPKE."""

    reading_key_id: bytes
    key_id: bytes
    sealed: bytes


def reading_key_id(public_key: bytes) -> bytes:
    """The 16-byte name of a reading key."""
    return hashlib.sha256(b"chunkstore/1 reading key\0" + public_key).digest()[:READING_KEY_ID_SIZE]


def data_key_id(key: bytes) -> bytes:
    """The 16-byte name of a data key, which its frames are bound to."""
    return hashlib.sha256(b"chunkstore/1 data key id\0" + key).digest()[:DATA_KEY_ID_SIZE]


class Sealer:
    """Makes data keys that only the holder of the newest reading key can open again."""

    def __init__(self, reading_key: bytes, repository_id: RepositoryId, random_bytes: RandomBytes) -> None:
        self._public = X25519PublicKey.from_public_bytes(reading_key)
        self._reading_key_id = reading_key_id(reading_key)
        self._info = DATA_KEY_LABEL + repository_id
        self._random_bytes = random_bytes

    def new_data_key(self) -> tuple[FrameKey, SealedDataKey]:
        """A fresh data key: to be used now and forgotten, and as it is to be stored."""
        key = self._random_bytes(32)
        key_id = data_key_id(key)
        sealed = SUITE.encrypt(key, self._public, info=self._info)
        return FrameKey(key_id, key), SealedDataKey(self._reading_key_id, key_id, sealed)
