"""Restoring into what is there already: what is written, what is kept, and that little is fetched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from chunkstore.errors import TargetError
from chunkstore.storage import MemoryStorage
from chunkstore.tree.overwriting import Overwrite
from chunkstore.tree.target import Ownership
from tests.engine import KIB, Client, Taken, flip, indexed_packs
from tests.one_of_each import one_of_each, rsync_differences
from tests.restoring import ALWAYS, IF_CHANGED, IF_NEWER, NEVER, REFUSE, restored
from tests.trees import IS_ROOT, OLD_NS, age, below, look, noise, plant

BIG = 2000 * KIB
MANIFEST = 96 * KIB
"""What reading the manifest of these small snapshots costs at most."""
LITTLE = MANIFEST + 400 * KIB
"""With a few chunks, whose ranges are widened."""
CHUNK = 16 * KIB
OVERWRITING = (ALWAYS, IF_CHANGED, IF_NEWER, NEVER)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    client = Client(MemoryStorage(), tmp_path / "client")
    client.create("pyfastcdc:2K,4K,16K", frame_size=16 * KIB, pack_size=1024 * KIB)
    return client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    plant(
        root,
        {
            b"big": noise(BIG),
            b"small": b"small",
            b"empty": b"",
            b"link": "small",
            b"directory": {b"inner": noise(9 * KIB, 3), b"nested": {b"deep": b"deep"}},
        },
    )
    os.mkfifo(root / "pipe")
    age(root)
    return root


@pytest.fixture
def taken(client: Client, source: Path) -> Taken:
    return client.snapshot(source)


@pytest.fixture
def target(client: Client, taken: Taken, tmp_path: Path) -> Path:
    """A restore that is complete."""
    client.restore_to(taken.id, tmp_path / "target")
    return tmp_path / "target"


def touch(path: Path, time: int = OLD_NS + 10**18) -> None:
    os.utime(path, ns=(time, time), follow_symlinks=False)


# -- nothing to do


@pytest.mark.parametrize("overwrite", OVERWRITING)
def test_what_is_restored_already_is_not_touched(
    client: Client, taken: Taken, source: Path, target: Path, overwrite: Overwrite
) -> None:
    before = {path: os.lstat(target / os.fsdecode(path)) for path in look(target)}
    done, steps, asked = restored(client, taken, target, overwrite)
    assert (done.files, done.updated, done.links, done.specials, done.bytes) == (0, 0, 0, 0, 0)
    if overwrite in (ALWAYS, IF_CHANGED):
        assert (done.unchanged, done.kept) == (7, 0)
        assert set(steps.values()) == {"unchanged"}
    else:
        assert (done.unchanged, done.kept) == (0, 7)
        assert set(steps.values()) == {"keep"}
    assert done.problems == []
    assert asked < MANIFEST
    assert below(target) == below(source)
    for path, old in before.items():
        new = os.lstat(target / os.fsdecode(path))
        assert (new.st_ino, new.st_mtime_ns) == (old.st_ino, old.st_mtime_ns), path


def test_refuse_takes_only_an_empty_target(client: Client, taken: Taken, source: Path, target: Path) -> None:
    with pytest.raises(TargetError, match="--overwrite if-changed"):
        restored(client, taken, target, REFUSE)
    (target.parent / "empty").mkdir()
    assert restored(client, taken, target.parent / "empty", REFUSE).done.problems == []
    assert below(target.parent / "empty") == below(source)


# -- what each mode does with each kind


def spoil(target: Path) -> None:
    """Everything is another one now, some of it of another kind; all of it newer than the snapshot."""
    (target / "big").write_bytes(b"short")
    (target / "small").unlink()
    (target / "small").symlink_to("/etc")
    (target / "empty").write_bytes(b"not empty")
    (target / "link").unlink()
    (target / "link").write_bytes(b"a file")
    (target / "pipe").unlink()
    (target / "pipe").write_bytes(b"a file")
    (target / "directory" / "inner").write_bytes(noise(9 * KIB, 4))
    for path in ("big", "small", "empty", "link", "pipe", "directory/inner"):
        touch(target / path)


@pytest.mark.parametrize("overwrite", [ALWAYS, IF_CHANGED])
def test_what_differs_is_replaced(
    client: Client, taken: Taken, source: Path, target: Path, overwrite: Overwrite
) -> None:
    spoil(target)
    done = restored(client, taken, target, overwrite).done
    assert done.problems == []
    assert (done.files + done.updated, done.links, done.specials, done.unchanged, done.kept) == (4, 1, 1, 1, 0)
    assert below(target) == below(source)


@pytest.mark.parametrize("overwrite", [IF_NEWER, NEVER])
def test_what_is_newer_is_kept(client: Client, taken: Taken, target: Path, overwrite: Overwrite) -> None:
    spoil(target)
    before = below(target)
    done, _, asked = restored(client, taken, target, overwrite)
    assert (done.files, done.updated, done.links, done.specials, done.kept) == (0, 0, 0, 0, 7)
    assert asked < MANIFEST
    assert below(target) == before


def test_if_newer_replaces_what_is_older(client: Client, taken: Taken, source: Path, target: Path) -> None:
    spoil(target)
    for path in ("big", "small", "link", "pipe"):
        touch(target / path, OLD_NS - 1)
    done = restored(client, taken, target, IF_NEWER).done
    assert done.kept == 3
    after, wanted = below(target), below(source)
    kept = {path for path in after if after[path] != wanted[path]}
    assert kept == {b"empty", b"directory/inner"}


@pytest.mark.parametrize("overwrite", OVERWRITING)
def test_what_is_missing_is_made(
    client: Client, taken: Taken, source: Path, target: Path, overwrite: Overwrite
) -> None:
    for path in ("small", "link", "pipe", "directory/nested/deep"):
        (target / path).unlink()
    (target / "directory" / "nested").rmdir()
    (target / "mine").write_bytes(b"mine")
    done = restored(client, taken, target, overwrite).done
    assert (done.files, done.links, done.specials, done.problems) == (2, 1, 1, [])
    assert (target / "mine").read_bytes() == b"mine"
    (target / "mine").unlink()
    touch(target, look(source)[b""].mtime_ns)
    assert look(target) == look(source)


def test_never_leaves_attributes_of_files_alone(client: Client, taken: Taken, target: Path) -> None:
    (target / "small").chmod(0o600)
    restored(client, taken, target, NEVER)
    assert stat.S_IMODE((target / "small").stat().st_mode) == 0o600


@pytest.mark.parametrize("overwrite", [ALWAYS, IF_CHANGED])
def test_attributes_alone_are_set_without_fetching(
    client: Client, taken: Taken, source: Path, target: Path, overwrite: Overwrite
) -> None:
    for path in ("big", "small", "empty"):
        (target / path).chmod(0o600)
    done, steps, asked = restored(client, taken, target, overwrite)
    assert (done.files, done.updated, done.unchanged) == (0, 0, 7)
    assert {path for path, action in steps.items() if action == "attributes"} == {b"big", b"small", b"empty"}
    assert asked < MANIFEST
    assert below(target) == below(source)


def test_if_changed_believes_size_and_time_and_always_does_not(
    client: Client, taken: Taken, source: Path, target: Path
) -> None:
    before = (target / "big").stat().st_mtime_ns
    (target / "big").write_bytes(noise(BIG, 9))
    touch(target / "big", before)
    assert restored(client, taken, target, IF_CHANGED).done.updated == 0
    assert (target / "big").read_bytes() == noise(BIG, 9)
    assert restored(client, taken, target, ALWAYS).done.updated == 1
    assert below(target) == below(source)


def test_a_directory_in_the_way_is_a_problem_of_that_entry_alone(client: Client, taken: Taken, target: Path) -> None:
    (target / "small").unlink()
    plant(target / "small", {b"precious": b"precious"})
    (target / "empty").unlink()
    done = restored(client, taken, target, ALWAYS).done
    assert len(done.problems) == 1
    assert "small: a directory is in the way" in done.problems[0]
    assert (target / "small" / "precious").read_bytes() == b"precious"
    assert (target / "empty").exists()


def test_owners_are_left_alone_where_that_is_asked_for(client: Client, taken: Taken, tmp_path: Path) -> None:
    if not IS_ROOT:
        pytest.skip("only root gives files away")
    target = tmp_path / "target"
    os.makedirs(target)
    restored(client, taken, target, ALWAYS, ownership=Ownership.NONE)
    os.chown(target / "small", 1234, 1234)
    os.chown(target / "link", 1234, 1234, follow_symlinks=False)
    again = restored(client, taken, target, IF_CHANGED, ownership=Ownership.NONE).done
    assert (again.unchanged, again.files, again.links) == (7, 0, 0)
    assert {(target / name).lstat().st_uid for name in ("small", "link")} == {1234}


# -- in place


def change(path: Path, *offsets: int, size: int = 10) -> None:
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(bytes(size))


def test_only_parts_that_differ_are_fetched_and_written(
    client: Client, taken: Taken, source: Path, target: Path
) -> None:
    inode = (target / "big").stat().st_ino
    change(target / "big", 100, BIG // 2)
    done, steps, asked = restored(client, taken, target, IF_CHANGED)
    assert (done.files, done.updated, steps[b"big"]) == (0, 1, "update")
    assert 0 < done.bytes <= 4 * CHUNK
    assert asked <= LITTLE
    assert done.fetched == asked
    assert (target / "big").stat().st_ino == inode
    assert below(target) == below(source)


@pytest.mark.parametrize("size", [0, 1, 5000, BIG - 1, BIG + 1, 3 * BIG])
def test_a_file_of_another_length_is_changed_in_place(
    client: Client, taken: Taken, source: Path, target: Path, size: int
) -> None:
    with (target / "big").open("r+b") as file:
        file.truncate(size)
    done = restored(client, taken, target).done
    assert done.updated == 1
    assert done.bytes <= max(BIG - size, 0) + CHUNK
    assert below(target) == below(source)


@pytest.mark.parametrize("of_somebody_else", [False, True])
def test_a_file_that_others_may_see_change_is_replaced_by_a_copy(
    client: Client, taken: Taken, source: Path, target: Path, of_somebody_else: bool
) -> None:
    """It has another name, or belongs to somebody else: the parts that are the same are copied, not fetched."""
    change(target / "big", 100)
    spoiled = (target / "big").read_bytes()
    if of_somebody_else and IS_ROOT:
        os.chown(target / "big", 1234, 1234)
    else:
        os.link(target / "big", target.parent / "other name")
    inode = (target / "big").stat().st_ino
    done, steps, asked = restored(client, taken, target)
    assert (done.files, done.updated, steps[b"big"]) == (1, 0, "create")
    assert asked <= LITTLE
    assert (target / "big").stat().st_ino != inode
    if not of_somebody_else or not IS_ROOT:
        assert (target.parent / "other name").read_bytes() == spoiled
    assert below(target) == below(source)


def test_attributes_of_a_file_with_another_name_outside_are_set_on_a_copy(
    client: Client, taken: Taken, source: Path, target: Path
) -> None:
    for name in ("big", "small"):
        (target / name).chmod(0o600)
        os.link(target / name, target.parent / name)
    done, _, asked = restored(client, taken, target)
    assert (done.files, done.problems) == (2, [])
    assert asked < MANIFEST
    assert stat.S_IMODE((target.parent / "big").stat().st_mode) == 0o600
    assert below(target) == below(source)


def test_damage_leaves_a_changed_file_part_old_part_new_and_says_so(client: Client, taken: Taken, target: Path) -> None:
    change(target / "big", *range(0, BIG, CHUNK))
    packs = indexed_packs(client.open())
    largest = max(packs, key=lambda info: info.size)
    frame = largest.frames[len(largest.frames) // 2]
    from chunkstore.format import names as object_names

    flip(client.storage, object_names.pack(largest.pack_id), frame.offset + frame.stored // 2)
    done = restored(client, taken, target).done
    big = [problem for problem in done.problems if "big" in problem]
    assert len(big) == 1
    assert "content incomplete" in big[0]
    assert (target / "big").stat().st_size == BIG
    assert (target / "big").stat().st_mtime_ns != look_time(taken)
    again = restored(client, taken, target, IF_CHANGED).done
    assert any("big" in problem for problem in again.problems)


def look_time(taken: Taken) -> int:
    return taken.record.time


# -- holes and links


def test_one_of_each_is_mended(client: Client, tmp_path: Path) -> None:
    """Everything that a file system holds, restored over a copy that was spoiled."""
    source, target = tmp_path / "source", tmp_path / "target"
    one_of_each(source)
    taken = client.snapshot(source)
    assert restored(client, taken, target).done.problems == []
    assert rsync_differences(source, target) == ""
    (target / "sparse").write_bytes(noise(900_005, 44))
    change(target / "plain", 30_000)
    os.setxattr(target / "xattrs", b"user.more", b"more")
    (target / "hard" / "sub" / "second").unlink()
    (target / "hard" / "sub" / "second").write_bytes(b"another")
    (target / "only a hole").write_bytes(b"x" * 300_000)
    for overwrite in (ALWAYS, IF_CHANGED):
        done = restored(client, taken, target, overwrite).done
        assert done.problems == []
        assert rsync_differences(source, target) == ""
        if overwrite is ALWAYS:
            assert (done.files, done.updated, done.hard_links) == (0, 3, 2)
            assert (target / "sparse").stat().st_blocks <= (source / "sparse").stat().st_blocks + 8
    assert (done.files, done.updated) == (0, 0)


def test_a_sparse_file_that_is_as_it_was_is_unchanged(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        file.truncate(10 << 20)
        file.seek(5 << 20)
        file.write(noise(50_000))
    taken = client.snapshot(source)
    assert restored(client, taken, target).done.bytes < 60_000
    done, steps, _ = restored(client, taken, target)
    assert steps[b"sparse"] == "unchanged"
    change(target / "sparse", 1000, size=3)  # zeros in a hole: the same content
    with (target / "sparse").open("r+b") as file:
        file.seek(7 << 20)
        file.write(b"not a hole")
    done, steps, _ = restored(client, taken, target)
    assert (done.updated, done.bytes, steps[b"sparse"]) == (1, 0, "update")
    assert (target / "sparse").read_bytes() == (source / "sparse").read_bytes()


@pytest.mark.parametrize("overwrite", [ALWAYS, IF_CHANGED, NEVER, IF_NEWER])
def test_names_of_one_file_stay_names_of_one_file(client: Client, tmp_path: Path, overwrite: Overwrite) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    plant(source, {b"a": {b"first": noise(50_000)}, b"b": {}})
    os.link(source / "a" / "first", source / "b" / "second")
    os.link(source / "a" / "first", source / "third")
    taken = client.snapshot(source)
    first = restored(client, taken, target, overwrite).done
    assert (first.files, first.hard_links) == (1, 2)
    again = restored(client, taken, target, overwrite).done
    assert (again.files, again.hard_links, again.unchanged + again.kept) == (0, 0, 3)
    (target / "b" / "second").unlink()
    (target / "a" / "first").unlink()
    assert restored(client, taken, target, overwrite).done.hard_links == 2
    assert (
        len({path.stat().st_ino for path in (target / "a" / "first", target / "b" / "second", target / "third")}) == 1
    )


def test_a_first_name_that_was_kept_is_not_linked_to(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    plant(source, {b"first": noise(50_000), b"directory": {}})
    os.link(source / "first", source / "second")
    taken = client.snapshot(source)
    plant(target, {b"first": b"mine"})
    done = restored(client, taken, target, NEVER).done
    assert (done.kept, done.files, done.hard_links) == (1, 1, 0)
    assert (target / "first").read_bytes() == b"mine"
    assert (target / "second").read_bytes() == noise(50_000)


def test_a_first_name_that_can_not_be_restored_costs_no_other(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    plant(source, {b"first": noise(50_000)})
    os.link(source / "first", source / "second")
    taken = client.snapshot(source)
    plant(target, {b"first": {b"in the way": b""}})
    done = restored(client, taken, target).done
    assert (len(done.problems), done.files) == (1, 1)
    assert (target / "second").read_bytes() == noise(50_000)


# -- read again


def test_what_was_written_is_read_again(client: Client, taken: Taken, tmp_path: Path) -> None:
    done = restored(client, taken, tmp_path / "target", verify=True).done
    assert (done.verified, done.problems) == (5 + 3 + 2, [])  # files, directories, link and pipe
    again = restored(client, taken, tmp_path / "target", verify=True).done
    assert again.verified == 3  # directories are always made


def test_what_is_not_on_disk_as_it_was_written_is_named(client: Client, taken: Taken, tmp_path: Path) -> None:
    from chunkstore.operations.restore import restoring as module

    target = tmp_path / "target"
    spoiled = []

    class Spoiling(module.Marks):
        """Somebody writes to the files before they are read again."""

        def in_order(self):  # type: ignore[no-untyped-def]
            change(target / "big", 300 * KIB)
            (target / "small").unlink()
            (target / "directory" / "inner").write_bytes(b"short")
            spoiled.append(True)
            return super().in_order()

    original, module.Marks = module.Marks, Spoiling  # type: ignore[misc]
    try:
        done = restored(client, taken, target, verify=True).done
    finally:
        module.Marks = original  # type: ignore[misc]
    assert spoiled
    assert sorted(problem.split(":")[0] for problem in done.problems) == ["big", "directory/inner", "small"]
    assert done.verified == 10 - 3
