"""Finding entries over many snapshots: what is shown where, and what is read for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chunkstore.errors import Damaged
from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK
from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.finding import Wanted, find_all, find_versions, span_of
from chunkstore.repository.manifest_cursor import WHOLE, Span, below, exactly, inside
from chunkstore.tree.patterns import Rules, command_rule
from tests.browsing import Store, directory, file, link, many

Find = Callable[..., Any]


def wanted(*patterns: bytes, ignore_case: bool = False, **limits: Any) -> Wanted:
    rules = [command_rule(each, True, b"/cwd", ignore_case=ignore_case) for each in patterns]
    return Wanted(Rules(rules), span_of(rules), **limits)


def found(store: Store, what: Wanted, find: Find = find_versions) -> list[tuple[int, bytes]]:
    """(number of the snapshot from 1, path)."""

    def fail(snapshot: Snapshot, damage: Damaged) -> None:
        raise damage

    return [
        (int(snapshot.record.id, 16), each.path)
        for snapshot, each in find(store.snapshots[::-1], store.manifest, what, fail)
    ]


def paths(store: Store, what: Wanted) -> list[bytes]:
    return [path for _, path in found(store, what)]


@pytest.fixture
def store() -> Store:
    """Three days: a file changes on the second and goes on the third."""
    store = Store()
    store.add({b"/r/a/x.txt": file(1), b"/r/b.txt": file(1), b"/r/c.TXT": file(1)})
    store.add({b"/r/a/x.txt": file(2), b"/r/b.txt": file(1), b"/r/c.TXT": file(1)})
    store.add({b"/r/b.txt": file(1), b"/r/c.TXT": file(1), b"/r/d.txt": directory()})
    return store


def test_each_version_is_found_in_the_newest_snapshot_that_has_it(store: Store) -> None:
    assert found(store, wanted(b"*.txt")) == [
        (3, b"/r/b.txt"),
        (3, b"/r/d.txt"),
        (2, b"/r/a/x.txt"),
        (1, b"/r/a/x.txt"),
    ]


def test_with_all_each_snapshot_shows_all_that_it_has(store: Store) -> None:
    assert found(store, wanted(b"b.txt"), find_all) == [(3, b"/r/b.txt"), (2, b"/r/b.txt"), (1, b"/r/b.txt")]


def test_names_match_anywhere_and_paths_where_they_are(store: Store) -> None:
    assert paths(store, wanted(b"x.txt")) == [b"/r/a/x.txt"] * 2
    assert paths(store, wanted(b"a/x.txt")) == [b"/r/a/x.txt"] * 2
    assert paths(store, wanted(b"/r/*.txt")) == [b"/r/b.txt", b"/r/d.txt"]
    assert paths(store, wanted(b"/r/b.txt")) == [b"/r/b.txt"]
    assert paths(store, wanted(b"/x.txt")) == []
    assert paths(store, wanted(b"d.txt/")) == [b"/r/d.txt"]
    assert paths(store, wanted(b"b.txt/")) == []
    assert paths(store, wanted(b"c.txt")) == []
    assert paths(store, wanted(b"c.txt", ignore_case=True)) == [b"/r/c.TXT"]
    assert paths(store, wanted(b"/r/b.txt", b"/r/d.txt")) == [b"/r/b.txt", b"/r/d.txt"]


def test_directories_above_the_roots_are_not_found(store: Store) -> None:
    assert paths(store, wanted(b"r")) == [b"/r"]
    deep = Store()
    deep.add({b"/up/r/x": file()}, (b"/up/r",))
    assert paths(deep, wanted(b"*")) == [b"/up/r", b"/up/r/x"]


def test_kinds_sizes_and_times_narrow_what_is_found() -> None:
    store = Store()
    store.add(
        {b"/r/small": file(1, 1), b"/r/large": file(1, 9, mtime_ns=50), b"/r/link": link(b"x"), b"/r/d": directory()}
    )
    assert paths(store, wanted(b"*", kinds=frozenset({SYMLINK}))) == [b"/r/link"]
    assert paths(store, wanted(b"*", kinds=frozenset({DIRECTORY}))) == [b"/r", b"/r/d"]
    assert paths(store, wanted(b"*", kinds=frozenset({FILE}))) == [b"/r/large", b"/r/small"]
    assert paths(store, wanted(b"*", larger=100)) == [b"/r/large"]
    assert paths(store, wanted(b"*", smaller=900)) == [b"/r/small"]
    assert paths(store, wanted(b"*", newer=5)) == [b"/r/large"]
    assert paths(store, wanted(b"*", newer=49, older=50)) == [b"/r/large"]
    assert b"/r/large" not in paths(store, wanted(b"*", older=49))


def test_hosts_do_not_hide_each_others_files() -> None:
    store = Store()
    for number in range(4):
        store.add({b"/r/x": file(number % 2)}, host=f"host{number % 2}")
    assert found(store, wanted(b"x")) == [(4, b"/r/x"), (3, b"/r/x")]


def test_an_entry_that_changed_in_nothing_that_counts_is_not_repeated() -> None:
    store = Store()
    store.add({b"/r/x": file(1)})
    store.add({b"/r/x": file(1, ctime_ns=99, inode=98)})
    store.add({b"/r/x": file(1, ctime_ns=99, inode=98, mtime_ns=97)})
    assert found(store, wanted(b"x")) == [(3, b"/r/x"), (2, b"/r/x")]


def test_a_file_whose_match_only_is_older_is_found_where_it_matches() -> None:
    store = Store()
    store.add({b"/r/x": file(1, 9)})
    store.add({b"/r/x": file(1, 1)})
    assert found(store, wanted(b"x", larger=500)) == [(1, b"/r/x")]


@pytest.mark.parametrize("find", [find_versions, find_all])
def test_what_snapshots_share_is_searched_once(find: Find) -> None:
    store, files = Store(), many(3000, 30)
    store.add(files)
    for number in range(5):
        store.add({**files, b"/r/d007/new": file(number)})
    store.chunks.reads = 0
    once = Store()
    once.chunks, once.snapshots = store.chunks, store.snapshots[-1:]
    assert found(once, wanted(b"nothing*")) == []
    reads, store.chunks.reads = store.chunks.reads, 0
    assert found(store, wanted(b"nothing*"), find) == []
    assert store.chunks.reads < reads + 50


def test_hits_that_are_shared_cost_what_differs() -> None:
    store, files = Store(), many(3000, 30)
    for number in range(5):
        store.add({**files, b"/r/d007/new": file(number)})
    store.chunks.reads = 0
    assert len(found(store, wanted(b"file*"))) == 3000
    assert store.chunks.reads < 100


def test_a_path_is_found_without_reading_what_is_elsewhere() -> None:
    store = Store()
    store.add(many(6000, 30))
    store.chunks.reads = 0
    assert len(found(store, wanted(b"/r/d007/file 00007"))) == 1
    assert store.chunks.reads <= 8
    store.chunks.reads = 0
    assert len(found(store, wanted(b"/r/d007/*1"))) == 20
    assert store.chunks.reads <= 12


@pytest.mark.parametrize(
    ("pattern", "span"),
    [
        (b"/a/b", exactly(b"/a/b")),
        (b"/a/b/", exactly(b"/a/b")),
        (b"/a/*", inside(b"/a")),
        (b"/a/x?", inside(b"/a")),
        (b"/a/**", below(b"/a")),
        (b"/a/*/c", below(b"/a")),
        (b"/a/**/c", below(b"/a")),
        (b"/*", inside(b"/")),
        (b"/a/\\*", inside(b"/a")),
        (b"a", WHOLE),
        (b"a/b", WHOLE),
    ],
)
def test_the_span_of_a_pattern(pattern: bytes, span: Span) -> None:
    assert span_of([command_rule(pattern, True, b"/")]) == span


def test_the_span_of_several_patterns_is_what_is_below_their_common_directory() -> None:
    rules = [command_rule(each, True, b"/") for each in (b"/a/b/c", b"/a/b/*")]
    assert span_of(rules) == below(b"/a/b")
    assert span_of([*rules, command_rule(b"x", True, b"/")]) == WHOLE


def test_a_damaged_snapshot_hides_nothing_of_the_others() -> None:
    store = Store()
    for number in range(3):
        store.add({b"/r/x": file(number)})
    del store.chunks.chunks[store.snapshots[1].record.reference_root]
    damaged: list[int] = []
    what = find_versions(
        store.snapshots[::-1], store.manifest, wanted(b"x"), lambda each, _: damaged.append(int(each.record.id, 16))
    )
    assert [int(each.snapshot.record.id, 16) for each in what] == [3, 1]
    assert damaged == [2]
