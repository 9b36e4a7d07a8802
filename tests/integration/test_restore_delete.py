"""What a restore removes and what it leaves, what a restore with rules takes, and that looking changes nothing."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from random import Random

import pytest

from chunkstore.errors import Damaged, TargetError
from chunkstore.storage import MemoryStorage
from chunkstore.tree.overwriting import Overwrite
from tests.engine import KIB, Client, Taken
from tests.restoring import ALWAYS, IF_CHANGED, IF_NEWER, NEVER, REFUSE, restored, rules
from tests.trees import IS_ROOT, age, below, look, noise, plant


@pytest.fixture
def client(tmp_path: Path) -> Client:
    client = Client(MemoryStorage(), tmp_path / "client")
    client.create()
    return client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    plant(
        root,
        {
            b"notes.txt": b"notes",
            b"photo.jpg": noise(9 * KIB),
            b"a": {b"a.txt": b"a", b"a.jpg": noise(5 * KIB, 2), b"deep": {b"d.txt": b"d"}},
            b"b": {b"b.jpg": noise(6 * KIB, 3)},
            b"empty": {},
            b"link": "notes.txt",
        },
    )
    age(root)
    return root


@pytest.fixture
def taken(client: Client, source: Path) -> Taken:
    return client.snapshot(source)


@pytest.fixture
def target(client: Client, taken: Taken, tmp_path: Path) -> Path:
    """A restore to which something came."""
    target = tmp_path / "target"
    client.restore_to(taken.id, target)
    (tmp_path / "outside").write_bytes(b"outside")
    plant(target, {b"extra.txt": b"x", b"extra.jpg": b"x", b"extra": {b"1.txt": b"1", b"sub": {b"2.jpg": b"2"}}})
    plant(target, {b"to outside": str(tmp_path / "outside"), b"to nowhere": "nowhere"})
    plant(target / "a" / "deep", {b"more": {b"3.txt": b"3"}})
    plant(target / "empty", {b"4.txt": b"4"})
    return target


EXTRAS = {
    b"extra.txt", b"extra.jpg", b"extra", b"extra/1.txt", b"extra/sub", b"extra/sub/2.jpg", b"to outside", b"to nowhere",
    b"a/deep/more", b"a/deep/more/3.txt", b"empty/4.txt",
}  # fmt: skip


def gone(before: set[bytes], target: Path) -> set[bytes]:
    return before - set(look(target))


# -- deleting


@pytest.mark.parametrize("overwrite", [ALWAYS, IF_CHANGED, IF_NEWER, NEVER])
def test_what_the_snapshot_does_not_have_goes(
    client: Client, taken: Taken, source: Path, target: Path, overwrite: Overwrite
) -> None:
    done, steps, _ = restored(client, taken, target, overwrite, delete=True)
    assert (done.deleted, done.problems) == (len(EXTRAS), [])
    assert {path for path, action in steps.items() if action == "delete"} == EXTRAS
    assert below(target) == below(source)
    assert (target.parent / "outside").read_bytes() == b"outside"
    assert restored(client, taken, target, overwrite, delete=True).done.deleted == 0


def test_what_is_there_stays_without_being_asked(client: Client, taken: Taken, target: Path) -> None:
    assert restored(client, taken, target, ALWAYS).done.deleted == 0
    assert set(look(target)) >= EXTRAS


def test_only_what_is_below_a_chosen_path_goes(client: Client, taken: Taken, source: Path, target: Path) -> None:
    before = set(look(target))
    restored(client, taken, target / "a", ALWAYS, delete=True, path=source / "a")
    assert gone(before, target) == {b"a/deep/more", b"a/deep/more/3.txt"}


def test_a_single_file_deletes_nothing(client: Client, taken: Taken, source: Path, target: Path) -> None:
    before = set(look(target))
    restored(client, taken, target, ALWAYS, delete=True, path=source / "notes.txt")
    assert gone(before, target) == set()


def test_only_directories_of_roots_are_cleared_of_several(client: Client, source: Path, tmp_path: Path) -> None:
    """What is beside the roots is not of the snapshot."""
    both = client.snapshot(source / "a", source / "b")
    target = tmp_path / "target"
    restored(client, both, target, ALWAYS)
    inside = target / str(source).lstrip("/")
    for place in (target, inside, inside / "a"):
        (place / "extra").write_bytes(b"")
    done = restored(client, both, target, ALWAYS, delete=True).done
    assert done.deleted == 1
    assert [place for place in (target, inside, inside / "a") if (place / "extra").exists()] == [target, inside]


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["-*.jpg"], {b"extra.jpg", b"extra", b"extra/sub", b"extra/sub/2.jpg"}),
        (["-sub"], {b"extra", b"extra/sub", b"extra/sub/2.jpg"}),
        (["-extra"], {b"extra", b"extra/1.txt", b"extra/sub", b"extra/sub/2.jpg"}),
        (["-a/deep"], {b"a/deep/more", b"a/deep/more/3.txt"}),
        (["-*", "+extra.txt"], EXTRAS - {b"extra.txt"}),
        (["+*.txt"], EXTRAS - {b"extra.txt", b"empty/4.txt"}),
        (["+a"], EXTRAS - {b"a/deep/more", b"a/deep/more/3.txt"}),
        (["+nothing"], EXTRAS),
    ],
)
def test_what_is_not_restored_is_not_deleted(
    client: Client, taken: Taken, target: Path, patterns: list[str], kept: set[bytes]
) -> None:
    """A folder that is not included is not looked into, unless the snapshot has it."""
    before = set(look(target))
    planned = restored(client, taken, target, ALWAYS, delete=True, rules=rules(*patterns), dry_run=True)
    done, steps, _ = restored(client, taken, target, ALWAYS, delete=True, rules=rules(*patterns))
    assert gone(before, target) == EXTRAS - kept
    assert {path for path, action in steps.items() if action == "delete"} == EXTRAS - kept
    assert planned.done.deleted == done.deleted == len(EXTRAS - kept)
    assert planned.steps == steps | {
        path: action for path, action in planned.steps.items() if action in ("unchanged", "attributes")
    }


def test_what_is_spared_stays(client: Client, taken: Taken, target: Path) -> None:
    before = set(look(target))
    done = restored(client, taken, target, ALWAYS, delete=True, spared=(b"extra/sub", b"empty/4.txt")).done
    assert done.problems == []
    assert before - set(look(target)) == EXTRAS - {b"extra", b"extra/sub", b"extra/sub/2.jpg", b"empty/4.txt"}


def test_a_directory_in_the_way_goes(client: Client, taken: Taken, source: Path, target: Path) -> None:
    (target / "notes.txt").unlink()
    plant(target / "notes.txt", {b"in": {b"the": b"way"}})
    (target / "link").unlink()
    (target / "link").mkdir()
    done = restored(client, taken, target, ALWAYS, delete=True).done
    assert done.problems == []
    assert below(target) == below(source)


def test_links_in_the_way_of_directories_are_not_followed(
    client: Client, taken: Taken, source: Path, target: Path
) -> None:
    outside = target.parent / "elsewhere"
    plant(outside, {b"deep": {b"precious": b"precious"}, b"precious": b"precious"})
    subprocess.run(["rm", "-r", target / "a"], check=True)
    (target / "a").symlink_to(outside)
    assert restored(client, taken, target, ALWAYS, delete=True).done.problems == []
    assert below(target) == below(source)
    assert {path for path in look(outside) if path} == {b"deep", b"deep/precious", b"precious"}


def test_nothing_is_deleted_when_the_manifest_is_damaged(client: Client, taken: Taken, target: Path) -> None:
    class Broken:
        """Breaks off before its end."""

        def __init__(self, manifest: object) -> None:
            self._manifest = manifest

        def below(self, path: bytes):  # type: ignore[no-untyped-def]
            entries = [*self._manifest.below(path)]  # type: ignore[attr-defined]
            yield from entries[:-1]
            raise Damaged("broken")

        def __getattr__(self, name: str) -> object:
            return getattr(self._manifest, name)

    before = set(look(target))
    with pytest.raises(Damaged, match="broken"):
        restored(client, taken, target, ALWAYS, delete=True, manifest=Broken)
    assert gone(before, target) == set()


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts")
@pytest.mark.parametrize("patterns", [[], ["-*.keep"]])
def test_what_is_mounted_in_a_target_is_not_emptied(
    client: Client, taken: Taken, target: Path, patterns: list[str]
) -> None:
    mounted = target / "extra" / "sub"
    if subprocess.run(["mount", "-t", "tmpfs", "none", mounted], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed")
    try:
        (mounted / "precious.keep").write_bytes(b"precious")
        (mounted / "precious").write_bytes(b"precious")
        restored(client, taken, target, ALWAYS, delete=True, rules=rules(*patterns))
        assert {path.name for path in mounted.iterdir()} == {"precious", "precious.keep"}
        assert not (target / "extra.txt").exists()
    finally:
        subprocess.run(["umount", mounted], check=True)


def test_many_extras_wait_on_disk(client: Client, tmp_path: Path) -> None:
    plant(tmp_path / "source", {b"one": b"1"})
    taken = client.snapshot(tmp_path / "source")
    plant(tmp_path / "target", {b"%05d" % number: b"" for number in range(2500)})
    done = restored(client, taken, tmp_path / "target", ALWAYS, delete=True).done
    assert (done.deleted, done.problems) == (2500, [])
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["one"]


# -- rules


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["-*.jpg"], {b"", b"notes.txt", b"a", b"a/a.txt", b"a/deep", b"a/deep/d.txt", b"b", b"empty", b"link"}),
        (["+*.jpg"], {b"", b"photo.jpg", b"a", b"a/a.jpg", b"b", b"b/b.jpg"}),
        (["+deep"], {b"", b"a", b"a/deep", b"a/deep/d.txt"}),
        (["+a", "-*.jpg"], {b"", b"a", b"a/a.txt", b"a/deep", b"a/deep/d.txt"}),
        (["-a", "+*.txt"], {b"", b"notes.txt", b"photo.jpg", b"b", b"b/b.jpg", b"empty", b"link"}),
        (["+nothing"], {b""}),
    ],
)
def test_rules_choose_what_is_restored(
    client: Client, taken: Taken, source: Path, tmp_path: Path, patterns: list[str], wanted: set[bytes]
) -> None:
    restored(client, taken, tmp_path / "out", REFUSE, rules=rules(*patterns))
    expected, found = look(source), look(tmp_path / "out")
    assert set(found) == wanted
    assert {path: seen for path, seen in found.items() if path} == {path: expected[path] for path in wanted if path}


def test_rules_are_about_original_paths(client: Client, taken: Taken, source: Path, tmp_path: Path) -> None:
    below_it = rules(f"-{source}/a/deep")
    restored(client, taken, tmp_path / "out", REFUSE, rules=below_it, path=source / "a")
    assert set(look(tmp_path / "out")) == {b"", b"a.txt", b"a.jpg"}
    restored(client, taken, tmp_path / "all", REFUSE, rules=rules("-/a/deep"), path=source / "a")
    assert b"deep/d.txt" in look(tmp_path / "all")


# -- looking


def every_detail(root: Path) -> dict[bytes, tuple[object, ...]]:
    """What a look can not change, links' access times apart."""
    found = {}
    for path, status in [(path, os.lstat(os.path.join(os.fsencode(root), path))) for path in look(root)]:
        times = (status.st_mtime_ns, status.st_ctime_ns, 0 if stat.S_ISLNK(status.st_mode) else status.st_atime_ns)
        found[path] = (status.st_ino, status.st_mode, status.st_size, *times)
    return found


@pytest.mark.parametrize("overwrite", [ALWAYS, IF_CHANGED, IF_NEWER, NEVER])
def test_a_dry_run_says_what_a_restore_does_and_changes_nothing(
    client: Client, taken: Taken, source: Path, target: Path, overwrite: Overwrite
) -> None:
    (target / "photo.jpg").write_bytes(noise(9 * KIB)[:-1])
    with (target / "a" / "a.jpg").open("r+b") as file:
        file.write(b"other")
    (target / "b" / "b.jpg").chmod(0o600)
    (target / "notes.txt").unlink()
    os.utime(target / "a" / "a.txt", ns=(0, 0))
    for path in look(target):
        where = os.path.join(os.fsencode(target), path)
        status = os.lstat(where)
        os.utime(where, ns=(10**9, status.st_mtime_ns), follow_symlinks=False)  # so that any reading would show
    look(target)
    for path in look(target):
        where = os.path.join(os.fsencode(target), path)
        os.utime(where, ns=(10**9, os.lstat(where).st_mtime_ns), follow_symlinks=False)
    atimes = {
        path: os.lstat(os.path.join(os.fsencode(target), path)).st_atime_ns for path in EXTRAS | {b"a", b"b", b""}
    }
    planned = restored(client, taken, target, overwrite, delete=True, dry_run=True)
    assert atimes == {path: os.lstat(os.path.join(os.fsencode(target), path)).st_atime_ns for path in atimes}
    before = every_detail(target)
    restored(client, taken, target, overwrite, delete=True, dry_run=True)
    after = every_detail(target)
    assert {path: each[:-1] for path, each in after.items()} == {path: each[:-1] for path, each in before.items()}
    real = restored(client, taken, target, overwrite, delete=True)
    noted = {path: action for path, action in planned.steps.items() if action not in ("unchanged", "attributes")}
    assert noted.items() >= {p: a for p, a in real.steps.items() if a not in ("unchanged", "attributes")}.items()
    for name in ("updated", "kept", "deleted", "links", "hard_links", "unchanged", "directories"):
        if name != "updated":  # a small file is replaced, whatever differs in it
            assert getattr(planned.done, name) == getattr(real.done, name), name
    assert planned.done.files + planned.done.updated == real.done.files + real.done.updated


def test_a_dry_run_counts_what_would_be_fetched(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    plant(source, {b"big": noise(300 * KIB)})
    taken = client.snapshot(source)
    fresh = restored(client, taken, target, REFUSE, dry_run=True).done
    assert (fresh.files, fresh.fetched) == (1, 300 * KIB)
    assert not target.exists()
    restored(client, taken, target)
    with (target / "big").open("r+b") as file:
        file.seek(100_000)
        file.write(b"changed")
    planned = restored(client, taken, target, ALWAYS, dry_run=True)
    assert 0 < planned.done.fetched <= 8 * KIB
    assert planned.done.bytes == restored(client, taken, target, ALWAYS).done.bytes


def test_a_dry_run_of_a_new_target_makes_nothing(client: Client, taken: Taken, source: Path, tmp_path: Path) -> None:
    planned = restored(client, taken, tmp_path / "new" / "target", REFUSE, dry_run=True)
    assert not (tmp_path / "new").exists()
    assert planned.steps == dict.fromkeys(look(source), "create")
    assert planned.steps == restored(client, taken, tmp_path / "new" / "target", ALWAYS).steps | {b"": "create"}


def test_a_dry_run_refuses_what_a_restore_refuses(client: Client, taken: Taken, target: Path) -> None:
    with pytest.raises(TargetError, match="is not empty"):
        restored(client, taken, target, REFUSE, dry_run=True)
    with pytest.raises(TargetError, match="is not a directory"):
        restored(client, taken, target / "notes.txt", REFUSE, dry_run=True)
    (target / "photo.jpg").unlink()
    (target / "photo.jpg").mkdir()
    planned, real = (
        restored(client, taken, target, ALWAYS, dry_run=dry_run).done.problems for dry_run in (True, False)
    )
    assert planned == real
    assert len(real) == 1


@pytest.mark.parametrize("seed", range(25))
def test_after_deleting_the_target_is_the_snapshot(client: Client, tmp_path: Path, seed: int) -> None:
    """Random trees over random trees: of every kind over every other kind."""
    random = Random(seed)

    def random_tree(depth: int = 0) -> dict[bytes, object]:
        tree: dict[bytes, object] = {}
        for name in random.sample([b"a", b"b", b"c", b"a-b", b"d"], random.randrange(5)):
            kind = random.randrange(4 if depth < 3 else 3)
            tree[name] = random_tree(depth + 1) if kind == 3 else "a" if kind == 2 else random.randbytes(kind * 3000)
        return tree

    source, target = tmp_path / "source", tmp_path / "target"
    plant(source, random_tree())  # type: ignore[arg-type]
    age(source)
    taken = client.snapshot(source)
    plant(target, random_tree())  # type: ignore[arg-type]
    planned = restored(client, taken, target, ALWAYS, delete=True, dry_run=True)
    real = restored(client, taken, target, ALWAYS, delete=True)
    assert (planned.done.problems, real.done.problems) == ([], [])
    assert look(target) == look(source)
    # What stands in the way of something else goes with it, and is not counted.
    assert {p for p, a in real.steps.items() if a == "delete"} == {p for p, a in planned.steps.items() if a == "delete"}
