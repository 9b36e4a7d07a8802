"""Wrappers for tests: one that fails where it is told to, and one that writes down what it is asked."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, TypeAlias, TypeVar

from chunkstore.errors import StorageUnreachable
from chunkstore.storage.protocol import Buffer, ObjectInfo, Storage

Verb: TypeAlias = Literal["put", "put_if_absent", "get", "list", "stat", "delete"]

VERBS: Final[frozenset[Verb]] = frozenset(("put", "put_if_absent", "get", "list", "stat", "delete"))
WRITING_VERBS: Final[frozenset[Verb]] = frozenset(("put", "put_if_absent", "delete"))

_Answer = TypeVar("_Answer")


class SimulatedCrash(BaseException):
    """The process is gone: not an `Exception`, so that nothing that goes on after errors goes on after this."""


class Outcome(Enum):
    """What becomes of the call that a fault hits."""

    FAILS = "not done, and an error"
    ANSWER_LOST = "done, but an error; a listing breaks off at its end"
    CRASH_BEFORE = "not done, and the process is gone"
    CRASH_AFTER = "done, and the process is gone"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the `at`-th call (1 is the first) among those of `verbs`, once.

    `error` is what FAILS and ANSWER_LOST raise.
    """

    at: int
    outcome: Outcome = Outcome.FAILS
    verbs: frozenset[Verb] = VERBS
    error: Exception = field(default_factory=lambda: StorageUnreachable("an injected fault"))


class FaultyStorage:
    """Passes calls on to another storage, except those a plan says something else about. See `Storage`.

    After a crash every further call, and every further step of a listing, raises SimulatedCrash too.
    """

    def __init__(self, inner: Storage, plan: Sequence[Fault] = ()) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._pending = [*plan]
        self._counts: Counter[Verb] = Counter()
        self._crashed = False

    @property
    def location(self) -> str:
        return self._inner.location

    @property
    def calls(self) -> int:
        """How many calls there were, refused ones after a crash not counted."""
        with self._lock:
            return self._counts.total()

    @property
    def pending(self) -> tuple[Fault, ...]:
        """The faults that have not happened. A test that means to try them all looks that none is left."""
        with self._lock:
            return tuple(self._pending)

    @property
    def crashed(self) -> bool:
        return self._crashed

    def put(self, name: str, data: Buffer) -> None:
        self._call("put", lambda: self._inner.put(name, data))

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        return self._call("put_if_absent", lambda: self._inner.put_if_absent(name, data))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._call("get", lambda: self._inner.get(name, offset, length))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        fault = self._begin("list")
        return self._listing(self._inner.list(prefix), fault)

    def stat(self, name: str) -> ObjectInfo:
        return self._call("stat", lambda: self._inner.stat(name))

    def delete(self, name: str) -> None:
        self._call("delete", lambda: self._inner.delete(name))

    def _call(self, verb: Verb, action: Callable[[], _Answer]) -> _Answer:
        fault = self._begin(verb)
        answer = action()
        self._end(fault)
        return answer

    def _listing(self, inner: Iterator[ObjectInfo], fault: Fault | None) -> Iterator[ObjectInfo]:
        for info in inner:
            if self._crashed:
                raise SimulatedCrash
            yield info
        self._end(fault)

    def _begin(self, verb: Verb) -> Fault | None:
        """Count a call; the fault that hits it afterwards, if any. Raises what hits it before."""
        with self._lock:
            if self._crashed:
                raise SimulatedCrash
            self._counts[verb] += 1
            fault = self._hit_by(verb)
            self._crashed = fault is not None and fault.outcome is Outcome.CRASH_BEFORE
        if fault is None:
            return None
        if fault.outcome is Outcome.FAILS:
            raise fault.error
        if fault.outcome is Outcome.CRASH_BEFORE:
            raise SimulatedCrash
        return fault

    def _end(self, fault: Fault | None) -> None:
        """Raise what a fault does after a call."""
        if fault is None:
            return
        if fault.outcome is Outcome.CRASH_AFTER:
            self._crashed = True
            raise SimulatedCrash
        raise fault.error

    def _hit_by(self, verb: Verb) -> Fault | None:
        for fault in self._pending:
            if verb in fault.verbs and sum(self._counts[counted] for counted in fault.verbs) == fault.at:
                self._pending.remove(fault)
                return fault
        return None


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it was made. `size` is the bytes put or got, or the length stat found; 0 if the call failed."""

    verb: Verb
    name: str
    size: int


class RecordingStorage:
    """Passes calls on to another storage and writes down each when it ended; listings when they begin."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    @property
    def location(self) -> str:
        return self._inner.location

    @property
    def calls(self) -> Sequence[Call]:
        """All calls since the beginning, or since `clear`."""
        with self._lock:
            return tuple(self._calls)

    @property
    def bytes_put(self) -> int:
        """Bytes handed to `put` and `put_if_absent`, also where an object was there already."""
        return sum(call.size for call in self.calls if call.verb in ("put", "put_if_absent"))

    @property
    def bytes_got(self) -> int:
        """Bytes that `get` returned."""
        return sum(call.size for call in self.calls if call.verb == "get")

    def clear(self) -> None:
        """Forget all calls so far."""
        with self._lock:
            self._calls.clear()

    def put(self, name: str, data: Buffer) -> None:
        with self._written_down("put", name) as ended:
            self._inner.put(name, data)
            ended(len(memoryview(data).cast("B")))

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        with self._written_down("put_if_absent", name) as ended:
            created = self._inner.put_if_absent(name, data)
            ended(len(memoryview(data).cast("B")))
            return created

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._written_down("get", name) as ended:
            content = self._inner.get(name, offset, length)
            ended(len(content))
            return content

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._written_down("list", prefix):
            return self._inner.list(prefix)

    def stat(self, name: str) -> ObjectInfo:
        with self._written_down("stat", name) as ended:
            info = self._inner.stat(name)
            ended(info.size)
            return info

    def delete(self, name: str) -> None:
        with self._written_down("delete", name):
            self._inner.delete(name)

    @contextmanager
    def _written_down(self, verb: Verb, name: str) -> Iterator[Callable[[int], None]]:
        """Append the call when the block ends, however it ends, with the size the block reported."""
        size = 0

        def ended(reported: int) -> None:
            nonlocal size
            size = reported

        try:
            yield ended
        finally:
            with self._lock:
                self._calls.append(Call(verb, name, size))
