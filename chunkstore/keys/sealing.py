"""Sealer and Opener: the two halves of the content plane's lock.

A data key is a random AES-256 key of one run. The `Sealer` makes data keys and seals them to the reading public key
with HPKE (RFC 9180; DHKEM X25519 HKDF-SHA256, HKDF-SHA256, AES-256-GCM); it can not open what it sealed. The `Opener`
holds the reading secret keys. They share no code path: what is reachable from a `Sealer` can not read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from chunkstore.errors import Damaged, NoUsableKey
from chunkstore.ids import RandomBytes, RepositoryId

DATA_KEY_ID_SIZE = 16
READING_KEY_ID_SIZE = 16
SEALED_DATA_KEY_SIZE = 80
_LABEL = b"chunkstore/1 data key\0"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


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


def _data_key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"chunkstore/1 data key id\0" + key).digest()[:DATA_KEY_ID_SIZE]


class Sealer:
    """Makes data keys that only the holder of the newest reading key can open again."""

    def __init__(self, reading_key: bytes, repository_id: RepositoryId, random_bytes: RandomBytes) -> None:
        self._public = X25519PublicKey.from_public_bytes(reading_key)
        self._reading_key_id = reading_key_id(reading_key)
        self._info = _LABEL + repository_id
        self._random_bytes = random_bytes

    def new_data_key(self) -> tuple[FrameKey, SealedDataKey]:
        """A fresh data key: to be used now and forgotten, and as it is to be stored."""
        key = self._random_bytes(32)
        key_id = _data_key_id(key)
        sealed = _SUITE.encrypt(key, self._public, info=self._info)
        return FrameKey(key_id, key), SealedDataKey(self._reading_key_id, key_id, sealed)


class ReadingKey:
    """The secret half of a reading key. Exists in memory only while somebody reads."""

    __slots__ = ("_private", "public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise Damaged("a reading key is 32 bytes")
        self._private = X25519PrivateKey.from_private_bytes(secret)
        self.public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def generate(cls, random_bytes: RandomBytes) -> ReadingKey:
        return cls(random_bytes(32))

    @property
    def key_id(self) -> bytes:
        return reading_key_id(self.public)

    def secret_bytes(self) -> bytes:
        """The 32 secret bytes, for sealing them to recipients."""
        return self._private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """HPKE-open; `InvalidTag` when it was not sealed to this key."""
        return _SUITE.decrypt(sealed, self._private, info=info)


class Opener:
    """Opens data keys; made only from reading keys that gpg has unsealed."""

    def __init__(self, reading_keys: list[ReadingKey], repository_id: RepositoryId) -> None:
        self._keys = {key.key_id: key for key in reading_keys}
        self._info = _LABEL + repository_id
        self._opened: dict[bytes, FrameKey] = {}

    def open(self, data_key: SealedDataKey) -> FrameKey:
        """The data key. `NoUsableKey` for another reading key, `Damaged` when it is not authentic."""
        if known := self._opened.get(data_key.key_id):
            return known
        reading_key = self._keys.get(data_key.reading_key_id)
        if reading_key is None:
            raise NoUsableKey("the data was sealed to a reading key that has not been opened")
        try:
            key = reading_key.open(data_key.sealed, self._info)
        except (InvalidTag, ValueError) as e:
            raise Damaged("a sealed data key is not authentic") from e
        if len(key) != 32 or _data_key_id(key) != data_key.key_id:
            raise Damaged("a sealed data key is not the one it claims to be")
        opened = FrameKey(data_key.key_id, key)
        self._opened[data_key.key_id] = opened
        return opened
