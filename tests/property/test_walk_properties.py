"""The walk against a simple one that sorts everything, and the display of paths against its inverse."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.format.entries import Components, components, sort_key
from chunkstore.tree.display import display_path
from chunkstore.tree.roots import ancestors, normalise_roots
from chunkstore.tree.walk import walk

# macOS takes only names that are UTF-8, and takes some that look alike for the same.
_BYTES = st.binary(min_size=1, max_size=4) | st.sampled_from([b"a", b"b", b"a-b", b"\n", b"\xff" * 255, b"n" * 255])
_TEXT = st.text("abc-. \n", min_size=1, max_size=4).map(str.encode)
NAMES = (_TEXT if sys.platform == "darwin" else _BYTES).filter(
    lambda name: name not in (b".", b"..") and not set(name) & {0, 0x2F}
)
TREES = st.recursive(
    st.just(None),
    lambda below: st.dictionaries(NAMES, below, max_size=6),
    max_leaves=25,
).filter(lambda tree: tree is not None)

Tree = dict[bytes, "Tree | None"]
Found = list[tuple[bytes, bytes]]


def build(base: bytes, tree: Tree) -> None:
    """Make `tree` on disk: a dictionary is a directory, None a file."""
    for name, below in tree.items():
        path = base + b"/" + name
        if below is None:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        else:
            os.mkdir(path)
            build(path, below)


def simple_walk(roots: list[bytes]) -> Found:
    """(parent, name) of everything at and below the roots and of the directories above them, by sorting it all."""
    found = {(b"/", b"")}
    for root in roots:
        path = root
        while path != b"/":
            parent, _, name = path.rpartition(b"/")
            path = parent or b"/"
            found.add((path, name))
        for parent, directories, files in os.walk(root):
            found |= {(parent, name) for name in directories + files}
    return sorted(found, key=lambda place: sort_key(*place))


def flat(roots: list[bytes], spill_after: int, scratch: str) -> Found:
    errors: list[bytes] = []
    batches = list(
        walk(roots, on_error=lambda path, error: errors.append(path), spill_after=spill_after, scratch=scratch)
    )
    assert not errors
    assert all(len(children) <= spill_after for parent, children in batches if parent not in ancestors(roots))
    for parent, children in batches:
        for name, status in children:
            now = os.lstat(parent + b"/" + name)
            assert (now.st_ino, now.st_mode) == (status.st_ino, status.st_mode)
    return [(parent, name) for parent, children in batches for name, _ in children]


@settings(max_examples=100, deadline=None)
@given(tree=TREES, spill_after=st.sampled_from([1, 2, 3, 5, 100_000]), data=st.data())
def test_walk_is_a_sorted_list_of_everything(tree: Tree, spill_after: int, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as place:
        base = os.fsencode(Path(place).resolve())
        build(base, tree)
        paths = [base] + [parent.rstrip(b"/") + b"/" + name for parent, name in simple_walk([base])[-40:] if name]
        inside = [path for path in paths if path.startswith(base)]
        chosen = data.draw(st.lists(st.sampled_from(inside), min_size=1, max_size=4), label="roots")
        roots = normalise_roots(chosen, b"/")
        assert flat(roots, spill_after, scratch) == simple_walk(roots)


@given(st.lists(st.lists(st.sampled_from([b"a", b"b", b"a-", b".", b".."]), max_size=4), max_size=6))
def test_roots_are_plain_and_cover_what_was_named(names: list[list[bytes]]) -> None:
    paths = [b"/".join(parts) or b"." for parts in names]
    roots = normalise_roots(paths, b"/cwd/x")
    keys = [components(root) for root in roots]
    assert keys == sorted(set(keys))
    wanted = [components(os.path.normpath(b"/cwd/x/" + path)) for path in paths]
    assert all(key in wanted for key in keys)
    assert all(sum(covers(key, path) for key in keys) == 1 for path in wanted)


def covers(root: Components, path: Components) -> bool:
    return path[: len(root)] == root


def undo(shown: str) -> bytes:
    """The inverse of `display_path`, from its docstring."""
    short = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}
    result = b""
    for i, piece in enumerate(re.split(r"\\(x..|u....|U........|.)", shown)):
        if i % 2 == 0:
            result += piece.encode()
        elif piece[0] == "x":
            result += bytes([int(piece[1:], 16)])
        else:
            result += short[piece] if piece in short else chr(int(piece[1:], 16)).encode()
    return result


@settings(max_examples=500)
@given(st.binary() | st.text().map(str.encode) | st.text("\\xn\n\x85é0", max_size=8).map(str.encode))
def test_display_is_printable_and_loses_nothing(path: bytes) -> None:
    shown = display_path(path)
    assert shown.isprintable()
    assert undo(shown) == path


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 5000])
def test_counts_around_the_spill(tmp_path: Path, count: int) -> None:
    base = os.fsencode(tmp_path.resolve()) + b"/d"
    os.mkdir(base)
    build(base, {b"%d" % i: ({} if i % 3 else None) for i in range(count)})
    assert flat([base], 1000, str(tmp_path)) == simple_walk([base])
