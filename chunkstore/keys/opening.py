"""The Opener: the half of the content plane's lock that only gpg gives out."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from chunkstore.errors import Damaged, NoUsableKey
from chunkstore.ids import RandomBytes, RepositoryId
from chunkstore.keys.sealing import DATA_KEY_LABEL, SUITE, FrameKey, SealedDataKey, data_key_id, reading_key_id


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
        try:
            return SUITE.decrypt(sealed, self._private, info=info)
        except InvalidTag:
            # What a signal's handler raises while this works comes out as InvalidTag, too. The same bytes open the second
            # time then, and the interrupt is not to be lost.
            SUITE.decrypt(sealed, self._private, info=info)
        raise KeyboardInterrupt


class Opener:
    """Opens data keys; made only from reading keys that gpg has unsealed."""

    def __init__(self, reading_keys: list[ReadingKey], repository_id: RepositoryId) -> None:
        self._keys = {key.key_id: key for key in reading_keys}
        self._info = DATA_KEY_LABEL + repository_id
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
        if len(key) != 32 or data_key_id(key) != data_key.key_id:
            raise Damaged("a sealed data key is not the one it claims to be")
        opened = FrameKey(data_key.key_id, key)
        self._opened[data_key.key_id] = opened
        return opened
