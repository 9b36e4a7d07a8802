"""The index key and everything that is derived from it.

KDF: HKDF-SHA256 (RFC 5869), salt `chunkstore/1`, info = a label per use and, where given, what it is bound to.

| secret | label | length | use |
|---|---|---|---|
| id secret | `repository id` + first reading public key | 32 | repository id, shown as its fingerprint |
| id secret | `chunk id content`, `chunk id manifest`, `chunk id reference` | 32 | BLAKE3 keys of chunk ids |
| id secret | `chunker seed` | 8 | 63 bits, never 0 |
| id secret | `segment cut` | 32 | key of the hash that ends manifest segments |
| ledger secret g | `ledger root` | 32 | root of all ledger object keys of generation g |
| ledger secret g | `ledger key id` | 8 | names the generation in headers |
| ledger root | `ledger object` + salt | 64 | key and commitment of one ledger object |
| ledger root | `reference frames` + salt | 48 | key and key id of the reference frames of one run |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

from blake3 import blake3
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chunkstore.errors import Damaged
from chunkstore.ids import ID_SIZE, ChunkId, RandomBytes, RepositoryId

SALT = b"chunkstore/1"
SECRET_SIZE = 32
LEDGER_KEY_ID_SIZE = 8
SALT_SIZE = 32


class ChunkKind(IntEnum):
    """What a chunk is a piece of; each kind has ids of its own."""

    CONTENT = 1
    MANIFEST = 2
    REFERENCE = 3


def derive(secret: bytes, label: bytes, length: int, bound_to: bytes = b"") -> bytes:
    """`length` bytes for one use of `secret`."""
    return HKDF(algorithm=SHA256(), length=length, salt=SALT, info=label + b"\0" + bound_to).derive(secret)


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Key of one ledger object and the commitment to it that its header carries (32 bytes each)."""

    key: bytes = field(repr=False)
    commitment: bytes


@dataclass(frozen=True)
class LedgerGeneration:
    """One ledger secret and what follows from it."""

    secret: bytes = field(repr=False)

    @cached_property
    def key_id(self) -> bytes:
        return derive(self.secret, b"ledger key id", LEDGER_KEY_ID_SIZE)

    @cached_property
    def _root(self) -> bytes:
        return derive(self.secret, b"ledger root", 32)

    def object_key(self, salt: bytes) -> ObjectKey:
        """The key of the one ledger object that carries this salt (32 random bytes)."""
        both = derive(self._root, b"ledger object", 64, salt)
        return ObjectKey(both[:32], both[32:])

    def reference_frame_key(self, salt: bytes) -> tuple[bytes, bytes]:
        """(key, key id) of the reference frames whose pack slot carries this salt: 32 and 16 bytes."""
        both = derive(self._root, b"reference frames", 48, salt)
        return both[:32], both[32:]


@dataclass(frozen=True)
class IndexKey:
    """The symmetric secrets that every client holds: enough to deduplicate and prune, not to read.

    `ledger_secrets` are in order of generation, the newest last; `reading_keys` are the 32-byte X25519 public keys,
    the newest last.
    """

    id_secret: bytes = field(repr=False)
    ledger_secrets: tuple[bytes, ...] = field(repr=False)
    reading_keys: tuple[bytes, ...]

    def __post_init__(self) -> None:
        secrets = (self.id_secret, *self.ledger_secrets, *self.reading_keys)
        if not self.ledger_secrets or not self.reading_keys or any(len(s) != SECRET_SIZE for s in secrets):
            raise Damaged("index key is incomplete")

    @classmethod
    def generate(cls, reading_key: bytes, random_bytes: RandomBytes) -> IndexKey:
        """New secrets for a new repository."""
        return cls(random_bytes(SECRET_SIZE), (random_bytes(SECRET_SIZE),), (reading_key,))

    @cached_property
    def repository_id(self) -> RepositoryId:
        return RepositoryId(derive(self.id_secret, b"repository id", ID_SIZE, self.reading_keys[0]))

    @cached_property
    def chunk_id_keys(self) -> dict[ChunkKind, bytes]:
        """The BLAKE3 key of each kind."""
        return {kind: derive(self.id_secret, f"chunk id {kind.name.lower()}".encode(), 32) for kind in ChunkKind}

    @cached_property
    def chunker_seed(self) -> int:
        """63 bits, never 0."""
        return int.from_bytes(derive(self.id_secret, b"chunker seed", 8), "big") >> 1 or 1

    @cached_property
    def segment_cut_key(self) -> bytes:
        return derive(self.id_secret, b"segment cut", 32)

    @cached_property
    def generations(self) -> tuple[LedgerGeneration, ...]:
        return tuple(LedgerGeneration(secret) for secret in self.ledger_secrets)

    @property
    def newest_generation(self) -> LedgerGeneration:
        return self.generations[-1]

    def generation(self, key_id: bytes) -> LedgerGeneration:
        """The generation of this key id; `Damaged` when it is not one of ours."""
        for generation in self.generations:
            if generation.key_id == key_id:
                return generation
        raise Damaged("written under an index key that this client does not have")

    def chunk_id(self, kind: ChunkKind, data: bytes | bytearray | memoryview) -> ChunkId:
        """The id of a chunk of this kind."""
        return ChunkId(blake3(data, key=self.chunk_id_keys[kind]).digest())
