"""Where a client keeps what belongs to it: the state that must not be lost, and the cache that may be."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chunkstore.errors import Damaged, NotAClient
from chunkstore.format import client_state
from chunkstore.format.client_state import ClientState
from chunkstore.ids import RepositoryId


@dataclass(frozen=True, slots=True)
class Places:
    """Two directories of a user; the files of one repository are under its id in each."""

    state: Path
    cache: Path

    def state_file(self, repository_id: RepositoryId) -> Path:
        return self.state / repository_id.hex() / "client"

    def cache_path(self, repository_id: RepositoryId) -> Path:
        """The directory for rebuildable files, which need not be there."""
        return self.cache / repository_id.hex()

    def cache_directory(self, repository_id: RepositoryId) -> Path:
        """The directory for rebuildable files, made if need be (mode 0700)."""
        path = self.cache_path(repository_id)
        make_private_directory(path)
        return path


def make_private_directory(path: Path) -> None:
    """Make `path` and its parents, readable by the owner only."""
    for each in [*reversed(path.parents), path]:
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=0o700)


def write_private(path: Path, data: bytes) -> None:
    """Replace the file at once and durably, with mode 0600."""
    make_private_directory(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def load_state(places: Places, repository_id: RepositoryId) -> ClientState:
    """This machine's state for the repository; `NotAClient` when there is none."""
    path = places.state_file(repository_id)
    try:
        data = path.read_bytes()
    except FileNotFoundError as e:
        raise NotAClient(
            "this machine is not a client of the repository yet: its keys are not here. "
            "Run `chunkstore join` where the GPG private key is at hand"
        ) from e
    try:
        state = client_state.decode(data)
    except Damaged as e:
        raise Damaged(f"{e.reason}. Move the file away and run `chunkstore join`", str(path)) from e
    if state.key.repository_id != repository_id:
        raise Damaged("belongs to another repository. Move the file away and run `chunkstore join`", str(path))
    return state


@contextlib.contextmanager
def locked(places: Places, repository_id: RepositoryId) -> Iterator[None]:
    """Keep other processes of this machine from changing the state meanwhile: for the moment of a commit.

    The repository itself has no lock; this only orders the sequence numbers of one client.
    """
    path = places.state_file(repository_id).with_name("lock")
    make_private_directory(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def save_state(places: Places, state: ClientState) -> None:
    """Keep the state, mode 0600."""
    write_private(places.state_file(state.key.repository_id), client_state.encode(state))
