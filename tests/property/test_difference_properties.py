"""The difference of two random trees is what a comparison of two dicts says."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, Entry, sort_key
from chunkstore.operations.comparing import Change
from chunkstore.operations.difference import Part, difference
from chunkstore.operations.finding import Wanted, find_all, find_versions, span_of
from chunkstore.operations.history import history
from chunkstore.tree.patterns import Rules, command_rule
from tests.browsing import KEY, Store, directory, file, link, manifest, whole
from tests.sample_objects import DictChunks

NAMES = st.sampled_from([b"a", b"a-b", b"b", b"\xff", b"a b", b"ab"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: b"/r/" + b"/".join(names))
FILES = st.builds(
    lambda seed, chunks, mtime, inode: file((seed, chunks), chunks, mtime_ns=mtime, inode=inode),
    st.integers(0, 1), st.integers(0, 2), st.integers(5, 6), st.integers(1, 2),
)  # fmt: skip
LINKS = st.sampled_from([b"x", b"y"]).map(link)
EMPTY = st.integers(5, 6).map(lambda mtime: directory(mtime_ns=mtime))
TREES = st.dictionaries(PATHS, FILES | LINKS | EMPTY, max_size=12)

Tree = dict[bytes, tuple[Entry, bytes]]


def plain(tree: Tree) -> Tree:
    """Without what would be in a file."""
    files = {path for path, (entry, _) in tree.items() if entry.kind != DIRECTORY}
    inside = {path for path in tree if any(path.startswith(other + b"/") for other in files)}
    return {b"/r/kept": file(), **{path: each for path, each in tree.items() if path not in inside}}


def large(tree: Tree, seed: int) -> Tree:
    """With so many neighbours that there are several segments, of which the seed decides where they are."""
    more = {b"/r/%s/n%04d" % (name, n): file(n) for n in range(120) for name in (b"m", b"%d" % seed)}
    return {**tree, **more}


def naive(before: Tree, after: Tree) -> dict[bytes, Change]:
    found = {}
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            found[path] = Change.ADDED if old is None else Change.REMOVED
        elif old[0].kind != new[0].kind:
            found[path] = Change.KIND
        elif (old[0].kind == FILE and (old[0].size, old[1]) != (new[0].size, new[1])) or (
            old[0].kind == SYMLINK and old[0].extra != new[0].extra
        ):
            found[path] = Change.CONTENT
        elif old[0].mtime_ns != new[0].mtime_ns:
            found[path] = Change.METADATA
    return {path: change for path, change in found.items() if path != b"/"}


@given(TREES, TREES, st.integers(0, 1))
@settings(max_examples=30, deadline=None)
def test_difference_is_what_comparing_dicts_says(one: Tree, other: Tree, seed: int) -> None:
    before, after = whole(large(plain(one), 0)), whole(large(plain(other), seed))
    chunks = DictChunks(KEY)
    found = list(difference(Part(manifest(before, chunks)), Part(manifest(after, chunks))))
    assert {each.path: each.change for each in found} == naive(before, after)
    order = [sort_key(*each.path.rsplit(b"/", 1)) for each in found]
    assert order == sorted(order)


@given(TREES, TREES)
@settings(max_examples=30, deadline=None)
def test_the_difference_of_parts_is_that_of_the_trees_in_them(one: Tree, other: Tree) -> None:
    before, after = whole(plain(one)), whole(plain(other))
    moved = whole({b"/other/place" + path[2:]: each for path, each in plain(other).items()}, [b"/other/place"])
    chunks = DictChunks(KEY)
    absolute = difference(Part(manifest(before, chunks), b"/r"), Part(manifest(after, chunks), b"/r"))
    relative = difference(Part(manifest(before, chunks), b"/r"), Part(manifest(moved, chunks), b"/other/place"))
    assert [(each.path[3:] or b".", each.change) for each in absolute] == [
        (each.path, each.change) for each in relative
    ]


@given(
    st.lists(TREES, min_size=1, max_size=4), st.sampled_from([b"*", b"a*", b"/r/a/*", b"/r/**/b", b"n0007", b"/r/a"])
)
@settings(max_examples=25, deadline=None)
def test_finding_versions_is_finding_all_without_what_the_next_newer_one_has(trees: list[Tree], pattern: bytes) -> None:
    store = Store()
    for tree in trees:
        store.add(large(plain(tree), 1))
    rule = command_rule(pattern, True, b"/")
    wanted, snapshots = Wanted(Rules([rule]), span_of([rule])), store.snapshots[::-1]
    every = [(each.snapshot.record.id, each.found.path) for each in find_all(snapshots, store.manifest, wanted, fail)]
    simple = [
        (each.record.id, found.path)
        for each in snapshots
        for found in store.manifest(each).entries()
        if not found.entry.ancestor and Rules([rule]).included(found.path, found.entry.kind == DIRECTORY)
    ]
    assert every == simple
    changed = {
        older.record.id: {each.path for each in difference(Part(store.manifest(older)), Part(store.manifest(newer)))}
        for newer, older in pairwise(snapshots)
    }
    versions = [
        (each.snapshot.record.id, each.found.path) for each in find_versions(snapshots, store.manifest, wanted, fail)
    ]
    assert versions == [(number, path) for number, path in simple if number not in changed or path in changed[number]]


@given(st.lists(TREES, min_size=1, max_size=5), PATHS)
@settings(max_examples=25, deadline=None)
def test_history_is_the_chain_of_differences(trees: list[Tree], path: bytes) -> None:
    store = Store()
    for tree in trees:
        store.add(plain(tree))
    expected: list[tuple[Change, str]] = []
    before: Tree = {}
    for each in store.snapshots:
        tree = {
            found.path: (found.entry, b"".join(store.manifest(each).ids(found)))
            for found in store.manifest(each).entries()
        }
        change = naive({path: before[path]} if path in before else {}, {path: tree[path]} if path in tree else {})
        expected += [(change[path], each.record.id)] if path in change else []
        before = tree
    found = history(store.snapshots, store.chunks, path, fail)
    assert [(each.found.change, each.first.record.id) for each in found] == expected


def fail(snapshot: object, damage: Exception) -> None:
    raise damage
