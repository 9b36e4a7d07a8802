"""What a storage is: six methods on named objects of bytes. And which names there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias, runtime_checkable

from chunkstore.errors import InvalidArgument

Buffer: TypeAlias = bytes | bytearray | memoryview

# No segment begins with a dot: neither "." nor "..", and a storage may keep files of its own under such names.
_SEGMENT: Final = "[a-z0-9_-][a-z0-9._-]{0,127}"
_NAME: Final = re.compile(f"{_SEGMENT}(?:/{_SEGMENT}){{0,3}}")
_PREFIX: Final = re.compile(f"(?:{_SEGMENT}/){{0,3}}(?:{_SEGMENT})?")
_NAME_HELP: Final = "1 to 4 segments of a-z 0-9 . _ - joined by /, none empty, above 128 or beginning with a dot"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A stored object: its name, its length in bytes, and when it was stored.

    `modified`: seconds since 1970 by the storage's own clock, at least to the second; None where it does not say. Nobody
    vouches for that clock, and a copy of an object has a new time; it is no part of what makes two infos equal.
    """

    name: str
    size: int
    modified: float | None = field(default=None, compare=False)


class Storage(Protocol):
    """Objects by name, whole or not there at all. Every method may be called by many threads at once.

    A name is 1 to 4 segments of `[a-z0-9._-]{1,128}` joined by `/`, no segment beginning with a dot; anything else
    is InvalidArgument before the storage is touched. No object's name may be the directory of another's. What is
    not possible is StorageFull or StorageUnreachable. Once a call that changes something has returned, the change
    survives a crash of the machine, and whoever asks afterwards sees it.
    """

    @property
    def location(self) -> str:
        """Where this is, for messages; without secrets."""

    def put(self, name: str, data: Buffer) -> None:
        """Store an object, replacing what was there; readers see the old one or the new one."""

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        """True: the object was created, by this call, with exactly this content. False: one was there, and still is."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """An object's bytes from `offset` on, at most `length`; what lies past its end is left out.

        ObjectMissing; InvalidArgument for negative numbers.
        """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose name starts with `prefix` (`packs/`, `index/ab`, ``), sorted by name.

        What is stored or deleted meanwhile may be in it or not. An error may come in the midst of it.
        """

    def stat(self, name: str) -> ObjectInfo:
        """An object's length and time; ObjectMissing."""

    def delete(self, name: str) -> None:
        """Make sure that there is no object of this name."""


@runtime_checkable
class TakesManyRequests(Protocol):
    """A storage that says how many requests it is worth having under way at once."""

    @property
    def connections(self) -> int:
        """1 or more; above that calls may wait for each other."""


DEFAULT_CONNECTIONS: Final = 2
"""For storages that do not say: one at work, one on its way there and back."""


def connections(storage: Storage) -> int:
    """How many requests to have under way at once to keep `storage` busy."""
    return storage.connections if isinstance(storage, TakesManyRequests) else DEFAULT_CONNECTIONS


@runtime_checkable
class DeletesMany(Protocol):
    """A storage that can delete many objects in one request."""

    def delete_many(self, names: Iterable[str]) -> None:
        """Make sure that there are no objects of these names. After an error some of them may be gone."""


def delete_many(storage: Storage, names: Iterable[str]) -> None:
    """Delete all of `names`: together where the storage knows how to, else one by one. Errors as of `delete`."""
    if isinstance(storage, DeletesMany):
        storage.delete_many(names)
        return
    for name in names:
        storage.delete(name)


@runtime_checkable
class ShowsEntries(Protocol):
    """A storage in a place that may hold what is no object, and is in no listing."""

    def entries(self) -> Sequence[str]:
        """The names of what is in the place, whoever put it there; at most `MOST_ENTRIES`, and nothing where it is missing.

        Where there are directories, only what is at the top, theirs with a slash at the end, but not that of the storage
        itself. Names are anybody's: they have surrogates for bytes that are no UTF-8.
        """


MOST_ENTRIES: Final = 1000


def entries(storage: Storage) -> Sequence[str]:
    """See `ShowsEntries`; nothing where the storage holds objects alone."""
    return storage.entries() if isinstance(storage, ShowsEntries) else ()


@runtime_checkable
class LocksObjects(Protocol):
    """A storage that can keep objects from being deleted or replaced, by anybody, until a time it knows itself."""

    def extend_retention(self, name: str, until: float) -> bool:
        """Lock an object at least until then (seconds since 1970); False where it was locked for as long already."""

    def locked_until(self, name: str) -> float | None:
        """Until when an object is locked, in seconds since 1970; None when it is not."""

    def may_lock(self) -> bool:
        """Whether there may be locks at all here; True where that can not be told."""


def extend_retention(storage: Storage, name: str, until: float) -> bool:
    """See `LocksObjects`; InvalidArgument where the storage has no locks."""
    return _locking(storage).extend_retention(name, until)


def locked_until(storage: Storage, name: str) -> float | None:
    """See `LocksObjects`; None where the storage has no locks."""
    return storage.locked_until(name) if isinstance(storage, LocksObjects) else None


def may_lock(storage: Storage) -> bool:
    """See `LocksObjects`; False where the storage has no locks."""
    return isinstance(storage, LocksObjects) and storage.may_lock()


def _locking(storage: Storage) -> LocksObjects:
    if not isinstance(storage, LocksObjects):
        raise InvalidArgument(f"{storage.location}: this kind of storage can not lock objects against deletion")
    return storage


def is_name(text: str) -> bool:
    """Whether this can be the name of an object."""
    return _NAME.fullmatch(text) is not None


def check_name(name: str) -> None:
    """InvalidArgument unless this can be the name of an object."""
    if not isinstance(name, str) or not is_name(name):
        raise InvalidArgument(f"not an object name: {name!r}; a name is {_NAME_HELP}")


def check_prefix(prefix: str) -> None:
    """InvalidArgument unless the name of an object can start with this."""
    if not isinstance(prefix, str) or _PREFIX.fullmatch(prefix) is None:
        raise InvalidArgument(f"not the start of an object name: {prefix!r}; a name is {_NAME_HELP}")


def check_range(offset: int, length: int | None) -> None:
    """InvalidArgument for a range with a negative number in it."""
    if offset < 0 or (length is not None and length < 0):
        raise InvalidArgument(f"not a range: {length} bytes from {offset}")
