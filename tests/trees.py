"""Trees of files: made for a test, and compared without any code of the product."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

Node = bytes | str | Mapping[bytes, "Node"]
"""A file's content, a link's target, or a directory's children."""

IS_ROOT = os.geteuid() == 0
OLD_NS = 1_000_000_000_123_456_789


class Seen(NamedTuple):
    """What can be seen of one file. `content`: digest of a file, target of a link, nothing of others."""

    kind: int
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    size: int
    content: bytes


def look(root: Path | bytes) -> dict[bytes, Seen]:
    """Everything at (as the empty path) and below `root`, by relative path. Paths may be longer than the system's."""
    found: dict[bytes, Seen] = {}
    top = os.fsencode(root)
    status = os.lstat(top)
    if not stat.S_ISDIR(status.st_mode):
        parent = os.open(os.path.dirname(top), os.O_RDONLY)
        try:
            return {b"": _seen(os.path.basename(top), parent, status)}
        finally:
            os.close(parent)
    # os.fwalk hands out open directories, so no path is too long.
    for path, _, names, directory in _walk(top):
        relative = path[len(top) :].lstrip(b"/")
        found[relative] = _seen(b".", directory, os.fstat(directory))
        for name in names:
            one = os.stat(name, dir_fd=directory, follow_symlinks=False)
            found[os.path.join(relative, name)] = _seen(name, directory, one)
    return found


def _walk(top: bytes):  # type: ignore[no-untyped-def]
    """os.fwalk, with links to directories among the files."""

    def fail(error: OSError) -> None:
        raise error

    for path, directories, files, descriptor in os.fwalk(top, onerror=fail):
        links = [name for name in directories if stat.S_ISLNK(_mode(name, descriptor))]
        yield path, directories, [*files, *links], descriptor


def _mode(name: bytes, directory: int) -> int:
    return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode


def _seen(name: bytes, directory: int, status: os.stat_result) -> Seen:
    kind = stat.S_IFMT(status.st_mode)
    content, size = b"", 0
    if kind == stat.S_IFLNK:
        content = os.readlink(name, dir_fd=directory)
    elif kind == stat.S_IFREG:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as file:
            content, size = hashlib.file_digest(file, "sha256").digest(), status.st_size
    mode = 0 if kind == stat.S_IFLNK else stat.S_IMODE(status.st_mode)
    return Seen(kind, mode, (status.st_uid, status.st_gid), status.st_mtime_ns, size, content)


def below(root: Path | bytes) -> dict[bytes, Seen]:
    """`look` without the root itself."""
    return {path: seen for path, seen in look(root).items() if path}


def plant(root: Path | bytes, tree: Mapping[bytes, Node]) -> None:
    """Make a directory with these children."""
    top = os.fsencode(root)
    os.makedirs(top, exist_ok=True)
    for name, node in tree.items():
        path = os.path.join(top, name)
        if isinstance(node, Mapping):
            plant(path, node)
        elif isinstance(node, str):
            os.symlink(os.fsencode(node), path)
        else:
            with open(path, "wb") as file:
                file.write(node)


def age(root: Path | bytes, seed: int = 1) -> None:
    """Give everything below `root`, and `root`, a time of its own, to the nanosecond; directories last."""
    choose = random.Random(seed)
    for path, directories, files in os.walk(os.fsencode(root), topdown=False):
        for name in sorted([*files, *directories]):
            child = os.path.join(path, name)
            if os.path.islink(child) or not os.path.isdir(child):
                _set_time(child, choose)
        _set_time(path, choose)


def _set_time(path: bytes, choose: random.Random) -> None:
    mtime = OLD_NS + choose.randrange(10**17)
    os.utime(path, ns=(mtime, mtime), follow_symlinks=False)


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def prose(size: int, seed: int = 1) -> bytes:
    """Bytes that compress, and do not repeat."""
    choose = random.Random(seed)
    words = [choose.randbytes(4).hex().encode() for _ in range(200)]
    text = b" ".join(choose.choices(words, k=size // 9 + 1))
    return text[:size]


SIZES_1K_4K_16K = (0, 1, 2, 1023, 1024, 1025, 4095, 4096, 4097, 16383, 16384, 16385, 32768, 100_001)
SIZES_DEFAULT = (65535, 65536, 65537, 262144, 1048575, 1048576, 1048577, 3_000_001)


def varied(root: Path) -> None:
    """A tree with one of everything that people have: odd sizes, names, modes, times, links."""
    plant(
        root,
        {
            b"sizes": {b"%07d" % size: noise(size, size) for size in (*SIZES_1K_4K_16K, *SIZES_DEFAULT)},
            b"text": {b"%d.txt" % i: prose(3000 + 700 * i, i) for i in range(12)},
            b"twins": {b"a": noise(50_000, 7), b"b": noise(50_000, 7), b"sub": {b"c": noise(50_000, 7)}},
            b"names": {name: b"content of " + name for name in odd_names()},
            b"names of directories": {name: {b"child": name} for name in odd_names()},
            b"links": {
                b"dangling": "nowhere/at all",
                b"absolute": "/usr/bin/env",
                b"to a directory": "../text",
                b"to a file": "../text/1.txt",
                b"up": "../..",
                b"itself": "itself",
                b"invalid \xff": os.fsdecode(b"\xfe\xff"),
                b"long": "x" * 3000,
            },
            b"empty": {b"empty": {b"empty": {}}, b"also": {}},
            b"modes": {b"%04o" % mode: b"mode" for mode in odd_modes()},
            b"mode directories": {b"%04o" % mode: {b"in it": b"x"} for mode in (0o700, 0o755, 0o1777, 0o2750, 0o500)},
            b"times": dict.fromkeys(odd_times(), b"time"),
            b"order": {b"a": {b"x": b"1"}, b"a-b": b"2", b"a.": {b"x": b"3"}, b"a0": b"4", b"a b": {b"y": b"5"}},
            b"d": {b"d": {b"d": {b"d" * 200: {b"d" * 200: {b"deep": b"deep"}}}}},
        },
    )
    age(root)
    modes = {b"modes/%04o" % mode: mode for mode in odd_modes()}
    modes |= {b"mode directories/%04o" % mode: mode for mode in (0o700, 0o755, 0o1777, 0o2750, 0o500)}
    if IS_ROOT:
        os.chown(root / "modes" / "0640", 1234, 5678)
        os.chown(root / "links" / "up", 1234, 5678, follow_symlinks=False)
        os.chown(root / "empty" / "also", 1234, 5678)
    for name, mode in modes.items():
        os.chmod(os.path.join(os.fsencode(root), name), mode)
    for name, time in odd_times().items():
        os.utime(os.path.join(os.fsencode(root), b"times", name), ns=(time, time))
    os.utime(root / "times", ns=(5, 5))
    os.utime(root, ns=(OLD_NS, OLD_NS))


def odd_names() -> list[bytes]:
    return [
        b"plain",
        b"with space",
        b"new\nline",
        b"carriage\rreturn",
        b"\ttab",
        b"-rf",
        b"--help",
        b"~",
        b"*",
        b"$HOME",
        b'quo"te',
        b"quo'te",
        b"back\\slash",
        b"colon:colon",
        b"\x01\x1b[31m",
        b"\x7f",
        b"\xff\xfe",
        b"half \xc3",
        b"\\udcff\\udcfe",
        "ä".encode(),
        "a\u0308".encode(),
        "日本語".encode(),
        "\u202eright to left".encode(),
        "😀".encode(),
        b"n" * 255,
        "é".encode() * 127,
        b"...",
        b".hidden",
        b" ",
    ]


def odd_modes() -> tuple[int, ...]:
    ordinary = (0o644, 0o600, 0o755, 0o444, 0o400, 0o640, 0o666, 0o4755, 0o2755, 0o1644, 0o6711)
    return (*ordinary, 0o000, 0o111) if IS_ROOT else ordinary


def odd_times() -> dict[bytes, int]:
    return {
        b"epoch": 0,
        b"one ns": 1,
        b"just before": -1,
        b"long before": -(10**18) - 987_654_321,
        b"far ahead": 8_000_000_000_123_456_789,
        b"to the ns": 1_700_000_000_999_999_999,
    }


def edited(root: Path) -> None:
    """One change of each kind to what `varied` made."""
    (root / "added").write_bytes(noise(70_000, 99))
    (root / "text" / "added directory").mkdir()
    (root / "text" / "added directory" / "f").write_bytes(b"f")
    (root / "text" / "0.txt").unlink()
    with (root / "sizes" / "3000001").open("r+b") as file:
        file.seek(1_500_000)
        file.write(b"changed in the middle")
    _keeping_times(root / "text" / "1.txt", lambda path: path.write_bytes(path.read_bytes()[::-1]))
    with (root / "text" / "2.txt").open("ab") as file:
        file.write(b"one line more\n")
    (root / "text" / "3.txt").write_bytes(b"")
    (root / "text" / "4.txt").chmod(0o600)
    os.utime(root / "text" / "5.txt", ns=(12_345, 12_345))
    if IS_ROOT:
        os.chown(root / "text" / "6.txt", 4321, 8765)
    (root / "text" / "7.txt").rename(root / "text" / "renamed.txt")
    (root / "twins" / "sub").rename(root / "moved")
    (root / "text" / "8.txt").unlink()
    plant(root / "text" / "8.txt", {b"was": b"a file"})
    (root / "names of directories" / "plain" / "child").unlink()
    (root / "names of directories" / "plain").rmdir()
    (root / "names of directories" / "plain").write_bytes(b"was a directory")
    (root / "links" / "dangling").unlink()
    (root / "links" / "dangling").write_bytes(b"was a link")
    (root / "text" / "9.txt").unlink()
    (root / "text" / "9.txt").symlink_to("was a file")
    (root / "links" / "absolute").unlink()
    (root / "links" / "absolute").symlink_to("/elsewhere")
    (root / "empty" / "empty" / "empty").rmdir()
    (root / "empty" / "also").chmod(0o711)


def _keeping_times(path: Path, change: Callable[[Path], object]) -> None:
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
