"""The pools: order, window, errors, end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from chunkstore.parallel import LATER, Later, OrderedPool, PerThread, ordered_map, staged_map

WORKERS = [0, 1, 2, 5]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def slow_square(n: int) -> int:
    time.sleep((n * 7 % 5) / 2000)
    return n * n


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("window", [1, 2, 7, 100])
def test_results_come_in_order(workers: int, window: int) -> None:
    assert list(ordered_map(slow_square, range(40), workers, window)) == [n * n for n in range(40)]


@pytest.mark.parametrize("workers", WORKERS)
def test_submit_and_drain_give_everything_once(workers: int) -> None:
    with OrderedPool(slow_square, workers, 3) as pool:
        results = [result for n in range(25) for result in pool.submit(n)]
        results += pool.drain()
        assert list(pool.drain()) == []
    assert results == [n * n for n in range(25)]


def test_without_workers_it_happens_in_submit() -> None:
    seen: list[tuple[int, threading.Thread]] = []
    with OrderedPool(lambda n: seen.append((n, threading.current_thread())), 0, 4) as pool:
        for n in range(3):
            assert len(pool.submit(n)) == 1
            assert seen[-1] == (n, threading.current_thread())


def test_with_workers_it_happens_elsewhere() -> None:
    names = set(ordered_map(lambda _: threading.current_thread().name, range(20), 2, 4, "those"))
    assert all(name.startswith("those") for name in names)


class Gate:
    """A function that waits until it is let through, and counts how many items it was given."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = threading.Event()
        self.begun = 0

    def __call__(self, item: int) -> int:
        with self._lock:
            self.begun += 1
        assert self._open.wait(30)
        return item

    def let_through(self) -> None:
        self._open.set()


@pytest.mark.parametrize("window", [1, 2, 4])
def test_a_full_window_makes_who_submits_wait(window: int) -> None:
    gate = Gate()
    handed = []
    with OrderedPool(gate, 1, window) as pool:

        def submit_all() -> None:
            for n in range(window + 3):
                handed.append(n)
                pool.submit(n)

        thread = threading.Thread(target=submit_all)
        thread.start()
        _until(lambda: len(handed) > window)
        time.sleep(0.05)
        assert len(handed) == window + 1  # the last of them waits in `submit`
        gate.let_through()
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_never_more_than_the_window_is_under_way(workers: int, window: int) -> None:
    """Under way or waiting to be taken: what `submit` has not returned, the item it is called with included."""
    lock, begun, taken, most = threading.Lock(), 0, 0, 0

    def work(item: int) -> int:
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - taken)
        time.sleep(0.001)
        return item

    with OrderedPool(work, workers, window) as pool:
        for n in range(30):
            results = pool.submit(n)
            with lock:
                taken += len(results)
    assert most <= window


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_comes_where_its_result_would(workers: int) -> None:
    def work(n: int) -> int:
        if n == 5:
            raise KeyError(n)
        return slow_square(n)

    results: list[int] = []
    with pytest.raises(KeyError, match="5"):
        results.extend(ordered_map(work, range(20), workers, 3))
    assert results == [n * n for n in range(len(results))]
    assert len(results) <= 5


@pytest.mark.parametrize("workers", WORKERS)
def test_no_result_before_an_error_is_lost(workers: int) -> None:
    """`submit` may find several results and an error at once; those before the error are handed out first."""

    def work(n: int) -> int:
        if n == 5:
            raise KeyError(n)
        return n

    results: list[int] = []

    def consume() -> None:
        for result in ordered_map(work, range(20), workers, 8):
            time.sleep(0.001)
            results.append(result)

    with pytest.raises(KeyError):
        consume()
    assert results == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("workers", WORKERS)
def test_the_end_of_the_world_is_not_swallowed(workers: int) -> None:
    class End(BaseException):
        pass

    def work(n: int) -> int:
        raise End

    with pytest.raises(End):
        list(ordered_map(work, range(5), workers, 2))


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_of_the_source_ends_the_pool(workers: int) -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise OSError("source")

    with pytest.raises(OSError, match="source"):
        list(ordered_map(slow_square, source(), workers, 2))


@pytest.mark.parametrize("workers", WORKERS)
def test_a_consumer_that_leaves_early_ends_the_pool(workers: int) -> None:
    results = ordered_map(slow_square, iter(range(1000)), workers, 4)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", WORKERS)
def test_closing_twice_is_closing(workers: int) -> None:
    pool = OrderedPool(slow_square, workers, 3)
    pool.submit(1)
    pool.close()
    pool.close()
    assert list(pool.drain()) == []


def test_closing_forgets_what_has_not_begun() -> None:
    gate = Gate()
    pool = OrderedPool(gate, 1, 10)
    for n in range(8):
        pool.submit(n)
    _until(lambda: gate.begun == 1)
    closing = threading.Thread(target=pool.close)
    closing.start()
    time.sleep(0.05)
    assert closing.is_alive()  # waits for what has begun
    gate.let_through()
    closing.join(30)
    assert gate.begun == 1


def test_one_slow_item_does_not_keep_the_others_waiting() -> None:
    """With `ready` results that wait for an older one leave their place to the next item."""
    gate, done = threading.Event(), []

    def work(item: int) -> int:
        if item == 0:
            assert gate.wait(30)
        done.append(item)
        return item

    with OrderedPool(work, 2, 2, ready=3) as pool:
        assert [result for n in range(5) for result in pool.submit(n)] == []
        _until(lambda: len(done) == 4)
        gate.set()
        assert list(pool.drain()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ready", [1, 3])
def test_never_more_than_the_window_is_at_work_nor_more_results_kept(ready: int) -> None:
    lock, at_work, most, begun, taken, kept = threading.Lock(), 0, 0, 0, 0, 0

    def work(item: int) -> int:
        nonlocal at_work, most, begun, kept
        with lock:
            begun, at_work = begun + 1, at_work + 1
            most, kept = max(most, at_work), max(kept, begun - taken)
        time.sleep((item * 7 % 5) / 2000)
        with lock:
            at_work -= 1
        return item

    with OrderedPool(work, 5, 2, ready=ready) as pool:
        for n in range(60):
            results = pool.submit(n)
            with lock:
                taken += len(results)
        taken += len(list(pool.drain()))
    assert taken == 60
    assert most <= 2
    assert kept <= 2 + ready


@pytest.mark.parametrize("workers", WORKERS)
def test_stages_see_results_before_more_is_asked_for(workers: int) -> None:
    """Items that come in groups, no group before the one before the last is out at the other end."""
    out: list[int] = []
    seen: list[int] = []

    def items() -> Iterator[int | Later]:
        for group in range(6):
            seen.append(len(out))
            yield from range(group * 10, group * 10 + 10)
            while len(out) < group * 10:
                yield LATER

    first = staged_map(slow_square, items(), workers, 4, "first")
    for result in staged_map(lambda n: -n, first, workers, 7, "second"):
        if not isinstance(result, Later):
            out.append(result)
    assert out == [-n * n for n in range(60)]
    assert all(done >= (group - 1) * 10 for group, done in enumerate(seen))


def test_every_thread_has_a_value_of_its_own() -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    per_thread = PerThread(make)
    barrier = threading.Barrier(3)
    got: list[tuple[object, object]] = []

    def work() -> None:
        barrier.wait(30)
        got.append((per_thread.get(), per_thread.get()))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(first is second for first, second in got)
    assert len({id(first) for first, _ in got}) == 3 == len(made)


def _until(what: Callable[[], bool]) -> None:
    for _ in range(3000):
        if what():
            return
        time.sleep(0.01)
    raise AssertionError("it never happened")
