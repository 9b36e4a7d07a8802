"""A tree with one of everything that a file system can hold, and independent programs that compare two of them."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
import subprocess
from pathlib import Path

IS_ROOT = os.geteuid() == 0
TOOLS = ("rsync", "getfacl", "setfacl", "getfattr", "setfattr", "lsattr", "chattr", "find")
_TIME = 1_111_111_111_123_456_789


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def plant(root: Path) -> None:
    """As much as who runs this may make. Root makes owners, devices, capabilities and immutable files as well."""
    root.mkdir()
    _files(root)
    _names(root)
    _links(root)
    _sparse(root)
    _attributes(root)
    _special(root)
    if os.geteuid() == 0:
        _of_root(root)
    _times(root)
    _seal(root)


def unseal(root: Path) -> None:
    """Take away what keeps a tree from being deleted."""
    if root.exists() and os.geteuid() == 0:
        subprocess.run(["chattr", "-R", "-f", "-i", "-a", root], check=False, capture_output=True)


def _files(root: Path) -> None:
    for size in (0, 1, 255, 256, 257, 4096, 16_384, 100_000):
        (root / f"size-{size}").write_bytes(os.urandom(size))
    for mode in (0o000, 0o400, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o1644, 0o6711):
        path = root / f"mode-{mode:04o}"
        path.write_bytes(b"mode")
        path.chmod(mode)
    (root / "empty directory").mkdir()
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "setgid").mkdir()
    (root / "setgid").chmod(0o2775)
    (root / "closed").mkdir()
    (root / "closed" / "inside").write_bytes(b"behind a closed door")


def _names(root: Path) -> None:
    place = os.fsencode(root / "names")
    os.mkdir(place)
    for name in (
        b"\xff\xfe not text",
        b"new\nline",
        b"-rf",
        b"back\\slash",
        b"a" * 255,
        b" ",
        "ü\u202e".encode(),
        b"*",
    ):
        with open(place + b"/" + name, "wb") as file:
            file.write(name)
        os.symlink(name, place + b"/L" + name[:200])


def _links(root: Path) -> None:
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "one").write_bytes(os.urandom(30_000))
    os.link(root / "deep" / "er" / "one", root / "deep" / "two")
    os.link(root / "deep" / "er" / "one", root / "a third name")
    (root / "link to nothing").symlink_to("nowhere/at/all")
    (root / "link to a directory").symlink_to("deep")
    (root / "link out").symlink_to("/etc")
    os.link(root / "link to nothing", root / "same link", follow_symlinks=False)


def _sparse(root: Path) -> None:
    for name, size, offsets in (
        ("hole", 1 << 20, ()),
        ("data-first", 10 << 20, (0,)),
        ("data-last", 10 << 20, ((10 << 20) - 4096,)),
        ("checkered", 4 << 20, range(0, 4 << 20, 128 << 10)),
        ("odd-end", (1 << 20) + 77, (1 << 20,)),
    ):
        with (root / f"sparse-{name}").open("wb") as file:
            for offset in offsets:
                file.seek(offset)
                file.write(os.urandom(min(4096, size - offset)))
            file.truncate(size)
    (root / "zeros that are no hole").write_bytes(bytes(300_000))


def _attributes(root: Path) -> None:
    (root / "attributes").mkdir()
    file = root / "attributes" / "file"
    file.write_bytes(b"attributes")
    for path in (file, root / "attributes"):
        os.setxattr(path, "user.plain", b"value")
        os.setxattr(path, "user.empty", b"")
        os.setxattr(path, b"user.\xff", bytes(range(256)))
    os.setxattr(file, "user.large", os.urandom(2000))
    read_only = root / "attributes" / "read-only"
    read_only.write_bytes(b"x")
    os.setxattr(read_only, "user.on", b"read-only")
    read_only.chmod(0o400)
    (root / "acl").mkdir()
    for name in ("file", "other"):
        (root / "acl" / name).write_bytes(name.encode())
    (root / "acl" / "directory").mkdir()
    _run("setfacl", "-m", "u:1234:rw,g:4321:r,m:rwx", root / "acl" / "file")
    _run("setfacl", "-m", "u:1234:r,m:-", root / "acl" / "other")
    _run("setfacl", "-m", "u:1234:rwx,d:u:1234:rwx,d:g:4321:rx,d:o:-", root / "acl" / "directory")
    (root / "flags").write_bytes(b"no dump")
    _run("chattr", "+d", root / "flags")


def _special(root: Path) -> None:
    os.mkfifo(root / "pipe", 0o640)
    os.link(root / "pipe", root / "same pipe")
    here = os.getcwd()
    os.chdir(root)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket")
    finally:
        os.chdir(here)


def _of_root(root: Path) -> None:
    (root / "owned").mkdir()
    for uid, gid in ((0, 0), (1, 1), (65534, 65534), (123_456, 654_321)):
        path = root / "owned" / f"{uid}-{gid}"
        path.write_bytes(b"owned")
        os.chown(path, uid, gid)
        path.chmod(0o6755)
        (root / "owned" / f"link-{uid}").symlink_to(path.name)
        os.chown(root / "owned" / f"link-{uid}", uid, gid, follow_symlinks=False)
    os.chown(root / "owned", 65534, 1)
    os.mknod(root / "character", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "block", stat.S_IFBLK | 0o660, os.makedev(7, 200))
    os.mknod(root / "large numbers", stat.S_IFBLK | 0o600, os.makedev(4000, 1_000_000))
    os.setxattr(root / "attributes" / "file", "trusted.root", b"only root sees it")
    os.setxattr(root / "link to nothing", "trusted.link", b"of the link", follow_symlinks=False)
    os.setxattr(root / "pipe", "trusted.pipe", b"of the pipe")
    (root / "capable").write_bytes(b"#!/bin/true")
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service, effective
    os.setxattr(root / "capable", "security.capability", capability)


def _times(root: Path) -> None:
    """Times of the past, before 1970, and of the far future; of directories last."""
    number = 0
    for directory, directories, files in os.walk(os.fsencode(root), topdown=False):
        for name in sorted(files + directories):
            number += 1
            time = _TIME + number * 1_000_000_007
            os.utime(os.path.join(directory, name), ns=(time, time), follow_symlinks=False)
    os.utime(root / "size-1", ns=(-5_000_000_001, -5_000_000_001))
    os.utime(root / "size-255", ns=(0, 0))
    os.utime(root / "size-256", ns=(4_294_967_296 * 10**9 + 7, 4_294_967_296 * 10**9 + 7))
    os.utime(root, ns=(_TIME, _TIME))


def _seal(root: Path) -> None:
    """What would have kept the rest from being made."""
    (root / "closed").chmod(0o555 if os.geteuid() == 0 else 0o500)
    if os.geteuid() == 0:
        for name, flag in (("size-4096", "+i"), ("size-257", "+a"), ("empty directory", "+i"), ("sticky", "+a")):
            _run("chattr", flag, root / name)


def differences(one: Path, other: Path) -> dict[str, tuple[str, str]]:
    """What each program says of the two trees, where it says different things; what rsync would do, if it would do
    anything. Sockets are named and not restored, so they are left out of all.
    """
    found = {}
    arguments = ["-naHAXi", "--delete", "--checksum", "--exclude=socket"]
    would_do = _run("rsync", *arguments, f"{one}/", f"{other}/")
    if would_do:
        found["rsync"] = (would_do, "")
    # What is not written yet has no extents, so a file of many extents has another number of blocks before and after.
    _run("sync", "--file-system", one, other)
    for name, command in _LOOKS.items():
        first, second = (_look(command, place) for place in (one, other))
        if first != second:
            ours, its = set(first.split("\n")), set(second.split("\n"))
            found[name] = ("\n".join(sorted(ours - its)), "\n".join(sorted(its - ours)))
    return found


_FIND = ["find", ".", "-name", "socket", "-prune", "-o"]
_LOOKS = {
    "find": [*_FIND, "-printf", r"%p %y %m %U %G %u %g %T@ %n %l\0"],
    "sizes": [*_FIND, "!", "-type", "d", "-printf", r"%p %s\0"],
    "holes": [*_FIND, "-type", "f", "-printf", r"%p %b\0"],
    "devices": [*_FIND, "(", "-type", "b", "-o", "-type", "c", ")", "-exec", "stat", "-c", "%n %t %T", "{}", "+"],
    "getfacl": ["getfacl", "-R", "-P", "-n", "-p", "."],
    "getfattr": ["getfattr", "-R", "-h", "-d", "-m", "-", "-e", "hex", "."],
    "lsattr": [*_FIND, "(", "-type", "f", "-o", "-type", "d", ")", "-exec", "lsattr", "-d", "{}", "+"],
}


def _look(command: list[str], place: Path) -> str:
    """What a program says of a tree, in an order that is not the directory's."""
    done = subprocess.run(command, cwd=place, capture_output=True, check=False)
    text = done.stdout.replace(b"\0", b"\n").decode("utf-8", "backslashreplace")
    blocks = text.split("\n\n") if command[0] in ("getfacl", "getfattr") else text.split("\n")
    return "\n".join(sorted(block for block in blocks if "socket" not in block))


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.decode("utf-8", "backslashreplace")
