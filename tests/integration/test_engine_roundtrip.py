"""Snapshots of a tree that changes, in this process: each restores as it was, and how it was made leaves no trace.

A snapshot that was merged with the last manifest must be the same, to the segments of its manifest, as one made from
nothing. Left aside is the first segment: it also tells of the directories above the source, which others change.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import reading
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage, Storage
from tests.engine import Client, Taken, describe, identity, temporary_directory
from tests.storages import Fresh, elsewhere
from tests.trees import Node, noise, plant

# Few names, so that trees that follow each other share many, and of an awkward order.
NAMES = st.sampled_from([b"a", b"a-b", b"a.", b"a0", b"a b", b"A", b"\xff", b"z"])
CONTENTS = st.builds(noise, st.sampled_from([0, 1, 200, 255, 256, 257, 5000, 20_000]), st.integers(0, 2))
TARGETS = st.sampled_from(["a", "../z", "/nowhere"])
TREES: st.SearchStrategy[dict[bytes, Node]] = st.dictionaries(
    NAMES,
    st.recursive(CONTENTS | TARGETS, lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=10),
    max_size=6,
)


def become(root: Path, old: Mapping[bytes, Node], new: Mapping[bytes, Node]) -> None:
    """Turn one planted tree into another one; what is in both is not touched."""
    for name in old.keys() | new.keys():
        before, after = old.get(name), new.get(name)
        path = Path(os.fsdecode(os.path.join(os.fsencode(root), name)))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            become(path, before, after)
        elif before != after:
            if isinstance(before, Mapping):
                shutil.rmtree(path)
            elif before is not None:
                path.unlink()
            if after is not None:
                plant(root, {name: after})


def tick() -> None:
    """Longer than the kernel's clock needs to give a changed file another time; the clients trust times at once."""
    time.sleep(0.012)


def manifest(client: Client, root: Path, taken: Taken) -> list[tuple[object, ...]]:
    """Every entry below the root, the ids of its chunks, and the segment that it is in."""
    repository = client.open("read")
    with reading(repository, open_content(repository, identity), client.around, Silent()) as read:
        reader = read.manifest(taken.record)
        first = next(reader.entries()).segment
        return [
            (each.path, each.entry, b"".join(reader.ids(each)), each.segment if each.segment != first else None)
            for each in reader.below(os.fsencode(root))
        ]


def same_from_nothing(client: Client, root: Path, taken: Taken) -> None:
    """A client that has no last manifest makes the same one, and stores nothing new for it."""
    with temporary_directory() as base:
        shutil.copytree(client.places.state, base / "it" / "state")
        afresh = client.but(base=base / "it")
        again = afresh.snapshot(root)
        assert again.result.statistics.bytes_new == 0
        assert manifest(afresh, root, again) == manifest(client, root, taken)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(states=st.lists(TREES, min_size=2, max_size=4))
def test_any_trees_one_after_the_other(states: list[dict[bytes, Node]]) -> None:
    follow(states, MemoryStorage())


@elsewhere
@settings(
    max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, phases=[Phase.generate]
)
@given(states=st.lists(TREES, min_size=2, max_size=4))
def test_some_trees_one_after_the_other(fresh: Fresh, states: list[dict[bytes, Node]]) -> None:
    follow(states, fresh().open())


def follow(states: list[dict[bytes, Node]], storage: Storage) -> None:
    """A snapshot of each state; all restore to what was there."""
    with temporary_directory() as place:
        client, root = Client(storage, place / "client"), place / "root"
        client.create()
        root.mkdir()
        last: dict[bytes, Node] = {}
        expected = {}
        for state in states:
            become(root, last, state)
            last = state
            tick()
            taken = client.snapshot(root)
            expected[taken.id] = describe(root)
            tick()
        same_from_nothing(client, root, taken)
        again = client.snapshot(root)
        counted = again.result.statistics
        assert (counted.bytes_read, counted.files_unchanged) == (0, counted.files)
        assert client.all_restored(list(expected)) == expected


def large_tree(storage: Storage, files: int) -> Iterator[tuple[Client, Path]]:
    with temporary_directory() as place:
        client, root = Client(storage, place / "client"), place / "root"
        client.create(frame_size=128 * 1024, pack_size=256 * 1024)
        choose = random.Random(5)
        for number in range(files):
            directory = root / f"{choose.randrange(40):02d}" / f"{choose.randrange(4)}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"{number:04d}").write_bytes(choose.randbytes(choose.choice((0, 10, 300, 2000))))
        yield client, root


@pytest.fixture
def large() -> Iterator[tuple[Client, Path]]:
    """A tree of some dozen manifest segments."""
    yield from large_tree(MemoryStorage(), 1500)


@pytest.fixture
def less_large(fresh: Fresh) -> Iterator[tuple[Client, Path]]:
    """A tree of a few manifest segments, in a repository of any kind."""
    yield from large_tree(fresh().open(), 250)


def test_a_large_tree_that_changes_here_and_there(large: tuple[Client, Path]) -> None:
    change_here_and_there(*large, (1, 3, 0, 300, 1))


@elsewhere
def test_a_tree_on_a_disk_or_a_server_that_changes_here_and_there(less_large: tuple[Client, Path]) -> None:
    change_here_and_there(*less_large, (1, 0, 60))


def change_here_and_there(client: Client, root: Path, counts: Sequence[int]) -> None:
    """Change so many files before each snapshot."""
    choose = random.Random(6)
    taken = client.snapshot(root)
    expected = {taken.id: describe(root)}
    for count in counts:
        tick()
        files = sorted(path for path in root.rglob("*") if path.is_file())
        for path in choose.sample(files, count):
            match choose.randrange(6):
                case 0:
                    path.unlink()
                case 1:
                    path.write_bytes(choose.randbytes(50))
                case 2:
                    path.with_name(f"{path.name}-beside").write_bytes(b"new")
                case 3:
                    path.chmod(0o600)
                case 4:
                    path.rename(path.parent.parent / path.name)
                case _:
                    shutil.rmtree(path.parent)
                    (path.parent.parent / f"new {path.name}").mkdir()
                    (path.parent.parent / f"new {path.name}" / "f").write_bytes(b"f")
                    break
        tick()
        taken = client.snapshot(root)
        expected[taken.id] = describe(root)
        same_from_nothing(client, root, taken)
    some = list(expected)[1:6:2]
    assert client.all_restored(some) == {each: expected[each] for each in some}
