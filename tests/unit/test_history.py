"""The versions of one path over many snapshots."""

from __future__ import annotations

from chunkstore.errors import Damaged
from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.comparing import Change
from chunkstore.operations.history import history
from tests.browsing import Store, directory, file, link, many

Seen = tuple[Change, int, int, int]


def fail(snapshot: Snapshot, damage: Damaged) -> None:
    raise damage


def versions(store: Store, path: bytes = b"/r/x") -> list[Seen]:
    """What happened, the first and the last snapshot, and how many."""
    found = history(store.snapshots, store.chunks, path, fail)
    return [(v.found.change, int(v.first.record.id, 16), int(v.last.record.id, 16), v.snapshots) for v in found]


def test_a_version_lasts_until_something_changes() -> None:
    store = Store()
    for each in (file(1), file(1, inode=9), file(2), file(2, mtime_ns=8), None, None, file(2), link(b"a"), directory()):
        store.add({b"/r/x": each} if each else {b"/r/other": file()})
    assert versions(store) == [
        (Change.ADDED, 1, 2, 2),
        (Change.CONTENT, 3, 3, 1),
        (Change.METADATA, 4, 4, 1),
        (Change.REMOVED, 5, 6, 2),
        (Change.ADDED, 7, 7, 1),
        (Change.KIND, 8, 8, 1),
        (Change.KIND, 9, 9, 1),
    ]


def test_snapshots_of_other_paths_say_nothing_about_it() -> None:
    store = Store()
    store.add({b"/r/x": file(1)})
    store.add({b"/s/y": file(1)}, (b"/s",))
    store.add({b"/r/x": file(1)})
    store.add({b"/r/x/y": file(1)}, (b"/r/x/y",))
    assert versions(store) == [(Change.ADDED, 1, 3, 2)]


def test_a_path_that_was_not_there_yet_begins_when_it_came() -> None:
    store = Store()
    store.add({b"/r/y": file(1)})
    store.add({b"/r/x": file(1)})
    assert versions(store) == [(Change.ADDED, 2, 2, 1)]
    assert versions(store, b"/r/nothing") == []


def test_each_host_has_a_history_of_its_own() -> None:
    store = Store()
    for number in range(6):
        store.add({b"/r/x": file(number % 2)}, host=f"host{number % 2}")
    assert versions(store) == [(Change.ADDED, 1, 5, 3), (Change.ADDED, 2, 6, 3)]


def test_a_root_has_a_history_and_what_is_above_it_has_none() -> None:
    store = Store()
    store.add({b"/up/r/x": file(1)}, (b"/up/r",))
    assert versions(store, b"/up/r") == [(Change.ADDED, 1, 1, 1)]
    assert versions(store, b"/up") == []


def test_a_damaged_snapshot_is_passed_over() -> None:
    store = Store()
    for number in range(3):
        store.add({b"/r/x": file(number)})
    del store.chunks.chunks[store.snapshots[1].record.reference_root]
    damaged: list[Snapshot] = []
    found = list(history(store.snapshots, store.chunks, b"/r/x", lambda each, _: damaged.append(each)))
    assert [version.first for version in found] == [store.snapshots[0], store.snapshots[2]]
    assert damaged == [store.snapshots[1]]


def test_what_snapshots_share_on_the_way_is_read_once() -> None:
    store, files = Store(), many(2000, 20)
    for _ in range(12):
        store.add(files)
    store.chunks.reads = 0
    assert len(versions(store, b"/r/d007/file 00007")) == 1
    assert store.chunks.reads <= 6
    for number in range(12):
        store.add({**files, b"/r/d015/new": file(number)})
    store.chunks.reads = 0
    assert len(versions(store, b"/r/d007/file 00007")) == 1
    assert store.chunks.reads < 6 + 12 * 4
