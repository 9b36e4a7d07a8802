"""What an exploration of interleavings is asked and what it tells: how processes ended, what is wrong, how many there were."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.scheduling import MISSING, Call

KILLED, RUNNING = "killed", "running"
Judging: TypeAlias = Callable[[dict[str, bytes]], str]
"""What is wrong with the content of a storage; nothing when all is well."""


@dataclass(frozen=True)
class Failed:
    """A process ended in this error."""

    text: str


@dataclass(frozen=True)
class Ended:
    """How a process ended: with an outcome, `Failed`, `KILLED` or `RUNNING`; under how many ids it tried; which objects it took
    away, if its program `takes_away`.
    """

    name: str
    outcome: Hashable
    ids: int
    taken: frozenset[str]

    def __str__(self) -> str:
        what = self.outcome.text if isinstance(self.outcome, Failed) else str(self.outcome)
        return f"{self.name}: {what}"


Verdict: TypeAlias = Callable[[dict[str, bytes], Sequence[Ended]], str]
"""What is wrong with a content, where these processes have ended, or run and take away what others were promised."""


def no_verdict(content: dict[str, bytes], ended: Sequence[Ended]) -> str:
    return ""


@dataclass
class Explored:
    """What was explored. `complete`: nothing was left out for lack of time. `wrong` is empty when all is well."""

    states: int = 0
    steps: int = 0
    interleavings: int = 0
    contents: int = 0
    executions: int = 0
    seconds: float = 0.0
    complete: bool = True
    wrong: str = ""
    trace: list[str] = field(default_factory=list)
    schedule: list[int] = field(default_factory=list)
    ends: set[int] = field(default_factory=set)
    """Storages in which nobody could go on."""
    endings: Counter[Ended] = field(default_factory=Counter)
    """How processes ended, and in how many of the states in which nobody could go on."""
    levels: list[tuple[array[int], array[int]]] = field(default_factory=list)
    """For each state of each level: the position of one before it in the level before, and who moved."""

    def __str__(self) -> str:
        count = f"{self.interleavings:,}" if self.interleavings < 10**9 else f"{float(self.interleavings):.1e}"
        text = (
            f"{count} interleavings{'' if self.complete else ' and more'}: {self.states:,} states, {self.steps:,} steps, "
            f"{self.contents:,} contents of the storage, {self.executions:,} runs of real code, {self.seconds:.1f} s"
        )
        return "\n".join([text, *([f"WRONG: {self.wrong}", *self.trace] if self.wrong else [])])


def short(name: str) -> str:
    """A name without most of its digits."""
    head, _, tail = name.rpartition("/")
    parts = [part[:8] if len(part) > 20 else part.lstrip("0") or "0" for part in tail.split("-")]
    return f"{head.split('/')[0]}/{'-'.join(parts)}"


def said(call: Call, answer: object) -> str:
    if call.verb == "list":
        assert isinstance(answer, tuple)
        return ": " + (" ".join(short(name).split("/")[1] for name, _ in answer) or "nothing")
    if call.verb == "put_if_absent":
        return "" if answer else ": was there"
    return ": missing" if answer == MISSING else ""
