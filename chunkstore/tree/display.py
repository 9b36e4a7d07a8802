"""Paths as text that is safe to show and loses nothing."""

from __future__ import annotations

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def display_path(path: bytes) -> str:
    """`path` for messages and terminals: whatever is not printable stands as a backslash escape.

    Bytes that are no UTF-8 become `\\xNN`, characters that a terminal could obey or hide `\\n`, `\\xNN`, `\\uNNNN` or
    `\\UNNNNNNNN`, a backslash `\\\\`. Different paths never look the same to a program that undoes the escapes.
    """
    text = path.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the low byte is the byte that is no UTF-8
        return f"\\x{code & 0xFF:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
