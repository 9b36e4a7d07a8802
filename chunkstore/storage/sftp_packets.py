"""The bytes of SFTP version 3 (draft-ietf-secsh-filexfer-02), as much of it as a storage needs.

    uint32 length of what follows | byte kind | uint32 number of the request | fields
    string: uint32 length, bytes            attributes: uint32 flags, then the fields whose flag is set

Everything here comes from a server that is not trusted: what does not fit is Garbled.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

VERSION: Final = 3
HEADER: Final = struct.Struct(">IB")
MOST_BYTES: Final = 1 << 20
"""Longer packets are refused: answers have at most what was asked for, and lists of names are far shorter."""

READ, WRITE, CREATE, EXCLUSIVE = 0x01, 0x02, 0x08, 0x20

_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_SIZE, _OWNER, _MODE, _TIMES, _EXTENDED = 0x01, 0x02, 0x04, 0x08, 0x80000000


class Kind(IntEnum):
    """What a packet is."""

    INIT, VERSION, OPEN, CLOSE, READ, WRITE = 1, 2, 3, 4, 5, 6
    LSTAT, FSTAT, OPENDIR, READDIR, REMOVE, MKDIR = 7, 8, 11, 12, 13, 14
    STAT, RENAME = 17, 18
    STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
    EXTENDED, EXTENDED_REPLY = 200, 201


class Status(IntEnum):
    """How a request ended. Those above 8 are of later versions; some servers use them all the same."""

    OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = 0, 1, 2, 3, 4
    BAD_MESSAGE, NO_CONNECTION, CONNECTION_LOST, UNSUPPORTED = 5, 6, 7, 8
    NO_SUCH_PATH, EXISTS, READ_ONLY, NO_SPACE, OVER_QUOTA = 10, 11, 12, 14, 15


class Garbled(Exception):
    """The server sent what is not SFTP."""


class Refused(Exception):
    """The server answered that it did not do it. `text` is what it says itself."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def missing(self) -> bool:
        """There is no such file, or what should be a directory above it is none."""
        return self.code in (Status.NO_SUCH_FILE, Status.NO_SUCH_PATH)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a server says about a file; None where it says nothing."""

    size: int | None
    mode: int | None
    modified: int | None
    """Seconds since 1970 by the server's clock."""

    @property
    def is_file(self) -> bool:
        return self.mode is not None and stat.S_ISREG(self.mode)

    @property
    def is_directory(self) -> bool:
        return self.mode is not None and stat.S_ISDIR(self.mode)

    @property
    def is_final(self) -> bool:
        """Whether this is a file or a directory itself, neither a link nor unknown."""
        return self.is_file or self.is_directory


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory."""

    name: bytes
    attributes: Attributes


class Fields:
    """Takes the fields of a packet one by one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def u32(self) -> int:
        return int(self._unpack(_U32))

    def u64(self) -> int:
        return int(self._unpack(_U64))

    def string(self) -> bytes:
        end = self.u32() + self._at
        if end > len(self._data):
            raise Garbled("a field is longer than its packet")
        text = self._data[self._at : end]
        self._at = end
        return text

    def attributes(self) -> Attributes:
        flags = self.u32()
        size = self.u64() if flags & _SIZE else None
        if flags & _OWNER:
            self.u64()
        mode = self.u32() if flags & _MODE else None
        modified = None
        if flags & _TIMES:
            self.u32()  # when it was read last
            modified = self.u32()
        if flags & _EXTENDED:
            for _ in range(self.u32()):
                self.string(), self.string()
        return Attributes(size, mode, modified)

    def entries(self) -> Iterator[Entry]:
        """What a list of names holds."""
        for _ in range(self.u32()):
            name = self.string()
            self.string()  # a line as `ls -l` has it
            yield Entry(name, self.attributes())

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Strings two by two up to the end."""
        while self._at < len(self._data):
            yield self.string(), self.string()

    def refusal(self) -> Refused | None:
        """None when the status is OK."""
        code = self.u32()
        if code == Status.OK:
            return None
        # Some servers leave the text out. It is shown to people: printable ASCII alone, not too much of it.
        text = self.string() if self._at < len(self._data) else b""
        shown = "".join(chr(byte) for byte in text[:200] if 32 <= byte < 127)
        return Refused(code, shown or f"status {code}")

    def _unpack(self, form: struct.Struct) -> int:
        try:
            (value,) = form.unpack_from(self._data, self._at)
        except struct.error as error:
            raise Garbled("a packet is too short") from error
        self._at += form.size
        return int(value)


def string(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def u32(value: int) -> bytes:
    return _U32.pack(value)


def u64(value: int) -> bytes:
    return _U64.pack(value)


def mode_attributes(mode: int) -> bytes:
    """Attributes that have permissions only."""
    return _U32.pack(_MODE) + _U32.pack(mode)


NO_ATTRIBUTES: Final = _U32.pack(0)
