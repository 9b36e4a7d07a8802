"""Real code of a process, run alone, as a function of the answers that it gets from a storage.

A process is a `Program`: a function of the storage that it is given, run inline (no workers), with directories, clock
and randomness of its own. So what it does next depends on nothing but the answers that it got so far. A `Behaviour` learns
that by running it: known answers are given from a script, and when the script ends the run goes on alone to its end. Each
step of a script is compared with what the program did before: a program that is not deterministic is an error here, not
an interleaving that is missed. `tests.exploring` puts behaviours together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from chunkstore.errors import ObjectMissing
from chunkstore.format import names
from chunkstore.storage import ObjectInfo
from chunkstore.storage.protocol import Buffer, check_name, check_prefix

READS = frozenset({"get", "list", "stat"})
MODIFIED = 1_900_000_000.0
"""When every object was stored, as the storage says: one moment, since no time may decide anything."""


class Call(NamedTuple):
    """What a process asks of the storage; `pause` is a call too."""

    verb: str
    name: str
    data: bytes = b""
    offset: int = 0
    length: int | None = None


class Kind(Enum):
    """How calls are treated: those that leave no trace that is judged, those that do, and waiting."""

    QUIET = 1
    LOUD = 2
    PAUSE = 3


_NOT_JUDGED = (names.SESSIONS, names.PLANS)


def _kind(call: Call) -> Kind:
    if call.verb == "pause":
        return Kind.PAUSE
    return Kind.QUIET if call.verb in READS or call.name.startswith(_NOT_JUDGED) else Kind.LOUD


class Object(NamedTuple):
    name: str
    data: bytes


Answer: TypeAlias = Any
MISSING: Answer = "missing"


class Unwound(BaseException):
    """Ends a process at once; it calls nothing more."""


class Door:
    """A storage as one process sees it: each call goes through `ask`."""

    def __init__(self, ask: Callable[[Call], Answer]) -> None:
        self._ask = ask

    @property
    def location(self) -> str:
        return "memory:"

    def put(self, name: str, data: Buffer) -> None:
        check_name(name)
        self._ask(Call("put", name, bytes(data)))

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        check_name(name)
        return bool(self._ask(Call("put_if_absent", name, bytes(data))))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return bytes(self._there(Call("get", name, b"", offset, length)))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        return iter([_info(name, size) for name, size in self._ask(Call("list", prefix))])

    def stat(self, name: str) -> ObjectInfo:
        return _info(name, self._there(Call("stat", name)))

    def delete(self, name: str) -> None:
        check_name(name)
        self._ask(Call("delete", name))

    def pause(self, seconds: float) -> None:
        """Somebody waits; it takes no time."""
        self._ask(Call("pause", f"{seconds}"))

    def _there(self, call: Call) -> Answer:
        check_name(call.name)
        answer = self._ask(call)
        if answer is MISSING:
            raise ObjectMissing(call.name)
        return answer


def _info(name: str, size: int) -> ObjectInfo:
    info: Callable[..., ObjectInfo] = ObjectInfo
    return info(name, size, MODIFIED) if "modified" in ObjectInfo.__dataclass_fields__ else info(name, size)


@dataclass(frozen=True)
class Program:
    """A process: its name, what it runs, and whether it may take away what another one said that it stored."""

    name: str
    run: Callable[[Door], object]
    takes_away: bool = False


def _conflict(mine: Call, other: Call, there: bool) -> bool:
    """Whether the order of the two may matter, to somebody who makes them or in what they leave behind."""
    if mine.verb in READS and other.verb in READS:
        return False
    if mine.verb == "pause" or other.verb == "pause":
        return False
    if mine.verb == "list" or other.verb == "list":
        return mine.name.startswith(other.name) or other.name.startswith(mine.name)
    return mine.name == other.name and not (there and mine.verb in READS and other.verb == "put_if_absent")


class Storages:
    """All contents that the storage ever had, all calls and all answers, by number; a content is a set of objects."""

    def __init__(self, first: dict[str, bytes]) -> None:
        self.calls: list[Call] = []
        self.kinds: list[Kind] = []
        self.answers: list[Answer] = []
        self._objects: list[Object] = []
        self._contents: list[tuple[int, ...]] = []
        self._numbers: dict[object, int] = {}
        self._done: dict[tuple[int, int], tuple[int, int]] = {}
        self._conflicts: dict[tuple[int, bool], tuple[int, int]] = {}
        self.view = lru_cache(8192)(self._view)
        self.first = self._content(self._number(self._objects, Object(*each)) for each in first.items())

    def __len__(self) -> int:
        return len(self._contents)

    def _number(self, all_of_it: list[Any], each: Any) -> int:
        key = id(all_of_it), each
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(all_of_it)
            all_of_it.append(each)
        return found

    def call(self, call: Call) -> int:
        number = self._number(self.calls, call)
        if number == len(self.kinds):
            self.kinds.append(_kind(call))
        return number

    def answer(self, answer: Answer) -> int:
        return self._number(self.answers, (type(answer), answer))

    def _content(self, numbers: Iterable[int]) -> int:
        return self._number(self._contents, tuple(sorted(numbers)))

    def _view(self, storage: int) -> dict[str, bytes]:
        return dict(self._objects[n] for n in self._contents[storage])

    def conflicts(self, call: int, *, there: bool) -> int:
        """The set of calls, as bits, that may change the answer to this one, or get another answer because of it.

        `there`: whether the object exists; to create it if it is absent does nothing then.
        """
        mask, known = self._conflicts.get((call, there), (0, 0))
        if known < len(self.calls):
            mine = self.calls[call]
            for number in range(known, len(self.calls)):
                mask |= _conflict(mine, self.calls[number], there) << number
            self._conflicts[call, there] = mask, len(self.calls)
        return mask

    def apply(self, storage: int, call: int) -> tuple[int, int]:
        """(storage afterwards, answer) of a call."""
        found = self._done.get((storage, call))
        if found is None:
            after, answer = self._apply(storage, self.calls[call])
            found = self._done[storage, call] = after, self.answer(answer)
        return found

    def _apply(self, storage: int, call: Call) -> tuple[int, Answer]:
        now, name = self.view(storage), call.name
        match call.verb:
            case "list":
                return storage, tuple((n, len(now[n])) for n in sorted(now) if n.startswith(name))
            case "get" | "stat":
                if name not in now:
                    return storage, MISSING
                end = None if call.length is None else call.offset + call.length
                return storage, now[name][call.offset : end] if call.verb == "get" else len(now[name])
            case "pause":
                return storage, None
            case "put_if_absent" if name in now:
                return storage, False
        kept = [n for n in self._contents[storage] if self._objects[n].name != name]
        if call.verb == "delete":
            return self._content(kept), None
        new = self._number(self._objects, Object(name, call.data))
        return self._content([*kept, new]), True if call.verb == "put_if_absent" else None


Step: TypeAlias = tuple[int, int]
"""A node, and the number of the answer to its call."""


class Behaviour:
    """What a program does after which answers: nodes, of which each has one call, or is an end with an outcome."""

    def __init__(self, program: Program, storages: Storages) -> None:
        self.program = program
        self.storages = storages
        self.calls: list[int | None] = []
        self.depth: list[int] = []
        self.outcomes: dict[int, object] = {}
        self.executions = 0
        self.ahead: list[int] = []
        """By node: the set of calls, as bits, that were seen there or later."""
        self._parents: list[Step] = []
        self._next: dict[Step, int] = {}
        self._learn([], storages.first)

    def after(self, node: int, answer: int, storage: int) -> int:
        """The node that follows when its call got this answer, after which the storage is as it is."""
        found = self._next.get((node, answer))
        if found is None:
            self._learn([*self.history(node), (node, answer)], storage)
            found = self._next[node, answer]
        return found

    def history(self, node: int) -> list[Step]:
        """All steps before `node`, from the beginning."""
        path = []
        while self.depth[node]:
            path.append(self._parents[node])
            node = self._parents[node][0]
        return path[::-1]

    def call(self, node: int) -> Call | None:
        """What is asked there; None at an end."""
        number = self.calls[node]
        return None if number is None else self.storages.calls[number]

    def wrote(self, node: int) -> bool:
        """Whether the call before this node was one that writes."""
        before = self.call(self._parents[node][0]) if self.depth[node] else None
        return before is not None and before.verb not in READS and before.verb != "pause"

    def _learn(self, script: list[Step], storage: int) -> None:
        """Run the program: answers of the script first, then alone, to its end or until it waits."""
        self.executions += 1
        steps: list[Step] = []
        over = False

        def ask(call: Call) -> Answer:
            nonlocal storage, over
            number = self.storages.call(call)
            if over:
                raise Unwound
            if len(steps) < len(script):
                step = script[len(steps)]
                assert self.calls[step[0]] == number, f"{self.program.name} does {call[:2]}, not {self.call(step[0])}"
            else:
                node = self._enter(steps, number)
                if call.verb == "pause":
                    over = True
                    raise Unwound
                storage, answer = self.storages.apply(storage, number)
                step = node, answer
            steps.append(step)
            return self.storages.answers[step[1]][1]

        try:
            outcome: object = self.program.run(Door(ask))
        except Unwound:
            return
        except Exception as e:
            outcome = e
        assert len(steps) >= len(script), f"{self.program.name} ended before it did what it had done: {outcome!r}"
        if not over:
            self.outcomes[self._enter(steps, None)] = outcome

    def _enter(self, steps: list[Step], call: int | None) -> int:
        """The node after these steps, new or not, where this is called."""
        found = self._next.get(steps[-1]) if steps else 0 if self.calls else None
        if found is None:
            found = len(self.calls)
            self.calls.append(call)
            self.depth.append(len(steps))
            self._parents.append(steps[-1] if steps else (0, 0))
            if steps:
                self._next[steps[-1]] = found
            self.ahead.append(0)
            self._see_ahead(found)
        assert self.calls[found] == call, f"{self.program.name} does another thing than before: {self.call(found)}"
        return found

    def _see_ahead(self, node: int) -> None:
        """Tell all nodes before a new one what is called there."""
        call = self.calls[node]
        self.ahead[node] = seen = 0 if call is None else 1 << call
        while self.depth[node]:
            node = self._parents[node][0]
            if self.ahead[node] | seen == self.ahead[node]:
                break
            self.ahead[node] |= seen
