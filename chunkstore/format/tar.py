"""Headers of tar archives: POSIX pax, as GNU tar, bsdtar and Python read it.

| block | what |
|---|---|
| `x` header and records | only where needed: what the next header has no room for, `LENGTH KEY=VALUE\\n` each |
| header, 512 bytes | name 100, mode 8, uid 8, gid 8, size 12, mtime 12, sum 8, type 1, link 100, `ustar\\0` `00`, user 32, group 32, major 8, minor 8, prefix 155; numbers are octal |
| content | padded with zeros to 512 bytes |
| end | two blocks of zeros, the archive padded to 10,240 bytes |

Records: `path`, `linkpath`, `size`, `uid`, `gid`, `uname`, `gname` where they do not fit, `mtime` and `atime` with
nanoseconds, `hdrcharset=BINARY` before names that are no UTF-8, `SCHILY.xattr.NAME`, `SCHILY.acl.access` and
`SCHILY.acl.default` (as text), and for sparse files `GNU.sparse.*` of version 1.0: their content begins with a map.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

BLOCK = 512
RECORD = 20 * BLOCK
END = bytes(2 * BLOCK)

FILE_TYPE, LINK_TYPE, SYMLINK_TYPE, CHARACTER_TYPE = b"0", b"1", b"2", b"3"
BLOCK_TYPE, DIRECTORY_TYPE, FIFO_TYPE, _RECORDS_TYPE = b"4", b"5", b"6", b"x"

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_SUM_AT = 148
_ACLS = {b"system.posix_acl_access": b"SCHILY.acl.access", b"system.posix_acl_default": b"SCHILY.acl.default"}
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_VERSION = b"\x02\0\0\0"
_ACL_TAGS = {1: b"user", 2: b"user", 4: b"group", 8: b"group", 16: b"mask", 32: b"other"}
_ACL_NAMED = frozenset({2, 8})


@dataclass(frozen=True, slots=True)
class Member:
    """What a header says. `size` is that of the content as it follows, `mtime_ns` and `atime_ns` are since 1970."""

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    user: bytes
    group: bytes
    mtime_ns: int
    size: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    atime_ns: int | None = None
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    more: Mapping[bytes, bytes] = field(default_factory=dict)


def padding(size: int) -> bytes:
    """What follows content of this size."""
    return bytes(-size % BLOCK)


def encode_member(member: Member) -> bytes:
    """The header of a member, with its records before it. `ValueError` for device numbers that no header holds."""
    if max(member.device) >= 8**7:
        raise ValueError("device numbers too large for a tar archive")
    records = b"".join(_records(member))
    header = _header(member)
    if not records:
        return header
    name = b"PaxHeaders.0/" + member.name.rstrip(b"/").rpartition(b"/")[2]
    before = Member(name, _RECORDS_TYPE, 0o644, 0, 0, b"", b"", 0, len(records))
    return _header(before) + records + padding(len(records)) + header


def encode_sparse(member: Member, extents: list[list[int]], size: int) -> tuple[bytes, int]:
    """(header and map of a sparse file of `size` bytes, bytes that the content has before its padding is counted).

    The data of the extents, one after the other, follow. Readers that know nothing of it find the map and the data
    under a name that tells.
    """
    extents = [*extents, [size, 0]] if not extents or sum(extents[-1]) < size else extents
    numbers = [len(extents), *(number for each in extents for number in each)]
    mapped = b"".join(b"%d\n" % number for number in numbers)
    mapped += padding(len(mapped))
    stored = len(mapped) + sum(length for _, length in extents)
    more = {b"major": b"1", b"minor": b"0", b"name": member.name, b"realsize": b"%d" % size}
    parent, slash, name = member.name.rpartition(b"/")
    sparse = replace(
        member,
        name=parent + slash + b"GNUSparseFile.0/" + name,
        size=stored,
        more={b"GNU.sparse." + key: value for key, value in more.items()},
    )
    return encode_member(sparse) + mapped, stored


def _header(member: Member) -> bytes:
    """The block itself; what does not fit stands in it cut short, or as 0."""
    seconds, _ = divmod(member.mtime_ns, 10**9)
    header = bytearray(
        _HEADER.pack(
            member.name[:100],
            _octal(member.mode, 8),
            _octal(member.uid, 8),
            _octal(member.gid, 8),
            _octal(member.size, 12),
            _octal(seconds, 12),
            b" " * 8,
            member.type,
            member.link[:100],
            b"ustar\x0000",
            member.user[:31],
            member.group[:31],
            _octal(member.device[0], 8),
            _octal(member.device[1], 8),
            b"",
        )
    )
    header[_SUM_AT : _SUM_AT + 8] = b"%06o\0 " % sum(header)
    return bytes(header)


def _octal(number: int, width: int) -> bytes:
    return b"%0*o" % (width - 1, number if _fits(number, width) else 0)


def _fits(number: int, width: int) -> bool:
    return 0 <= number < 1 << 3 * (width - 1)


def _records(member: Member) -> Iterator[bytes]:
    names = [(b"path", member.name, 100), (b"linkpath", member.link, 100)]
    names += [(b"uname", member.user, 31), (b"gname", member.group, 31)]
    needed = [(key, value) for key, value, room in names if len(value) > room or not value.isascii()]
    sparse = member.more.get(b"GNU.sparse.name", b"")
    if not all(map(_is_text, [sparse, *(value for _, value in needed)])):
        yield _record(b"hdrcharset", b"BINARY")
    for key, value in needed:
        yield _record(key, value)
    for key, number, width in ((b"uid", member.uid, 8), (b"gid", member.gid, 8), (b"size", member.size, 12)):
        if not _fits(number, width):
            yield _record(key, b"%d" % number)
    seconds, rest = divmod(member.mtime_ns, 10**9)
    if rest or not _fits(seconds, 12):
        yield _record(b"mtime", _decimal(member.mtime_ns))
    if member.atime_ns is not None:
        yield _record(b"atime", _decimal(member.atime_ns))
    for key, value in member.more.items():
        yield _record(key, value)
    for key, value in member.xattrs.items():
        if key in _ACLS and (text := acl_text(value)):
            yield _record(_ACLS[key], text)
        yield _record(b"SCHILY.xattr." + key.replace(b"%", b"%25").replace(b"=", b"%3D"), value)


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _record(key: bytes, value: bytes) -> bytes:
    """A record says its own length, the digits of that included."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _decimal(time_ns: int) -> bytes:
    seconds, rest = divmod(abs(time_ns), 10**9)
    return b"%s%d.%09d" % (b"-" if time_ns < 0 else b"", seconds, rest)


def acl_text(value: bytes) -> bytes:
    """A POSIX ACL, as Linux keeps it in an attribute, as lines of text with numbers for names; nothing for another."""
    body = value[len(_ACL_VERSION) :]
    if value[: len(_ACL_VERSION)] != _ACL_VERSION or not body or len(body) % _ACL_ENTRY.size:
        return b""
    lines = []
    for tag, rights, number in _ACL_ENTRY.iter_unpack(body):
        if tag not in _ACL_TAGS or rights > 7:
            return b""
        who = b"%d" % number if tag in _ACL_NAMED else b""
        letters = bytes(letter if rights & bit else ord("-") for bit, letter in zip((4, 2, 1), b"rwx", strict=True))
        lines.append(b"%b:%b:%b\n" % (_ACL_TAGS[tag], who, letters))
    return b"".join(lines)
