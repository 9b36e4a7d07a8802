"""A repository that can only be read, by a user who has no other rights: all that reads works, and writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chunkstore.errors import StorageUnreachable
from chunkstore.operations.catalog import snapshots
from chunkstore.progress import Silent
from chunkstore.storage import LocalStorage
from chunkstore.storage.faulty import WRITING_VERBS, RecordingStorage
from tests.engine import Client, describe, make_tree, temporary_directory

NOBODY = 65534


@contextmanager
def as_nobody(*belongings: Path) -> Iterator[None]:
    """As a user without rights, who owns these directories; as the user of the tests where that is not root."""
    if os.geteuid() != 0:
        yield
        return
    for top in belongings:
        for path in [top, *top.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def only_readable(top: Path) -> Iterator[None]:
    every = [top, *top.rglob("*")]
    for path in every:
        path.chmod(path.stat().st_mode & 0o555)
    try:
        yield
    finally:
        for path in every:
            path.chmod(path.stat().st_mode | 0o200)


def test_what_can_only_be_read_can_be_listed_and_restored() -> None:
    with temporary_directory() as base:
        base.chmod(0o755)
        storage = LocalStorage.create(base / "repository")
        client = Client(storage, base / "client")
        tree = base / "tree"
        make_tree(tree, seed=1)
        client.create()
        made = client.snapshot(tree)
        was = describe(tree)
        repository = base / "repository"
        before = sorted(str(path) for path in repository.rglob("*"))
        client.without_cache()
        (base / "client" / "cache").mkdir()
        with only_readable(repository), as_nobody(repository, base / "client", tree):
            recording = RecordingStorage(LocalStorage(repository, create=True))
            reader = client.but(storage=recording)
            assert [each.record.id for each in snapshots(reader.open(), Silent())] == [made.id]
            assert reader.restored(made.id) == was
            assert reader.stored(made.id)
            assert not [call for call in recording.calls if call.verb in WRITING_VERBS]
            with pytest.raises(StorageUnreachable, match="Permission denied"):
                client.but(storage=LocalStorage(repository)).snapshot(tree)
        assert sorted(str(path) for path in repository.rglob("*")) == before
