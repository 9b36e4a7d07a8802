"""Directories right before what is in them."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.tree.postponed import PostponedDirectories

Tree = dict[bytes, "Tree | None"]
NAMES = st.sampled_from([b"a", b"a-", b"a.", b"b", b"\xff", b"c" * 200])
TREES = st.recursive(st.none(), lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=25)


def in_manifest_order(tree: Tree, path: bytes = b"") -> list[tuple[bytes, bool]]:
    """(relative path, whether it is a directory): all children of a directory, then those of each."""
    found = [(path + name, child is not None) for name, child in sorted(tree.items())]
    for name, child in sorted(tree.items()):
        found += in_manifest_order(child, path + name + b"/") if child is not None else []
    return found


def nested(entries: list[tuple[bytes, bool]], padding: bytes = b"") -> list[bytes]:
    postponed = PostponedDirectories(None)
    out: list[bytes] = []
    try:
        for relative, directory in entries:
            out += [each[len(padding) :] for each in postponed.enter(relative.rpartition(b"/")[0])]
            if directory:
                postponed.add(relative, padding + relative)
            else:
                out.append(relative)
        out += [each[len(padding) :] for each in postponed.rest()]
    finally:
        postponed.close()
    return out


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


@given(st.dictionaries(NAMES, TREES, max_size=5))
@settings(deadline=None)
def test_a_directory_is_followed_by_its_contents_alone(tree: Tree) -> None:
    entries = in_manifest_order(tree)
    out = nested(entries)
    assert sorted(out) == sorted(path for path, _ in entries)
    open_directories = [b""]
    for path in out:
        while open_directories[-1] != _parent(path):
            open_directories.pop()  # and never comes back: its parent would not be found
        open_directories.append(path)


def test_many_directories_wait_in_a_file() -> None:
    entries = in_manifest_order({b"%04d" % n: {b"x": {b"y": None}, b"z": None} for n in range(300)})
    out = nested(entries, bytes(10_000))
    assert out[:4] == [b"0000", b"0000/z", b"0000/x", b"0000/x/y"]
    assert len(out) == 1200


def test_directories_that_come_late_are_taken_as_they_come() -> None:
    """A selection brings the way to something when it is there."""
    late = [(b"f", False), (b"a", True), (b"a/b", True), (b"a/b/f", False), (b"c", True), (b"c/f", False)]
    assert nested(late) == [path for path, _ in late]
    assert nested([(b"x/y/f", False), (b"x/z/f", False), (b"q", False)]) == [b"x/y/f", b"x/z/f", b"q"]
    random.Random(1).shuffle(late)
    assert sorted(nested(late)) == sorted(path for path, _ in late)
