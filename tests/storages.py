"""Places of every kind for tests of the engine: in memory, a directory, on a real S3 server, on a real SFTP server.

A test that takes `fresh` gets places in memory, unless it is marked with `everywhere` or `elsewhere`: then it runs once
with each kind. A kind whose server is not installed is skipped, and the test says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TypeAlias

import pytest

from chunkstore.storage import LocalStorage, MemoryStorage, Storage, StorageOptions
from chunkstore.storage.retrying import RetryingStorage
from tests.engine import temporary_directory, waiting
from tests.s3_server import FIRST_BUCKET, SeaweedFS
from tests.ssh_server import SshServer

REMOTE = ("s3", "sftp")
KINDS = ("memory", "local", *REMOTE)
DEADLINE_S = 60.0

everywhere = pytest.mark.parametrize("fresh", KINDS, indirect=True)
elsewhere = pytest.mark.parametrize("fresh", KINDS[1:], indirect=True)
"""For what another test does in memory, more thoroughly."""


@dataclass(frozen=True)
class Place:
    """A place for one storage: a new storage object on each `open`; for other processes its URL and what they must know.

    What is in memory is gone when it is opened again, and has no URL.
    """

    open: Callable[[], Storage]
    url: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


Fresh: TypeAlias = Callable[[], Place]
"""Gives another place where nothing is yet."""


def fresh_places(kind: str, request: pytest.FixtureRequest) -> Fresh:
    """Places of this kind; what it needs is started, and stopped at the end of all tests."""
    if kind == "memory":
        return lambda: Place(MemoryStorage)
    found: Fresh = request.getfixturevalue(f"{kind}_places")
    return found


@contextmanager
def local_places() -> Iterator[Fresh]:
    """Directories, written durably."""
    with temporary_directory() as base:
        numbers = itertools.count()

        def fresh() -> Place:
            path = base / f"{next(numbers)}"
            return Place(lambda: LocalStorage(path, create=True), str(path))

        yield fresh


def s3_places(server: SeaweedFS) -> Fresh:
    """Prefixes in a bucket; all have one client, as making one takes longer than most tests."""
    from chunkstore.storage.s3 import S3Storage
    from chunkstore.storage.s3_client import make_client

    access = server.access()
    environment = {name: value for name, value in access.environment.items() if value is not None}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client = make_client("s3://test", StorageOptions())

    def fresh() -> Place:
        prefix = f"engine-{token_hex(6)}/"
        return Place(
            lambda: RetryingStorage(S3Storage(client, FIRST_BUCKET, prefix), DEADLINE_S, waiting()),
            f"s3://{FIRST_BUCKET}/{prefix}",
            environment,
        )

    return fresh


@contextmanager
def sftp_places(server: SshServer, home: Path) -> Iterator[Fresh]:
    """Directories on the server; all share connections."""
    from chunkstore.storage.sftp import SftpStorage, parse
    from chunkstore.storage.sftp_pool import SessionPool
    from chunkstore.storage.ssh_connection import SshConnector

    options = server.options(server.home(home))
    target, _ = parse(server.url("/").removeprefix("sftp://"), options)
    pool = SessionPool(SshConnector(target, options), 4)
    with temporary_directory() as base:
        numbers = itertools.count()

        def fresh() -> Place:
            path = base / f"{next(numbers)}"
            return Place(
                lambda: RetryingStorage(SftpStorage(pool, str(path), target.shown, create=True), DEADLINE_S, waiting()),
                server.url(path),
                {"HOME": str(home)},
            )

        yield fresh
        pool.close()
