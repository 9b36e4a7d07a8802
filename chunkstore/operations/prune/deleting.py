"""Deleting objects that nothing names any more, many in a request; what is locked against deletion is left and said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from chunkstore.format import names
from chunkstore.ids import PackId
from chunkstore.operations.pack_listing import ListedPack
from chunkstore.operations.prune.values import PruneResult, Share
from chunkstore.parallel import ordered_map
from chunkstore.progress import Progress
from chunkstore.repository.repository import Surroundings
from chunkstore.storage import Storage, delete_many, locked_until, may_lock

T = TypeVar("T")

_AT_ONCE = 1000
_S = 10**9


class Deleting:
    """Deletes, and counts in a result."""

    def __init__(self, storage: Storage, around: Surroundings, result: PruneResult, progress: Progress) -> None:
        self._storage = storage
        self._around = around
        self._result = result
        self._progress = progress
        self._locks: bool | None = None

    def packs(self, listed: Iterable[ListedPack]) -> None:
        """Delete packs that the storage has."""
        for some in _batches(listed):
            sizes = {names.pack(PackId(each.pack_id)): each.size for each in some}
            free = self._unlocked([*sizes])
            delete_many(self._storage, free)
            size = sum(sizes[name] for name in free)
            self._result.deleted = Share(self._result.deleted.packs + len(free), self._result.deleted.size + size)
            self._progress.advance(len(free), size)

    def index_objects(self, objects: Iterable[str]) -> None:
        """Delete objects below `index/`."""
        for some in _batches(objects):
            free = self._unlocked(some)
            delete_many(self._storage, free)
            self._result.index_objects_deleted += len(free)

    def _unlocked(self, objects: list[str]) -> list[str]:
        """Those that may go. Where a lock only hides an object, deleting it would free nothing and tell nobody."""
        if self._locks is None:
            self._locks = may_lock(self._storage)
        if not self._locks:
            return objects
        now, workers = self._around.clock() / _S, self._around.workers

        def look(name: str) -> tuple[str, float | None]:
            return name, locked_until(self._storage, name)

        free = []
        for name, until in ordered_map(look, objects, workers, 2 * workers, "locks"):
            if until is None or until <= now:
                free.append(name)
            else:
                self._result.locked.append((name, until))
        return free


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    every = iter(items)
    while some := list(islice(every, _AT_ONCE)):
        yield some
