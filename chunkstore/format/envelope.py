"""The envelope of ledger objects: what the index key opens.

| bytes | what |
|---|---|
| 44 | prefix (see `kinds`) |
| 8 | ledger key id |
| 32 | random salt |
| 32 | commitment to the key |
| n | AES-256-GCM ciphertext, nonce 0: the key is used once |
| 16 | tag |

Key and commitment: HKDF(ledger root, label + salt). AAD: the 116 header bytes and the name of the object in the
storage. Plaintext: length of the body (4, big-endian), one method byte and the body (`compression`), zero padding.
"""

from __future__ import annotations

import struct
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chunkstore.errors import Damaged, InvalidArgument
from chunkstore.format.kinds import PREFIX, ObjectKind, check_prefix, prefix
from chunkstore.format.padding import padding_size
from chunkstore.format.wire import Buffer
from chunkstore.ids import RandomBytes
from chunkstore.keys.derivation import LEDGER_KEY_ID_SIZE, SALT_SIZE, IndexKey

HEADER_SIZE = PREFIX.size + LEDGER_KEY_ID_SIZE + SALT_SIZE + 32
MAX_BODY: Final = 64 << 20
_NONCE = bytes(12)
_LENGTH = struct.Struct(">IB")


def seal(kind: ObjectKind, name: str, body: bytes, key: IndexKey, random_bytes: RandomBytes) -> bytes:
    """The stored bytes of the ledger object `name`; `InvalidArgument` for a body that nobody could read again."""
    if len(body) > MAX_BODY:
        raise InvalidArgument(f"{name} would have {len(body)} bytes, more than the {MAX_BODY} of a ledger object")
    generation = key.newest_generation
    salt = random_bytes(SALT_SIZE)
    object_key = generation.object_key(salt)
    header = prefix(kind, key.repository_id) + generation.key_id + salt + object_key.commitment
    packed = zstandard.ZstdCompressor(level=3, write_content_size=True).compress(body)
    smaller = len(packed) < len(body)
    plain = _LENGTH.pack(len(packed) if smaller else len(body), smaller) + (packed if smaller else body)
    plain += bytes(padding_size(len(header) + len(plain) + 16, random_bytes))
    return header + AESGCM(object_key.key).encrypt(_NONCE, plain, header + name.encode())


def unseal(data: Buffer, name: str, kinds: tuple[ObjectKind, ...], key: IndexKey) -> tuple[ObjectKind, bytes]:
    """(kind, body) of the ledger object `name`, which must be of one of `kinds`.

    Raises `Damaged` for anything that is not exactly what was sealed under this name, `UnsupportedFormat` for a newer
    version.
    """
    view = memoryview(data)
    kind = check_prefix(view, name, kinds, key.repository_id)
    if len(view) < HEADER_SIZE + 16 + _LENGTH.size:
        raise Damaged("is cut off", name)
    header = bytes(view[:HEADER_SIZE])
    at = PREFIX.size
    key_id, salt = header[at : at + 8], header[at + 8 : at + 8 + SALT_SIZE]
    try:
        object_key = key.generation(key_id).object_key(salt)
    except Damaged as e:
        raise Damaged(e.reason, name) from e
    if object_key.commitment != header[-32:]:
        raise Damaged("is not authentic", name)
    try:
        plain = AESGCM(object_key.key).decrypt(_NONCE, view[HEADER_SIZE:], header + name.encode())
    except InvalidTag as e:
        raise Damaged("is not authentic", name) from e
    return kind, _body(plain, name)


def _body(plain: bytes, name: str) -> bytes:
    length, method = _LENGTH.unpack_from(plain)
    body = plain[_LENGTH.size : _LENGTH.size + length]
    if len(body) != length or method not in (0, 1):
        raise Damaged("is malformed", name)
    if method == 0:
        return body
    try:
        if zstandard.frame_content_size(body) > MAX_BODY:
            raise Damaged("claims to be larger than any object may be", name)
        return zstandard.ZstdDecompressor().decompress(body)
    except zstandard.ZstdError as e:
        raise Damaged("is malformed", name) from e
