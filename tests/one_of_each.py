"""A tree in which everything is there to be changed or exported, and what tools that are not ours say of a tree."""

from __future__ import annotations

import os
import stat
import subprocess
from fcntl import ioctl
from pathlib import Path

from tests.trees import IS_ROOT, age, noise, plant

HOLE = 300_000
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
NODUMP, NOATIME = 0x40, 0x80


def one_of_each(root: Path) -> None:
    """Plant it; as root with owners, devices and attributes that only root can set."""
    plant(
        root,
        {
            b"plain": noise(60_000),
            b"hard": {b"first": noise(30_000, 3), b"sub": {}},
            b"xattrs": b"attributes",
            b"acl": b"rights",
            b"inherited": {},
            b"flags": b"flags",
            b"empty": b"",
            b"name \xff\xfe\n": b"bytes",
            b"caf\xc3\xa9": b"text",
            b"symlink": "hard/first",
            b"special mode": b"#!",
            b"sticky": {},
            b"deep" * 40: {b"deeper" * 30: {b"file": b"a long path"}},
            b"long link": "t" * 900,
        },
    )
    os.link(root / "hard" / "first", root / "hard" / "sub" / "second")
    os.link(root / "symlink", root / "second symlink", follow_symlinks=False)
    os.mkfifo(root / "fifo", 0o640)
    sparse(root / "sparse")
    with (root / "only a hole").open("wb") as file:
        file.truncate(HOLE)
    os.setxattr(root / "xattrs", b"user.text", b"value")
    os.setxattr(root / "xattrs", b"user.b=n\xffry%", bytes(range(256)))
    os.setxattr(root / "xattrs", b"user.none", b"")
    os.setxattr(root / "inherited", b"user.directory", b"of a directory")
    acl("-m", "u:1234:rw,g:4321:r", root / "acl")
    acl("-d", "-m", "u:1234:rwx", root / "inherited")
    set_flags(root / "flags", NODUMP)
    os.chmod(root / "special mode", 0o6755)
    os.chmod(root / "sticky", 0o1777)
    if IS_ROOT:
        _of_root(root)
    age(root)


def _of_root(root: Path) -> None:
    os.mknod(root / "character", 0o600 | stat.S_IFCHR, os.makedev(7, 300))
    os.mknod(root / "block", 0o660 | stat.S_IFBLK, os.makedev(1, 2))
    os.setxattr(root / "symlink", b"trusted.of", b"a link", follow_symlinks=False)
    os.setxattr(root / "plain", b"trusted.of", b"a file")
    os.chown(root / "empty", 3_000_000, 4_000_000)
    os.chown(root / "long link", 12, 34, follow_symlinks=False)


def sparse(path: Path, size: int = 3 * HOLE + 5) -> None:
    """Data between holes, at the beginning and at the end."""
    with path.open("wb") as file:
        file.truncate(size)
        file.write(noise(5_000, 5))
        file.seek(HOLE)
        file.write(noise(70_000, 6))
        file.seek(size - 3)
        file.write(b"end")


def acl(*arguments: str | Path) -> None:
    subprocess.run(["setfacl", *arguments], check=True)


def get_flags(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(ioctl(file, _GET_FLAGS, b"\0" * 8)[:4], "little")


def set_flags(path: Path, flags: int) -> None:
    """Where the file system has them."""
    with path.open("rb") as file:
        try:
            before = int.from_bytes(ioctl(file, _GET_FLAGS, b"\0" * 8)[:4], "little")
            ioctl(file, _SET_FLAGS, (before & ~(NODUMP | NOATIME) | flags).to_bytes(8, "little"))
        except OSError:
            return


def listing(root: Path) -> str:
    """What `find`, `getfattr` and `getfacl` say of everything in a tree: all but content, holes and inode flags."""
    formats = r"%P|%y %#m %U %G %T@ %n %l\0"
    tools = (
        (["find", ".", "-type", "d", "-printf", formats.replace(" %n", "")], b"\0"),
        (["find", ".", "!", "-type", "d", "-printf", formats], b"\0"),
        (["getfattr", "-Rhd", "-m", "-", "-e", "hex", "."], b"\n\n"),
        (["getfacl", "-Rn", "."], b"\n\n"),
    )
    said = [(subprocess.run(tool, cwd=root, check=True, capture_output=True).stdout, end) for tool, end in tools]
    return "\n".join(ascii(line) for text, end in said for line in sorted(text.split(end)))


def rsync_differences(one: Path, other: Path) -> str:
    """What `rsync` would change to make `other` like `one`; content, links, attributes and rights included."""
    command = ["rsync", "-naHAXi", "--delete", "--checksum", "--numeric-ids", f"{one}/", f"{other}/"]
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout
