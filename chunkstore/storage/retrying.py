"""A wrapper that tries again what fails for a moment: pauses that grow, at random, until a deadline.

Pauses are even between 0 and min(30 s, 0.25 s * 2^n), so that many clients of one server do not come back together
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). The deadline counts from the first failure
of a call; a call that is under way then is let to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from chunkstore.errors import Interrupted, ObjectMissing, StorageUnreachable
from chunkstore.storage.options import Waiting
from chunkstore.storage.protocol import (
    Buffer,
    ObjectInfo,
    Storage,
    check_prefix,
    connections,
    delete_many,
    entries,
    extend_retention,
    locked_until,
    may_lock,
)

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 30.0
DEADLINE_BEFORE_SUCCESS_S: Final = 30.0
"""A storage that never answered is given up after this: more likely its name is wrong than that it comes back."""

_Answer = TypeVar("_Answer")


class RetryingStorage:
    """Passes calls on to another storage, again and again while they fail with a transient error. See `Storage`.

    After `deadline` seconds the last error is raised, with how long it was tried. Who asks the run to end does not wait
    for that: Interrupted instead of a pause.
    """

    def __init__(self, inner: Storage, deadline: float, waiting: Waiting) -> None:
        self._inner = inner
        self._deadline = deadline
        self._waiting = waiting
        self._has_answered = False
        self._troubled = False

    @property
    def location(self) -> str:
        return self._inner.location

    @property
    def connections(self) -> int:
        """See `TakesManyRequests`."""
        return connections(self._inner)

    def put(self, name: str, data: Buffer) -> None:
        self._retried(lambda: self._inner.put(name, data))

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        """See `Storage`. Once an answer was lost, an object with exactly this content counts as created by this call."""
        patience = _Patience(self)

        def attempt() -> bool:
            if self._inner.put_if_absent(name, data):
                return True
            return patience.failures > 0 and self._holds(name, data)

        return patience.retried(attempt)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._retried(lambda: self._inner.get(name, offset, length))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. A listing that breaks off begins again, and goes on after the last name it gave."""
        check_prefix(prefix)
        return self._listing(prefix)

    def stat(self, name: str) -> ObjectInfo:
        return self._retried(lambda: self._inner.stat(name))

    def delete(self, name: str) -> None:
        self._retried(lambda: self._inner.delete(name))

    def delete_many(self, names: Iterable[str]) -> None:
        """See `DeletesMany`."""
        every = tuple(names)
        self._retried(lambda: delete_many(self._inner, every))

    def entries(self) -> Sequence[str]:
        """See `ShowsEntries`."""
        return self._retried(lambda: entries(self._inner))

    def extend_retention(self, name: str, until: float) -> bool:
        """See `LocksObjects`."""
        return self._retried(lambda: extend_retention(self._inner, name, until))

    def locked_until(self, name: str) -> float | None:
        """See `LocksObjects`."""
        return self._retried(lambda: locked_until(self._inner, name))

    def may_lock(self) -> bool:
        """See `LocksObjects`."""
        return self._retried(lambda: may_lock(self._inner))

    def _retried(self, action: Callable[[], _Answer]) -> _Answer:
        return _Patience(self).retried(action)

    def _holds(self, name: str, data: Buffer) -> bool:
        """Whether the object is what was to be put: it is our own, and the answer was lost."""
        try:
            return self._inner.get(name) == bytes(data)
        except ObjectMissing as error:
            raise StorageUnreachable(f"{name} was there and is gone again", transient=True) from error

    def _listing(self, prefix: str) -> Iterator[ObjectInfo]:
        last, patience = "", _Patience(self)
        while True:
            try:
                for info in self._inner.list(prefix):
                    if info.name > last:
                        last, patience = info.name, patience.renewed()
                        yield info
                self._answered()
                return
            except StorageUnreachable as error:
                patience.fail(error)

    # -- shared by all calls; races between threads only make a message come once more

    def _answered(self) -> None:
        self._has_answered = True
        self._troubled = False

    def _in_trouble(self, error: StorageUnreachable) -> None:
        if not self._troubled:
            self._troubled = True
            self._waiting.tell(f"{error}; trying again for up to {self._time_limit():.0f} s")

    def _time_limit(self) -> float:
        return self._deadline if self._has_answered else min(self._deadline, DEADLINE_BEFORE_SUCCESS_S)


class _Patience:
    """What is left of it, for one call."""

    def __init__(self, storage: RetryingStorage) -> None:
        self._storage = storage
        self._waiting = storage._waiting
        self._since = 0.0
        self.failures = 0

    def renewed(self) -> _Patience:
        """All of it again, after some progress."""
        return _Patience(self._storage) if self.failures else self

    def retried(self, action: Callable[[], _Answer]) -> _Answer:
        """What `action` returns in the end. A missing object is an answer, too."""
        while True:
            try:
                answer = action()
            except ObjectMissing:
                self._storage._answered()
                raise
            except StorageUnreachable as error:
                self.fail(error)
            else:
                self._storage._answered()
                return answer

    def fail(self, error: StorageUnreachable) -> None:
        """Pause, or raise the error when it is not of the kind that passes or there is no time left."""
        if not error.transient:
            raise error
        now = self._waiting.clock()
        self._since = self._since if self.failures else now
        self.failures += 1
        pause = self._waiting.random() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures, 20))
        tried = now - self._since
        if tried + pause > self._storage._time_limit():
            raise StorageUnreachable(f"{error} (tried {_times(self.failures)} in {tried:.0f} s)") from error
        self._storage._in_trouble(error)
        self._wait_until(now + pause)

    def _wait_until(self, moment: float) -> None:
        waiting = self._waiting
        while (left := moment - waiting.clock()) > 0:
            if waiting.stop():
                raise Interrupted("interrupted while the storage did not answer")
            waiting.sleep(min(left, waiting.slice_seconds))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
