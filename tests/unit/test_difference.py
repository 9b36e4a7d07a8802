"""What differs between two snapshots, and what that costs to find out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from chunkstore.errors import PathNotFound
from chunkstore.format.entries import FIFO, Entry
from chunkstore.format.owners import Owners
from chunkstore.operations.comparing import Change, Difference, State, changed_metadata
from chunkstore.operations.difference import Part, Totals, difference
from tests.browsing import KEY, Files, directory, file, link, manifest, many, whole
from tests.sample_objects import DictChunks


def diff(
    before: Files, after: Files, one: bytes | None = None, other: bytes | None = None, **how: Any
) -> list[Difference]:
    chunks = DictChunks(KEY)
    return list(difference(Part(manifest(before, chunks), one), Part(manifest(after, chunks), other), **how))


def lines(found: Iterable[Difference]) -> list[str]:
    return [f"{each.change.value} {each.path.decode()} {','.join(each.fields)}".strip() for each in found]


def one_file(before: tuple[Entry, bytes], after: tuple[Entry, bytes]) -> list[str]:
    return lines(diff(whole({b"/r/x": before}), whole({b"/r/x": after})))


def test_each_way_to_change_has_its_letter() -> None:
    before = {b"/r/a": file(1), b"/r/b": file(1), b"/r/c": file(1), b"/r/d": file(1), b"/r/e": file(1)}
    after = {b"/r/b": file(2), b"/r/c": file(1, mode=0o600), b"/r/d": link(b"a"), b"/r/e": file(1), b"/r/f": file(1)}
    assert lines(diff(whole(before), whole(after))) == ["- /r/a", "M /r/b", "U /r/c mode", "T /r/d", "+ /r/f"]


def test_what_changes_by_itself_does_not_count() -> None:
    assert one_file(file(), file(ctime_ns=8, inode=9, extra={"atime": 7})) == []
    assert one_file(file(extra={"atime": 1}), file(extra={"atime": 2})) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mode": 0o600}, "mode"),
        ({"uid": 3}, "user"),
        ({"gid": 3}, "group"),
        ({"mtime_ns": 99}, "mtime"),
        ({"extra": {"xattrs": {b"user.a": b"1"}}}, "xattrs"),
        ({"extra": {"xattrs": {b"system.posix_acl_access": b"1"}}}, "acl"),
        ({"extra": {"flags": 16}}, "flags"),
        ({"extra": {"link": 0}}, "link"),
    ],
)
def test_metadata_is_told_by_its_field(changes: Mapping[str, Any], field: str) -> None:
    assert one_file(file(), file(**changes)) == [f"U /r/x {field}"]


def test_owners_differ_by_name_where_both_names_are_known() -> None:
    entry = file()[0]
    some, others = State(b"/x", entry, Owners({1000: "ann"}, {1000: "staff"})), State(b"/x", entry)
    renamed = State(b"/x", entry, Owners({1000: "bob"}, {1000: "staff"}))
    assert changed_metadata(some, others) == ()
    assert changed_metadata(some, renamed) == ("user",)


def test_content_is_chunks_and_holes_targets_and_devices() -> None:
    assert one_file(file(1), file(2)) == ["M /r/x"]
    assert one_file(file(1, size=100), file(1, size=101)) == ["M /r/x"]
    assert one_file(file(1, size=90, extra={"extents": [[0, 9]]}), file(1, size=90, extra={"extents": [[1, 9]]})) == [
        "M /r/x"
    ]
    assert one_file(link(b"a"), link(b"b")) == ["M /r/x"]
    assert one_file(link(b"a"), link(b"a", mode=0o700)) == []
    assert one_file(directory(), directory(mtime_ns=9)) == ["U /r/x mtime"]
    assert one_file(directory(kind=FIFO), directory(kind=FIFO)) == []


def test_content_and_metadata_that_changed_together_are_one_difference() -> None:
    assert one_file(file(1), file(2, mode=0o600, mtime_ns=9)) == ["M /r/x mode,mtime"]


def test_files_of_many_chunks_are_compared_to_their_last_chunk() -> None:
    entry, joined = file(1, 5000)
    other = joined[:-1] + bytes([joined[-1] ^ 1])
    before = whole({b"/r/x": (entry, joined), b"/r/y": file(3)})
    assert lines(diff(before, whole({b"/r/x": (entry, other), b"/r/y": file(3)}))) == ["M /r/x"]
    assert lines(diff(before, whole({b"/r/w": file(4, 3), b"/r/x": (entry, joined), b"/r/y": file(3)}))) == ["+ /r/w"]


def test_a_directory_that_comes_or_goes_comes_with_all_that_is_in_it() -> None:
    tree = whole({b"/r/x": file(), b"/r/d/e/f": file()})
    assert lines(diff(whole({b"/r/x": file()}), tree)) == ["+ /r/d", "+ /r/d/e", "+ /r/d/e/f"]
    assert lines(diff(tree, whole({b"/r/x": file()}))) == ["- /r/d", "- /r/d/e", "- /r/d/e/f"]


def test_directories_above_the_roots_are_not_part_of_a_snapshot() -> None:
    small, large = whole({b"/a/b/x": file()}, [b"/a/b"]), whole({b"/a/b/x": file(), b"/a/y": file()}, [b"/a"])
    assert lines(diff(small, large)) == ["+ /a", "+ /a/y"]
    assert lines(diff(large, small)) == ["- /a", "- /a/y"]


def test_parts_of_snapshots_are_compared_wherever_they_were() -> None:
    tree = whole({b"/r/x/a": file(1), b"/r/x/b/c": file(1), b"/r/y/a": file(2), b"/r/y/b/d": file(1), b"/r/z": file()})
    assert lines(diff(tree, tree, b"/r/x", b"/r/y")) == ["M a", "- b/c", "+ b/d"]
    assert lines(diff(tree, tree, b"/r/x/a", b"/r/y/a")) == ["M ."]
    assert lines(diff(tree, tree, b"/r/x", b"/r/z")) == ["T .", "- a", "- b", "- b/c"]
    moved = whole({b"/elsewhere/x": file(1)}, [b"/elsewhere"])
    assert lines(diff(whole({b"/r/x": file(1)}), moved, b"/r", b"/elsewhere")) == []


def test_a_path_of_one_side_is_meant_for_both() -> None:
    before, after = whole({b"/r/x/a": file(1), b"/r/y": file(1)}), whole({b"/r/x/a": file(2), b"/r/y": file(2)})
    assert lines(diff(before, after, b"/r/x")) == ["M /r/x/a"]
    assert lines(diff(before, after, None, b"/r/x")) == ["M /r/x/a"]
    assert lines(diff(before, whole({b"/r/y": file(1)}), b"/r/x")) == ["- /r/x", "- /r/x/a"]
    with pytest.raises(PathNotFound, match="/r/nothing"):
        diff(before, after, b"/r/nothing")


def test_the_root_directory_can_be_compared_by_its_path() -> None:
    before, after = whole({b"/x": file(1)}, [b"/"]), whole({b"/x": file(2)}, [b"/"])
    before[b"/"], after[b"/"] = directory(), directory(mode=0o700)
    assert lines(diff(before, after, b"/", b"/")) == ["U / mode", "M /x"]
    assert lines(diff(before, after)) == ["U / mode", "M /x"]


def test_what_is_not_to_be_compared_is_left_out_on_both_sides() -> None:
    before, after = whole({b"/r/a.o": file(1), b"/r/b": file(1)}), whole({b"/r/b": file(2), b"/r/c.o": file(1)})
    takes = lambda path, directory: directory or not path.endswith(b".o")  # noqa: E731
    assert lines(diff(before, after, takes=takes)) == ["M /r/b"]


def test_totals_count_paths_and_bytes() -> None:
    before = {b"/r/a": file(1, 2), b"/r/b": file(1, 3), b"/r/c": file(1), b"/r/d": file(1, 4), b"/r/l": link(b"target")}
    after = {b"/r/b": file(2, 5), b"/r/c": file(1, mode=0o600), b"/r/d": link(b"x"), b"/r/f/g": file(1, 6)}
    totals = Totals()
    for each in diff(whole(before), whole(after)):
        totals.count(each)
    assert totals == Totals(2, 2, 1, 1, 1, 600, 600, 300, 500)
    assert totals.any
    assert not Totals().any


def test_two_snapshots_that_share_nearly_all_are_compared_by_reading_a_few_chunks() -> None:
    chunks = DictChunks(KEY)
    before = whole(many(20_000, 20))
    after = {**before, b"/r/d003/file 00007": file("changed", 2), b"/r/d011/new": file()}
    one, other = manifest(before, chunks), manifest(after, chunks)
    stored, chunks.reads = len(chunks.chunks), 0
    assert lines(difference(Part(one), Part(other))) == ["M /r/d003/file 00007", "+ /r/d011/new"]
    assert chunks.reads < 40 < stored / 5


def test_change_letters_are_those_that_are_documented() -> None:
    assert {each.value for each in Change} == set("+-MUT")
