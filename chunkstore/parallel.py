"""The only module that starts threads. Workers run pure functions; whoever submits decides.

With `workers=0` everything runs inline, in the caller's thread, so that tests are deterministic.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


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

    At most `window` items are under way or waiting to be taken: the only back-pressure there is. An exception of
    the function is raised where its result would have been taken.
    """

    def __init__(self, function: Callable[[T], R], workers: int, window: int, name: str = "pool") -> None:
        self._function = function
        self._window = max(window, 1)
        self._pending: deque[Future[R]] = deque()
        self._executor = ThreadPoolExecutor(workers, name) if workers else None

    def submit(self, item: T) -> list[R]:
        """Hand over one item, once there is room for it; returns the results that were ready by then.

        When the function failed for an earlier item, results from before that are returned first; the next call raises.
        """
        finished: list[R] = []
        while self._pending and (len(self._pending) >= self._window or self._pending[0].done()):
            oldest = self._pending[0]
            if finished and oldest.done() and oldest.exception() is not None:
                return finished
            finished.append(oldest.result())
            self._pending.popleft()
        self._pending.append(self._start(item))
        if not self._executor:
            finished.append(self._pending.popleft().result())
        return finished

    def drain(self) -> Iterator[R]:
        """All that is still under way."""
        while self._pending:
            yield self._pending[0].result()
            self._pending.popleft()

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


def in_background(function: Callable[[], None]) -> None:
    """Run something whose result nobody waits for; it ends with the process at the latest."""
    threading.Thread(target=function, name="background", daemon=True).start()
