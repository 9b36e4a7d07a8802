"""Repositories of every format version, whole and damaged, as they were once written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.ids import RepositoryId, SnapshotId
from chunkstore.repository.repository import read_repository_id
from chunkstore.storage import LocalStorage
from tests.engine import Client, describe, flip, listed, make_tree
from tests.golden.make import HERE, as_json

FORMATS = sorted(path.name for path in HERE.glob("format-*"))


def opened(name: str, base: Path) -> Client:
    """A copy of the golden repository, and its client."""
    shutil.copytree(HERE / name / "repository", base / "repository")
    client = Client(LocalStorage(base / "repository", durable=False), base / "client")
    repository_id: RepositoryId = read_repository_id(client.storage)
    state = client.places.state_file(repository_id)
    state.parent.mkdir(parents=True)
    shutil.copyfile(HERE / name / "client", state)
    return client


def expected(name: str) -> dict[SnapshotId, dict[str, list[str]]]:
    return json.loads((HERE / name / "expected.json").read_text())


def test_there_is_one_for_the_present_format() -> None:
    assert FORMATS == ["format-1"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_snapshot_restores_as_it_was(name: str, tmp_path: Path) -> None:
    client = opened(name, tmp_path)
    wanted = expected(name)
    assert len(wanted) == 2
    restored = client.all_restored(list(wanted))
    assert {each: as_json(tree) for each, tree in restored.items()} == wanted


@pytest.mark.parametrize("name", FORMATS)
def test_a_snapshot_is_added_and_finds_what_is_stored(name: str, tmp_path: Path) -> None:
    """The chunker and the ids are those of the version that wrote it."""
    client = opened(name, tmp_path)
    tree = tmp_path / "tree"
    make_tree(tree, seed=11, files=30, largest=6 * 1024)
    taken = client.snapshot(tree)
    assert taken.result.statistics.bytes_read > 0
    assert taken.result.statistics.bytes_new == 0
    assert client.restored(taken.id) == describe(tree)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_damaged_is_said_and_the_rest_restored(name: str, tmp_path: Path) -> None:
    client = opened(name, tmp_path)
    largest = max(client.storage.list(names.PACKS), key=lambda info: info.size)
    flip(client.storage, largest.name, 20_000)
    wanted = expected(name)
    for each in wanted:
        tree, done = client.restore(each)
        got = as_json(tree)
        assert got.items() <= wanted[each].items() or done.problems
        lost = {path for path in wanted[each] if wanted[each][path] != got.get(path)}
        assert lost
        assert len(done.problems) == len({path for path in lost if "file" in wanted[each][path][0]})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("prefix", [names.SNAPSHOTS, names.KEYS])
def test_a_damaged_record_or_key_is_an_error_that_names_it(name: str, prefix: str, tmp_path: Path) -> None:
    client = opened(name, tmp_path)
    for stored in listed(client.storage, prefix):
        flip(client.storage, stored)
    if prefix == names.KEYS:  # the client has copies of its own
        wanted = expected(name)
        assert len(client.all_restored(list(wanted))) == len(wanted)
    else:
        with pytest.raises(Damaged, match=prefix):
            client.all_restored(list(expected(name)))
