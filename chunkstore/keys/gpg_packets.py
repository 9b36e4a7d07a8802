"""The outer shape of an OpenPGP message: to whom it is sealed, read without gpg and without any key.

A sealed message is exactly

    packet                                       tag   how often
    public-key encrypted session key (PKESK)     1     one for each recipient
    encrypted and integrity protected data       18    once, the last; its length ends the message
      or AEAD encrypted data (gpg 2.3 and later) 20

and nothing else: no passphrase slot (tag 3), no second message behind the first, no armor, no marker. What is
inside of the data packet is not looked at. RFC 4880, sections 4.2 (headers), 5.1 (PKESK), 5.13; AEAD: RFC 4880bis.

    PKESK: version (1, always 3), key id (8; all zero hides the recipient), algorithm (1), encrypted session key
"""

from __future__ import annotations

from collections.abc import Iterator

from chunkstore.errors import Damaged

_SESSION_KEY = 1
_DATA_TAGS = (18, 20)
_NEW_FORMAT = 0x40


def message_key_ids(message: bytes) -> list[str]:
    """The key ids (16 upper-case hex digits) that `message` is sealed to, in its order.

    Hidden recipients appear as zeros. Damaged unless `message` is exactly one sealed message.
    """
    key_ids: list[str] = []
    ended = False
    for tag, body in _packets(message):
        if ended:
            raise Damaged("something follows the sealed message")
        if tag == _SESSION_KEY:
            key_ids.append(_key_id(body))
        elif tag in _DATA_TAGS:
            ended = True
        else:
            raise Damaged(f"unexpected OpenPGP packet {tag} in a sealed message")
    if not ended or not key_ids:
        raise Damaged("not a message sealed to a GPG key")
    return key_ids


def key_id_of(fingerprint: str) -> str:
    """The 16 hex digits by which a message names the key of `fingerprint` (version 4: 40 digits, version 5: 64)."""
    return fingerprint[:16] if len(fingerprint) == 64 else fingerprint[-16:]


def _key_id(body: bytes) -> str:
    if len(body) < 11 or body[0] != 3:
        raise Damaged("unknown form of a sealed session key")
    return body[1:9].hex().upper()


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet; every byte of `data` belongs to one."""
    at = 0
    while at < len(data):
        header = data[at]
        if not header & 0x80:
            raise Damaged("not a binary OpenPGP message")
        if header & _NEW_FORMAT:
            tag = header & 0x3F
            body, at = _new_format_body(data, at + 1)
        else:
            tag = (header >> 2) & 0x0F
            body, at = _old_format_body(data, at + 1, header & 3)
        yield tag, body


def _old_format_body(data: bytes, at: int, length_type: int) -> tuple[bytes, int]:
    if length_type == 3:
        raise Damaged("an OpenPGP packet of unknown length")
    size = 1 << length_type
    return _take(data, at + size, int.from_bytes(_take(data, at, size)[0], "big"))


def _new_format_body(data: bytes, at: int) -> tuple[bytes, int]:
    pieces: list[bytes] = []
    partial = True
    while partial:
        length, partial, at = _new_format_length(data, at)
        piece, at = _take(data, at, length)
        pieces.append(piece)
    return b"".join(pieces), at


def _new_format_length(data: bytes, at: int) -> tuple[int, bool, int]:
    """Length, whether another piece follows, and where the piece begins."""
    first = _take(data, at, 1)[0][0]
    if first < 192:
        return first, False, at + 1
    if first < 224:
        second = _take(data, at + 1, 1)[0][0]
        return ((first - 192) << 8) + second + 192, False, at + 2
    if first < 255:
        return 1 << (first & 0x1F), True, at + 1
    return int.from_bytes(_take(data, at + 1, 4)[0], "big"), False, at + 5


def _take(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise Damaged("an OpenPGP message is cut off")
    return data[at : at + length], at + length
