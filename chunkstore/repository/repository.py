"""An opened repository: its storage, its key and its config, and the ledger objects in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from chunkstore.errors import Damaged, NoRepository, UntrustedRepository
from chunkstore.format import envelope, names
from chunkstore.format.client_state import ClientState
from chunkstore.format.config import Config, decode_config
from chunkstore.format.kinds import ObjectKind, check_prefix, read_prefix
from chunkstore.ids import RandomBytes, RepositoryId
from chunkstore.keys.derivation import IndexKey
from chunkstore.repository.places import Places, load_state, save_state
from chunkstore.storage import Storage

Clock = Callable[[], int]
"""Nanoseconds since 1970, UTC."""


def never_stop() -> bool:
    """Runs go to their end."""
    return False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run may not fetch itself (I-9): time, randomness, who and where it is, its directories, its workers.

    `stop` is asked often by long runs; when it says True they end cleanly with `Interrupted`.
    """

    clock: Clock
    random_bytes: RandomBytes
    places: Places
    host: str
    user: str
    program: str
    workers: int
    stop: Callable[[], bool] = never_stop


@dataclass(frozen=True, slots=True)
class Repository:
    """Storage, pinned state and config. Reads and writes ledger objects; knows nothing of chunks."""

    storage: Storage
    state: ClientState
    config: Config

    @property
    def key(self) -> IndexKey:
        return self.state.key

    def read(self, name: str, *kinds: ObjectKind) -> tuple[ObjectKind, bytes]:
        """(kind, body) of a ledger object. `ObjectMissing`, `Damaged`, `UnsupportedFormat`."""
        return envelope.unseal(self.storage.get(name), name, kinds, self.key)

    def seal(self, kind: ObjectKind, name: str, body: bytes, random_bytes: RandomBytes) -> bytes:
        """The bytes to store as `name`."""
        return envelope.seal(kind, name, body, self.key, random_bytes)

    def create(self, kind: ObjectKind, name: str, body: bytes, random_bytes: RandomBytes) -> bool:
        """Put-if-absent. True also when a lost answer made it look as if it had been there: the content decides."""
        data = self.seal(kind, name, body, random_bytes)
        return self.storage.put_if_absent(name, data) or bytes(self.storage.get(name)) == data

    def numbers(self, prefix: str) -> list[int]:
        """The numbers of a chain, ascending."""
        return sorted(n for o in self.storage.list(prefix) if (n := names.number(o.name, prefix)) is not None)


def highest(storage: Storage, prefix: str) -> int | None:
    """The highest number of a chain; None when it has none."""
    found = (names.number(o.name, prefix) for o in storage.list(prefix))
    return max((n for n in found if n is not None), default=None)


def read_repository_id(storage: Storage) -> tuple[int, bytes, RepositoryId]:
    """(number, bytes, repository id) of the newest config, whose header alone is read: it is not authentic yet."""
    number = highest(storage, names.CONFIG)
    if number is None:
        raise NoRepository(
            f"there is no repository at {storage.location}. "
            "Check the place, or create one with `chunkstore init --encrypt-to KEY`"
        )
    name = names.config(number)
    data = storage.get(name)
    kind, repository_id = read_prefix(data, name)
    if kind != ObjectKind.CONFIG:
        raise Damaged("is an object of another kind", name)
    return number, data, repository_id


def read_config(data: bytes, number: int, key: IndexKey) -> Config:
    """The authentic config in `data`."""
    name = names.config(number)
    check_prefix(data, name, (ObjectKind.CONFIG,), key.repository_id)
    _, body = envelope.unseal(data, name, (ObjectKind.CONFIG,), key)
    return decode_config(body, number)


def open_repository(storage: Storage, places: Places, operation: str) -> Repository:
    """Open for one operation class (`read`, `write`, `prune` or `check`).

    Raises `NoRepository`, `NotAClient`, `UnsupportedFormat`, `Damaged`, `UntrustedRepository`.
    """
    number, data, repository_id = read_repository_id(storage)
    state = load_state(places, repository_id)
    config = read_config(data, number, state.key)
    config.require(operation)
    if number < state.config:
        raise UntrustedRepository(
            f"the repository's config went back from number {state.config} to {number}: "
            "somebody restored an old copy of it, or removes objects"
        )
    if number > state.config:
        state = replace(state, config=number)
        save_state(places, state)
    return Repository(storage, state, config)


def ledger_objects(
    repository: Repository, prefix: str, kinds: tuple[ObjectKind, ...], on_damage: Callable[[Damaged], None]
) -> Iterator[tuple[str, ObjectKind, bytes]]:
    """(name, kind, body) of all readable objects under `prefix`; what is not authentic is reported and left out."""
    for info in repository.storage.list(prefix):
        try:
            kind, body = repository.read(info.name, *kinds)
        except Damaged as e:
            on_damage(e)
            continue
        yield info.name, kind, body
