"""The only module that starts threads. Workers run pure functions; whoever submits decides.

With `workers=0` everything runs inline, in the caller's thread, so that tests are deterministic.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from enum import Enum
from types import TracebackType
from typing import Final, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Later(Enum):
    """What comes instead of an item where none may be asked for until more results were taken."""

    LATER = "later"


LATER: Final = Later.LATER


class PerThread(Generic[T]):
    """One value for each thread, made when the thread first asks: contexts and buffers that must not be shared."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._local = threading.local()

    def get(self) -> T:
        try:
            return self._local.value  # type: ignore[no-any-return]
        except AttributeError:
            value = self._local.value = self._make()
            return value


class OrderedPool(Generic[T, R]):
    """Applies `function` in worker threads; results come back in the order of submission.

    At most `window` items are under way: the only back-pressure there is. Results that wait for an older one, or to be
    taken, count as well, but for `ready` of them: where items weigh much and results little, one slow item does not
    keep the others waiting. An exception of the function is raised where its result would have been taken.
    """

    def __init__(
        self, function: Callable[[T], R], workers: int, window: int, name: str = "pool", *, ready: int = 0
    ) -> None:
        self._function = function
        self._window = max(window, 1)
        self._most = self._window + ready
        self._pending: deque[Future[R]] = deque()
        self._executor = ThreadPoolExecutor(workers, name) if workers else None

    def submit(self, item: T) -> list[R]:
        """Hand over one item, once there is room for it; returns the results that were ready by then.

        When the function failed for an earlier item, results from before that are returned first; the next call raises.
        """
        finished: list[R] = []
        while self._pending and (self._pending[0].done() or not self._has_room()):
            oldest = self._pending[0]
            if finished and oldest.done() and oldest.exception() is not None:
                return finished
            if oldest.done() or len(self._pending) >= self._most:
                finished.append(self.take())
            else:
                wait([each for each in self._pending if not each.done()], return_when=FIRST_COMPLETED)
        self._pending.append(self._start(item))
        if not self._executor:
            finished.append(self._pending.popleft().result())
        return finished

    def _has_room(self) -> bool:
        if self._most == self._window:
            return len(self._pending) < self._window
        under_way = sum(not each.done() for each in self._pending)
        return under_way < self._window and len(self._pending) < self._most

    def is_idle(self) -> bool:
        """Whether there is no result to come."""
        return not self._pending

    def take(self) -> R:
        """The oldest result that was not taken, once it is there."""
        result = self._pending[0].result()
        self._pending.popleft()
        return result

    def drain(self) -> Iterator[R]:
        """All that is still under way."""
        while self._pending:
            yield self.take()

    def _start(self, item: T) -> Future[R]:
        if self._executor:
            return self._executor.submit(self._function, item)
        future: Future[R] = Future()
        try:
            future.set_result(self._function(item))
        except Exception as e:  # noqa: BLE001  raised again where the result is taken
            future.set_exception(e)
        return future

    def close(self) -> None:
        """Forget what has not begun, wait for what has. Idempotent."""
        for future in self._pending:
            future.cancel()
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def __enter__(self) -> OrderedPool[T, R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], workers: int, window: int, name: str = "map"
) -> Iterator[R]:
    """`map` with workers: results in order, at most `window` items ahead of the consumer."""
    with OrderedPool(function, workers, window, name) as pool:
        for item in items:
            yield from pool.submit(item)
        yield from pool.drain()


def staged_map(
    function: Callable[[T], R], items: Iterable[T | Later], workers: int, window: int, name: str
) -> Iterator[R | Later]:
    """`ordered_map` for stages, one behind the other, whose items end when they want to see results first.

    For LATER among the items the oldest result is given back, once it is there; LATER itself when none is under way.
    """
    with OrderedPool(function, workers, window, name) as pool:
        for item in items:
            if not isinstance(item, Later):
                yield from pool.submit(item)
            elif pool.is_idle():
                yield item
            else:
                yield pool.take()
        yield from pool.drain()


def in_background(function: Callable[[], None]) -> None:
    """Run something whose result nobody waits for; it ends with the process at the latest."""
    threading.Thread(target=function, name="background", daemon=True).start()
