"""Restores for tests of the engine: into targets that hold something, with what was fetched and said."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from chunkstore.format import names
from chunkstore.operations.catalog import read_record
from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import Reading, reading
from chunkstore.operations.restore.plan import plan
from chunkstore.operations.restore.restoring import restore
from chunkstore.operations.restore.values import Restored, RestoreOptions, Step
from chunkstore.progress import Silent
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.tree.looking import LookedAt
from chunkstore.tree.overwriting import Overwrite
from chunkstore.tree.patterns import command_rule
from chunkstore.tree.target import Target
from tests.engine import Client, Taken, WatchedStorage, identity

ALWAYS, IF_CHANGED, IF_NEWER, NEVER, REFUSE = (
    Overwrite.ALWAYS,
    Overwrite.IF_CHANGED,
    Overwrite.IF_NEWER,
    Overwrite.NEVER,
    Overwrite.REFUSE,
)


class Told(NamedTuple):
    """What a restore did, path -> action, and the bytes that were asked of packs."""

    done: Restored
    steps: dict[bytes, str]
    asked: int


class CountingStorage(WatchedStorage):
    """Counts the bytes of packs that are got."""

    asked = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        if name.startswith(names.PACKS):
            self.asked += len(data)
        return data


def rules(*patterns: str) -> tuple[Any, ...]:
    """`-x` excludes x, `+x` includes it."""
    return tuple(command_rule(os.fsencode(each[1:]), each[0] == "+", b"/") for each in patterns)


@contextmanager
def opened(client: Client) -> Iterator[tuple[Reading, CountingStorage]]:
    """A client that reads, and what it asks for from then on."""
    storage = CountingStorage(client.storage)
    counting = replace(client, storage=storage)
    repository = counting.open("read")
    opener = open_content(repository, identity)
    with reading(repository, opener, counting.around, Silent()) as read:
        storage.asked = 0
        yield read, storage


def restored(
    client: Client,
    taken: Taken,
    target: Path,
    overwrite: Overwrite = ALWAYS,
    *,
    path: Path | None = None,
    dry_run: bool = False,
    manifest: Callable[[ManifestReader], Any] = lambda manifest: manifest,
    ownership: Any = None,
    **options: Any,
) -> Told:
    """Restore what was taken; `manifest` may put another one in its place."""
    steps: dict[bytes, str] = {}

    def told(step: Step) -> None:
        assert step.relative not in steps, step
        steps[step.relative] = step.action.value

    how = RestoreOptions(told=told, **options)
    where, part = os.fsencode(target), os.fsencode(path) if path else None
    signed = read_record(client.open("read"), taken.id)
    assert signed is not None
    with opened(client) as (read, storage):
        found = manifest(read.manifest(signed.record))
        if dry_run:
            with LookedAt.open(where, overwrite=overwrite, ownership=ownership) as there:
                done = plan(read.reader, found, signed.record, part, there, Silent(), how)
        else:
            delete = how.delete and not how.rules
            with Target.prepare(where, overwrite=overwrite, delete=delete, ownership=ownership) as place:
                done = restore(read.reader, found, signed.record, part, place, client.workers, Silent(), how)
        return Told(done, steps, storage.asked)
