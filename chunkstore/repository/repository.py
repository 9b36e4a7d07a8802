"""An opened repository: its storage, its key and its config, and the ledger objects in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from chunkstore.errors import Damaged, NoRepository, ObjectMissing, UnsupportedFormat, UntrustedRepository
from chunkstore.format import envelope, names
from chunkstore.format.client_state import ClientState
from chunkstore.format.config import Config, decode_config
from chunkstore.format.kinds import ObjectKind, read_prefix
from chunkstore.ids import RandomBytes, RepositoryId
from chunkstore.keys.derivation import IndexKey
from chunkstore.repository.places import Places, load_state, locked, save_state
from chunkstore.repository.record_cache import RecordCache
from chunkstore.storage import ObjectInfo, Storage

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
    """Storage, pinned state and config. Reads and writes ledger objects; knows nothing of chunks.

    `records`: copies of objects that are never replaced, where this machine keeps them.
    """

    storage: Storage
    state: ClientState
    config: Config
    records: RecordCache | None = None

    @property
    def key(self) -> IndexKey:
        return self.state.key

    def read(self, name: str, *kinds: ObjectKind) -> tuple[ObjectKind, bytes]:
        """(kind, body) of a ledger object. `ObjectMissing`, `Damaged`, `UnsupportedFormat`."""
        return envelope.unseal(self.storage.get(name), name, kinds, self.key)

    def read_listed(self, info: ObjectInfo, *kinds: ObjectKind) -> tuple[ObjectKind, bytes]:
        """The same for an object that is never replaced and was just listed: from this machine if it is here."""
        if self.records is None:
            return self.read(info.name, *kinds)
        if (data := self.records.get(info.name, info.size)) is not None:
            with contextlib.suppress(Damaged, UnsupportedFormat):
                return envelope.unseal(data, info.name, kinds, self.key)
        data = self.storage.get(info.name)
        found = envelope.unseal(data, info.name, kinds, self.key)
        self.records.put(info.name, data)
        return found

    def seal(self, kind: ObjectKind, name: str, body: bytes, random_bytes: RandomBytes) -> bytes:
        """The bytes to store as `name`."""
        return envelope.seal(kind, name, body, self.key, random_bytes)

    def create(self, kind: ObjectKind, name: str, body: bytes, random_bytes: RandomBytes) -> bool:
        """Put-if-absent. True also when a lost answer made it look as if it had been there: the content decides.

        False also when it was there and has been deleted since.
        """
        data = self.seal(kind, name, body, random_bytes)
        created = self.storage.put_if_absent(name, data)
        if not created:
            with contextlib.suppress(ObjectMissing):
                created = bytes(self.storage.get(name)) == data
        if created and kind == ObjectKind.SNAPSHOT and self.records is not None:
            self.records.put(name, data)  # what this machine has made it knows, whatever a listing says
        return created


def numbers(storage: Storage, prefix: str) -> Iterator[int]:
    """The numbers of a chain."""
    return (n for info in storage.list(prefix) if (n := names.number(info.name, prefix)) is not None)


def highest(storage: Storage, prefix: str) -> int | None:
    """The highest number of a chain; None when it has none."""
    return max(numbers(storage, prefix), default=None)


def read_repository_id(storage: Storage) -> RepositoryId:
    """The id that the newest readable config claims. Nothing of it is authentic yet. `NoRepository`."""
    return _claimed_id(_Configs(storage))


class _Configs:
    """The chain of configs as it is listed once, each of them read once."""

    def __init__(self, storage: Storage) -> None:
        self.location = storage.location
        self.numbers = sorted(numbers(storage, names.CONFIG), reverse=True)
        self._storage = storage
        self._read: dict[int, bytes] = {}

    def get(self, number: int) -> bytes:
        if number not in self._read:
            self._read[number] = self._storage.get(names.config(number))
        return self._read[number]


def _claimed_id(configs: _Configs) -> RepositoryId:
    damage: Damaged | UnsupportedFormat | None = None
    for number in configs.numbers:
        name = names.config(number)
        try:
            kind, repository_id = read_prefix(configs.get(number), name)
        except Damaged as e:
            damage = damage or e
            continue
        if kind == ObjectKind.CONFIG:
            return repository_id
        damage = damage or Damaged("is an object of another kind", name)
    raise damage or NoRepository(
        f"there is no repository at {configs.location}. "
        "Check the place, or create one with `chunkstore init --encrypt-to KEY`"
    )


def read_config(data: bytes, number: int, key: IndexKey) -> Config:
    """The config of this number, which must be authentic."""
    name = names.config(number)
    _, body = envelope.unseal(data, name, (ObjectKind.CONFIG,), key)
    return decode_config(body, number)


def newest_config(storage: Storage, key: IndexKey) -> tuple[int, Config]:
    """(number, config) of the highest config that is authentic: rubbish with a higher number blocks nothing.

    `UnsupportedFormat` when the highest is of a newer format, for an older client must not go on as if it were not.
    """
    return _newest(_Configs(storage), key)


def _newest(configs: _Configs, key: IndexKey) -> tuple[int, Config]:
    damage = Damaged("is missing", names.CONFIG)
    for number in configs.numbers:
        try:
            return number, read_config(configs.get(number), number, key)
        except Damaged as e:
            damage = e
    raise damage


def gone_back(before: int, now: int) -> UntrustedRepository:
    """The error for a config chain that became shorter."""
    return UntrustedRepository(
        f"the repository's config went back from number {before} to {now}: "
        "somebody restored an old copy of it, or removes objects"
    )


def open_repository(storage: Storage, places: Places, operation: str) -> Repository:
    """Open for one operation class (`read`, `write`, `prune` or `check`).

    Raises `NoRepository`, `NotAClient`, `UnsupportedFormat`, `Damaged`, `UntrustedRepository`.
    """
    configs = _Configs(storage)
    state = load_state(places, _claimed_id(configs))
    number, config = _newest(configs, state.key)
    config.require(operation)
    if number < state.config:
        raise gone_back(state.config, number)
    if number > state.config:
        with locked(places, config.repository_id):
            state = replace(load_state(places, config.repository_id), config=number)
            save_state(places, state)
    return Repository(storage, state, config, RecordCache(places.cache_path(config.repository_id) / "records"))
