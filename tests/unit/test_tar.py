"""Headers of tar archives, as Python's tarfile reads them."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace

import pytest

from chunkstore.format import tar

PLAIN = tar.Member(b"name", tar.FILE_TYPE, 0o644, 1, 2, b"user", b"group", 10**18)


def read(data: bytes) -> tarfile.TarInfo:
    """The first member. Content that is announced need not be there."""
    with tarfile.open(fileobj=io.BytesIO(data + bytes(tar.RECORD)), mode="r|") as archive:
        member = archive.next()
    assert member is not None
    return member


def test_a_plain_member_takes_one_block() -> None:
    header = tar.encode_member(PLAIN)
    assert len(header) == tar.BLOCK
    found = read(header)
    assert (found.name, found.mode, found.uid, found.gid, found.uname, found.gname, found.mtime) == (
        "name", 0o644, 1, 2, "user", "group", 10**9,
    )  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 9 << 30, 1 << 60])
def test_sizes(size: int) -> None:
    assert read(tar.encode_member(replace(PLAIN, size=size))).size == size


@pytest.mark.parametrize("number", [0, 8**7 - 1, 8**7, 2**32 - 1])
def test_owners(number: int) -> None:
    found = read(tar.encode_member(replace(PLAIN, uid=number, gid=number)))
    assert (found.uid, found.gid) == (number, number)


@pytest.mark.parametrize(
    ("time_ns", "said"),
    [
        (5 * 10**9, None),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.500000000"),
        (-(10**9), "-1.000000000"),
        (8**11 * 10**9, "8589934592.000000000"),
        (1_700_000_000_123_456_789, "1700000000.123456789"),
    ],
)
def test_times(time_ns: int, said: str | None) -> None:
    assert read(tar.encode_member(replace(PLAIN, mtime_ns=time_ns))).pax_headers.get("mtime") == said
    assert read(tar.encode_member(replace(PLAIN, atime_ns=3))).pax_headers["atime"] == "0.000000003"


@pytest.mark.parametrize("name", [b"a" * 100, b"a" * 101, b"d/" * 500 + b"n", b"caf\xc3\xa9", b"\xff\xfe", b"\n= \\"])
def test_names_and_targets(name: bytes) -> None:
    found = read(tar.encode_member(replace(PLAIN, name=name, type=tar.SYMLINK_TYPE, link=name + b"!")))
    assert (os.fsencode(found.name), os.fsencode(found.linkname)) == (name, name + b"!")


@pytest.mark.parametrize("name", [b"u" * 31, b"u" * 32, b"u" * 300, "jürgen".encode()])
def test_names_of_owners(name: bytes) -> None:
    found = read(tar.encode_member(replace(PLAIN, user=name, group=name + b"s")))
    assert (found.uname.encode(), found.gname.encode()) == (name, name + b"s")


@pytest.mark.parametrize("size", [0, 1, *range(70, 100), 970, 971, 972, 973, 980, 9_970, 70_000])
def test_attributes_of_every_length(size: int) -> None:
    """A record counts the digits of its own length."""
    xattrs = {b"user.x": os.urandom(size), b"user.a=%b": b"=\n"}
    found = read(tar.encode_member(replace(PLAIN, xattrs=xattrs))).pax_headers
    assert os.fsencode(found["SCHILY.xattr.user.x"]) == xattrs[b"user.x"]
    assert found["SCHILY.xattr.user.a%3D%25b"] == "=\n"


def test_acls_are_text_as_well() -> None:
    acl = bytes.fromhex(
        "02000000" "01000600ffffffff" "02000600d2040000" "04000400ffffffff" "08000100e1100000" "10000700ffffffff"
        "20000000ffffffff"
    )  # fmt: skip
    text = b"user::rw-\nuser:1234:rw-\ngroup::r--\ngroup:4321:--x\nmask::rwx\nother::---\n"
    assert tar.acl_text(acl) == text
    found = read(tar.encode_member(replace(PLAIN, xattrs={b"system.posix_acl_access": acl}))).pax_headers
    assert found["SCHILY.acl.access"] == text.decode()
    assert os.fsencode(found["SCHILY.xattr.system.posix_acl_access"]) == acl


@pytest.mark.parametrize(
    "acl", [b"", b"\2\0\0\0", b"\1\0\0\0" + bytes(8), b"\2\0\0\0" + bytes(7), b"\2\0\0\0" + b"\xff" * 8, b"\2\0\0\0\1\0\x08" + bytes(5)]
)  # fmt: skip
def test_what_is_no_acl_has_no_text(acl: bytes) -> None:
    assert tar.acl_text(acl) == b""


def test_devices() -> None:
    found = read(tar.encode_member(replace(PLAIN, type=tar.BLOCK_TYPE, device=(4095, 2**20 - 1))))
    assert (found.isblk(), found.devmajor, found.devminor) == (True, 4095, 2**20 - 1)
    with pytest.raises(ValueError, match="device numbers"):
        tar.encode_member(replace(PLAIN, type=tar.BLOCK_TYPE, device=(8**7, 0)))


@pytest.mark.parametrize(
    ("extents", "size"),
    [([], 10), ([[0, 5]], 5000), ([[4096, 100], [9 << 30, 1]], 10 << 30), ([[n * 8192, 4096] for n in range(300)], 1 << 22)],
)  # fmt: skip
def test_sparse_files(extents: list[list[int]], size: int) -> None:
    member = replace(PLAIN, name=b"d/caf\xff", xattrs={b"user.x": b"1"})
    header, stored = tar.encode_sparse(member, extents, size)
    mapped = [[offset, length] for offset, length in extents]
    data = b"".join(bytes([n % 251]) * length for n, (_, length) in enumerate(extents))
    with tarfile.open(fileobj=io.BytesIO(header + data + tar.padding(stored) + tar.END), mode="r:") as archive:
        (found,) = archive.getmembers()
        assert (os.fsencode(found.name), found.size) == (b"d/caf\xff", size)
        assert [list(each) for each in found.sparse if each[1]] == mapped  # type: ignore[attr-defined]
        content = archive.extractfile(found)
        assert content is not None
        for n, (offset, length) in enumerate(extents[:3]):
            content.seek(offset)
            assert content.read(length) == bytes([n % 251]) * length
