"""Programs that run at once, each in a thread, of which exactly one goes on at a time: the order is chosen at each call.

`tests.exploring` never runs two programs at once; it puts together what each does by itself. Here they really run together
on one `MemoryStorage`, so that the one can be compared with the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chunkstore.errors import ObjectMissing
from chunkstore.storage import MemoryStorage
from tests.scheduling import MISSING, Answer, Call, Door, Program, Unwound

_PATIENCE_S = 60.0


@dataclass
class Runner:
    """A program that runs: what it waits to call, what it has called and been told, and how it ended."""

    program: Program
    call: Call | None = None
    told: list[tuple[Call, Answer]] = field(default_factory=list)
    outcome: object = None
    killed: bool = False
    turn: threading.Event = field(default_factory=threading.Event)
    yielded: threading.Event = field(default_factory=threading.Event)


Choose = Callable[[Sequence[Runner]], int | None]
"""Of the programs that wait to call something: the number of the one that does so; `~number`: it is killed; None: the rest
is killed."""


class Together:
    """Runs programs on a storage."""

    def __init__(self, content: dict[str, bytes], programs: Sequence[Program]) -> None:
        self.storage = MemoryStorage()
        for name, data in content.items():
            self.storage.put(name, data)
        self.runners = [Runner(program) for program in programs]

    @property
    def content(self) -> dict[str, bytes]:
        """All that is stored now."""
        return {info.name: self.storage.get(info.name) for info in self.storage.list("")}

    def run(self, choose: Choose) -> None:
        """Run all to their ends."""
        threads = [threading.Thread(target=self._main, args=(runner,), daemon=True) for runner in self.runners]
        for thread, runner in zip(threads, self.runners, strict=True):
            thread.start()
            self._wait(runner.yielded)
        while any(runner.call for runner in self.runners):
            chosen = choose(self.runners)
            for number in range(len(self.runners)) if chosen is None else [chosen]:
                self._let(number if chosen is not None else ~number)
        for thread in threads:
            thread.join(_PATIENCE_S)

    def _let(self, number: int) -> None:
        runner = self.runners[number if number >= 0 else ~number]
        if runner.call is None:
            return
        runner.killed = number < 0
        runner.yielded.clear()
        runner.turn.set()
        self._wait(runner.yielded)

    def _main(self, runner: Runner) -> None:
        try:
            runner.outcome = runner.program.run(Door(lambda call: self._ask(runner, call)))
        except Unwound:
            runner.outcome = None
        except Exception as e:
            runner.outcome = e
        finally:
            runner.call = None
            runner.yielded.set()

    def _ask(self, runner: Runner, call: Call) -> Answer:
        if runner.killed:
            raise Unwound
        runner.call = call
        runner.yielded.set()
        self._wait(runner.turn)
        runner.turn.clear()
        if runner.killed:
            raise Unwound
        answer = self._carry_out(call)
        runner.told.append((call, answer))
        return answer

    def _carry_out(self, call: Call) -> Answer:
        storage = self.storage
        try:
            match call.verb:
                case "put":
                    return storage.put(call.name, call.data)
                case "put_if_absent":
                    return storage.put_if_absent(call.name, call.data)
                case "get":
                    return storage.get(call.name, call.offset, call.length)
                case "list":
                    return tuple((info.name, info.size) for info in storage.list(call.name))
                case "stat":
                    return storage.stat(call.name).size
                case "delete":
                    return storage.delete(call.name)
                case _:
                    return None
        except ObjectMissing:
            return MISSING

    def _wait(self, event: threading.Event) -> None:
        assert event.wait(_PATIENCE_S), "a program does something else than calling the storage"
