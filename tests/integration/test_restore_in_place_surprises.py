"""A target that has more to it than names and bytes: mounts, shared inodes, filled holes, locked directories."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chunkstore.storage import MemoryStorage
from tests.engine import Client
from tests.restoring import ALWAYS, IF_CHANGED, restored
from tests.targets import as_nobody
from tests.trees import IS_ROOT, age


@pytest.fixture
def client(tmp_path: Path) -> Client:
    client = Client(MemoryStorage(), tmp_path / "client")
    client.create()
    return client


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def mount(stack: ExitStack, place: Path, *what: str) -> None:
    done = subprocess.run(["mount", *what, str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    stack.callback(subprocess.run, ["umount", "-l", str(place)], check=True)


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts")
@pytest.mark.parametrize("bind", [False, True])
def test_what_is_mounted_on_a_directory_of_the_snapshot_is_not_emptied(
    client: Client, tmp_path: Path, mounts: ExitStack, bind: bool
) -> None:
    """The snapshot was made without what is mounted now, as --one-file-system has it: the directory is empty in it."""
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "mounted").mkdir(parents=True)
    (tree / "kept").write_bytes(b"kept")
    other.mkdir()
    taken = client.snapshot(tree)
    mount(mounts, tree / "mounted", *(["--bind", str(other)] if bind else ["-t", "tmpfs", "tmpfs"]))
    (tree / "mounted" / "deep").mkdir()
    (tree / "mounted" / "deep" / "precious").write_bytes(b"of another file system")
    (tree / "extra").write_bytes(b"extra")
    told = restored(client, taken, tree, IF_CHANGED, delete=True)
    assert not told.done.problems
    assert (tree / "mounted" / "deep" / "precious").read_bytes() == b"of another file system"
    assert not (tree / "extra").exists()
    assert told.done.deleted == 1


@pytest.mark.parametrize("overwrite", [ALWAYS, IF_CHANGED])
def test_names_that_share_a_file_only_in_the_target_are_parted(
    client: Client, tmp_path: Path, overwrite: object
) -> None:
    tree, target = tmp_path / "tree", tmp_path / "target"
    for place in (tree, target):
        place.mkdir()
    for name, content in (("same-1", b"same"), ("same-2", b"same"), ("one", b"1" * 9000), ("other", b"2" * 9000)):
        (tree / name).write_bytes(content)
    age(tree)
    taken = client.snapshot(tree)
    shutil.copy2(tree / "same-1", target / "same-1")
    os.link(target / "same-1", target / "same-2")
    shutil.copy2(tree / "one", target / "one")
    os.link(target / "one", target / "other")
    told = restored(client, taken, target, overwrite)  # type: ignore[arg-type]
    assert not told.done.problems
    for name in ("same-1", "same-2", "one", "other"):
        assert (target / name).read_bytes() == (tree / name).read_bytes()
        assert (target / name).stat().st_nlink == 1


def test_holes_that_were_filled_are_holes_again(client: Client, tmp_path: Path) -> None:
    tree, target = tmp_path / "tree", tmp_path / "target"
    tree.mkdir()
    target.mkdir()
    with (tree / "sparse").open("wb") as file:
        file.write(b"begin")
        file.truncate(4 << 20)
    age(tree)
    taken = client.snapshot(tree)
    (target / "sparse").write_bytes((tree / "sparse").read_bytes())
    told = restored(client, taken, target, ALWAYS)
    assert not told.done.problems
    assert (target / "sparse").read_bytes() == (tree / "sparse").read_bytes()
    assert (target / "sparse").stat().st_blocks <= (tree / "sparse").stat().st_blocks + 8


def test_a_directory_that_locks_its_owner_out_is_restored_into(client: Client, tmp_path: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)

        def round_trip() -> None:
            place = Path(directory)
            own = Client(MemoryStorage(), place / "client")
            own.create()
            (place / "tree" / "closed").mkdir(parents=True)
            (place / "tree" / "closed" / "file").write_bytes(b"inside")
            taken = own.snapshot(place / "tree")
            shutil.copytree(place / "tree", place / "target")
            (place / "target" / "closed" / "file").write_bytes(b"changed")
            (place / "target" / "closed").chmod(0)
            told = restored(own, taken, place / "target", ALWAYS)
            assert not told.done.problems
            assert (place / "target" / "closed" / "file").read_bytes() == b"inside"
            shutil.rmtree(place / "client")

        as_nobody(round_trip)
