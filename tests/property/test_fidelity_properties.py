"""Random trees come back as they were, and as they were after somebody edited them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkstore.storage import MemoryStorage
from tests.engine import Client

MIN, AVG, MAX, FRAME, PACK = 256, 1024, 4096, 16_384, 32_768
SIZES = sorted(
    {0, 1, 2, *(size + more for size in (MIN, AVG, MAX, FRAME, PACK, 2 * FRAME + MAX) for more in (-1, 0, 1))}
)


def is_name(name: bytes) -> bool:
    return name not in (b".", b"..") and not set(name) & {0, 0x2F}


names = st.one_of(
    st.binary(min_size=1, max_size=12).filter(is_name),
    st.sampled_from([b"a", b"b", b"a-b", b"a.b", b"\xff", b"\n", "\u00e9".encode(), b"x" * 255]),
)
modes = st.sampled_from([0o600, 0o644, 0o755, 0o400, 0o4755, 0o2711, 0o1777])
times = st.one_of(st.integers(-(2**31) * 10**9, 2**33 * 10**9), st.sampled_from([0, 1, -1, 999_999_999]))
attributes = st.dictionaries(
    st.binary(min_size=1, max_size=8).filter(lambda name: 0 not in name), st.binary(max_size=40), max_size=2
)


class Made(NamedTuple):
    """What to make of a name: `kind`, and what that needs."""

    kind: str
    mode: int
    mtime_ns: int
    xattrs: dict[bytes, bytes]
    size: int
    seed: int
    pick: int


nodes = st.builds(
    Made,
    st.sampled_from(["file", "file", "file", "sparse", "link", "symlink", "fifo", "directory", "directory"]),
    modes,
    times,
    attributes,
    st.sampled_from(SIZES),
    st.integers(0, 3),
    st.integers(0, 10**6),
)
trees = st.lists(st.tuples(st.integers(0, 10**6), names, nodes), max_size=24)
edits = st.lists(
    st.tuples(
        st.sampled_from(["delete", "rewrite", "insert", "touch", "chmod", "xattr", "rename", "link", "truncate"]),
        st.integers(0, 10**6),
        nodes,
    ),
    max_size=12,
)


def content(made: Made) -> bytes:
    """Repeats itself between files of the same seed, so that there is something to deduplicate."""
    import random

    return random.Random(made.seed).randbytes(max(SIZES))[: made.size]


def plant(root: bytes, tree: list[tuple[int, bytes, Made]]) -> None:
    directories, files, finish = [root], [], []
    for where, name, made in tree:
        path = directories[where % len(directories)] + b"/" + name
        if len(path) > 3000 or os.path.lexists(path):
            continue
        if made.kind == "directory":
            os.mkdir(path)
            directories.append(path)
        elif made.kind == "symlink":
            os.symlink(b"to/" + name, path)
        elif made.kind == "fifo":
            os.mkfifo(path)
        elif made.kind == "link" and files:
            os.link(files[made.pick % len(files)], path)
        else:
            write(path, made)
            files.append(path)
        finish.append((path, made))
    for path, made in reversed(finish):
        dress(path, made)


def write(path: bytes, made: Made) -> None:
    with open(path, "wb") as file:
        if made.kind == "sparse":
            file.seek(8192 * (made.seed + 1))
        file.write(content(made))
        if made.kind == "sparse":
            file.truncate(file.tell() + 4096 * made.seed)


def dress(path: bytes, made: Made) -> None:
    if not os.path.islink(path):
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            for name, value in made.xattrs.items():
                os.setxattr(path, b"user." + name, value)
        os.chmod(path, made.mode | (0o700 if os.path.isdir(path) else 0o400))
    os.utime(path, ns=(0, made.mtime_ns), follow_symlinks=False)


def edit(root: bytes, changes: list[tuple[str, int, Made]]) -> None:
    for what, which, made in changes:
        paths = sorted(
            os.path.join(directory, name)
            for directory, directories, files in os.walk(root)
            for name in files + directories
        )
        if paths:
            change(paths[which % len(paths)], what, made)


def change(path: bytes, what: str, made: Made) -> None:
    plain = stat.S_ISREG(os.lstat(path).st_mode)
    if what == "delete":
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    elif what == "rename":
        os.rename(path, path[:-1] + b"~") if not os.path.lexists(path[:-1] + b"~") else None
    elif what == "touch":
        os.utime(path, ns=(0, made.mtime_ns), follow_symlinks=False)
    elif what == "chmod" or what == "xattr":
        dress(path, made)
    elif plain and what == "link":
        os.link(path, path + b"+") if len(os.path.basename(path)) < 255 and not os.path.lexists(path + b"+") else None
    elif plain:
        os.chmod(path, 0o600)
        with open(path, "rb") as old:
            before = old.read()
        after = {
            "rewrite": content(made),
            "insert": before[: len(before) // 2] + b"something new" + before[len(before) // 2 :],
            "truncate": before[: len(before) // 3],
        }[what]
        with open(path, "r+b") as file:
            file.write(after)
            file.truncate(len(after))


def look(root: bytes) -> dict[bytes, Any]:
    """Everything that has to come back, by relative path. Names of one file have the first of them in common."""
    found: dict[bytes, Any] = {}
    first: dict[tuple[int, int], bytes] = {}
    paths = [b"."]
    for directory, directories, files in os.walk(root):
        paths += [os.path.relpath(os.path.join(directory, name), root) for name in directories + files]
    for relative in sorted(paths):
        path = os.path.join(root, relative)
        status = os.lstat(path)
        mode = status.st_mode
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        data: bytes | None = None
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                data = file.read()
        elif stat.S_ISLNK(mode):
            data = os.readlink(path)
        name = relative if stat.S_ISDIR(mode) else first.setdefault((status.st_dev, status.st_ino), relative)
        found[relative] = (mode, status.st_mtime_ns, xattrs, name, data)
    return found


def blocks(root: bytes) -> int:
    return sum(
        os.lstat(os.path.join(directory, name)).st_blocks for directory, _, files in os.walk(root) for name in files
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(trees, edits)
def test_what_is_stored_comes_back_and_so_does_what_it_became(
    tree: list[tuple[int, bytes, Made]], changes: list[tuple[str, int, Made]]
) -> None:
    with tempfile.TemporaryDirectory(prefix="chunkstore-") as base:
        place = Path(base)
        root = os.fsencode(place / "tree")
        os.mkdir(root)
        client = Client(MemoryStorage(), place / "client")
        client.create(chunker=f"pyfastcdc:{MIN},{AVG},{MAX}", frame_size=FRAME, pack_size=PACK)
        plant(root, tree)
        before, taken = look(root), client.snapshot(place / "tree")
        edit(root, changes)
        after, again = look(root), client.snapshot(place / "tree")
        assert not taken.result.problems
        assert not again.result.problems
        for number, (each, expected) in enumerate(((taken, before), (again, after))):
            done = client.restore_to(each.id, place / f"restored-{number}")
            assert not done.problems
            assert not done.not_set
            assert look(os.fsencode(place / f"restored-{number}")) == expected
        assert blocks(os.fsencode(place / "restored-1")) <= blocks(root) + 16 * len(after)
        fresh = client.without_cache().snapshot(place / "tree")
        assert fresh.record.content_root == again.record.content_root
