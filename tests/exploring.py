"""Every interleaving of several programs on one storage, switched at each storage call, killed at each write.

Two interleavings after which the storage holds the same and each process has got the same answers have the same future, as a
process is a function of its answers (`tests.scheduling`). So a state is (storage, answers of each process), each state is
explored once, breadth first, and what is found is found with the fewest steps. The number of interleavings is the number
of paths from the first state to those where nobody can go on.

What is left out, and why nothing is lost by it:

- A call that no other living process will ever notice, and whose answer none of them will ever change, is made at once, and nothing
  else is tried there: a persistent set (Godefroid 1996), of one process. It has to be a read, or to write what is not judged (sessions and
  plans), so that no content of the storage that could be wrong is left out. What the others will ever do is what their
  behaviours hold behind the node where they are. As these grow while they are explored, everything is explored again until they
  have not grown. That is enough: the first call that was overlooked would be made in an interleaving that is equivalent to one
  that was explored up to there, so it would be known.
- A process is killed after its writes only: one that is killed after the reads that follow leaves the same behind. That is
  also the process whose last write took effect and whose answer got lost. Killed before its first call it is another case.
- A `pause`, of somebody who waits, ends when one of the reads since the last write or pause would be answered in another
  way, or when nobody else can go on: looking again before that would tell the same.

With `bound`, only what needs so few pre-emptions is explored (a switch away from a process that could go on; Musuvathi and
Qadeer, Iterative context bounding, PLDI 2007): every schedule that is simple, not every schedule. `walk` is one at random.
"""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeAlias

from chunkstore.format import names
from tests.explored import KILLED, RUNNING, Ended, Explored, Failed, Judging, Verdict, no_verdict, said, short
from tests.scheduling import MISSING, READS, Behaviour, Kind, Program, Storages

State: TypeAlias = tuple[int, ...]
"""The storage, the faults so far, who moved last and pre-emptions (0 without a bound), and where each process is: at a node,
or at its end (-1 - the number of how it ended)."""
_FIRST = 4
_NODE_BITS = 32
_DEADLY = 0.05


class _Move(NamedTuple):
    """What a process does next: the storage and its node afterwards; the call, and whether its object is there."""

    storage: int
    node: int
    kind: Kind
    call: int
    there: bool


class Exploration:
    """Programs on a storage that holds `first`. At most `kills` processes are killed."""

    def __init__(
        self,
        first: dict[str, bytes],
        programs: Sequence[Program],
        judge: Judging,
        verdict: Verdict = no_verdict,
        kills: int = 0,
        bound: int | None = None,
    ) -> None:
        self.storages = Storages(first)
        self.programs = programs
        self.behaviours = [Behaviour(program, self.storages) for program in programs]
        self._judge = judge
        self._verdict = verdict
        self._kills = kills
        self._bound = bound
        self._judged: dict[int, str] = {}
        self._concluded: dict[tuple[int, tuple[int, ...]], str] = {}
        self._ends: list[Ended] = []
        self._number_of: dict[Ended, int] = {}
        self._end_of: dict[tuple[Behaviour, int, object], int] = {}
        self._every = range(len(programs))
        self._moves: list[dict[int, _Move]] = [{} for _ in programs]
        self._meet: list[dict[int, bool]] = [{} for _ in programs]
        """By process: whether it will ever do what matters to a call, from a node on, as far as was seen in this round."""
        self._watched = any(program.takes_away for program in programs)
        self.start: State = (self.storages.first, 0, 0, 0, *[0] * len(programs))

    def go_on_alone(self, i: int, until: str = "") -> None:
        """Begin later: after process `i` has gone on alone, until its next call is this (`put packs/`), or to its end."""
        behaviour = self.behaviours[i]
        while (node := self.start[_FIRST + i]) >= 0:
            call = behaviour.call(node)
            assert call is not None
            if until and f"{call.verb} {call.name}".startswith(until):
                return
            self.start = self._after(self.start, i, self._move(i, self.start[0], node), quietly=True)
        assert not until, f"{behaviour.program.name} never does that: {until}"

    # -- one step

    def successors(self, state: State) -> list[tuple[int, State]]:
        """(who, state afterwards) of every call that is made next, and of every death (then `~who`)."""
        found: list[tuple[int, State]] = []
        waiting: list[tuple[int, State]] = []
        storage = state[0]
        for i in self._every:
            node = state[_FIRST + i]
            if node < 0:
                continue
            move = self._moves[i].get(storage << _NODE_BITS | node) or self._move(i, storage, node)
            if move.kind is Kind.QUIET and self._is_alone(state, i, move):
                return [(i, self._after(state, i, move, quietly=True)), *self._deaths(state)]
            (waiting if move.kind is Kind.PAUSE else found).append((i, self._after(state, i, move)))
        if self._bound is not None:
            found = [each for each in found if each[1][3] <= self._bound]
        return [*(found or waiting), *self._deaths(state)]

    def _move(self, i: int, storage: int, node: int) -> _Move:
        """What process `i` does next, where the storage is so; learned once."""
        behaviour = self.behaviours[i]
        number = behaviour.calls[node]
        assert number is not None
        after, answer = self.storages.apply(storage, number)
        following = behaviour.after(node, answer, after)
        if behaviour.calls[following] is None:
            following = self._end(behaviour, following, behaviour.outcomes[following])
        kind = self.storages.kinds[number]
        if kind is Kind.PAUSE and self._would_see_more(behaviour, node, storage):
            kind = Kind.LOUD
        there = self.storages.answers[answer][1] is not MISSING
        move = self._moves[i][storage << _NODE_BITS | node] = _Move(after, following, kind, number, there)
        return move

    def _after(self, state: State, i: int, move: _Move, *, quietly: bool = False) -> State:
        _, faults, last, pre_emptions = state[:_FIRST]
        if self._bound is not None and not quietly:
            pre_emptions += last not in (0, i + 1) and self._can_go_on(state, last - 1)
            last = i + 1
        at = _FIRST + i
        return (move.storage, faults, last, pre_emptions, *state[_FIRST:at], move.node, *state[at + 1 :])

    def _can_go_on(self, state: State, i: int) -> bool:
        node = state[_FIRST + i]
        call = None if node < 0 else self.behaviours[i].call(node)
        return call is not None and call.verb != "pause"

    def _is_alone(self, state: State, i: int, move: _Move) -> bool:
        """Whether no other process will ever notice this call, or change its answer."""
        call = move.call * 2 + move.there
        for j in self._every:
            node = state[_FIRST + j]
            if j == i or node < 0:
                continue
            meets = self._meet[j].get(call << _NODE_BITS | node)
            if meets is None:
                conflicts = self.storages.conflicts(move.call, there=move.there)
                meets = self._meet[j][call << _NODE_BITS | node] = bool(self.behaviours[j].ahead[node] & conflicts)
            if meets:
                return False
        return True

    def _deaths(self, state: State) -> list[tuple[int, State]]:
        """Of everybody who has just written something, and has more to do."""
        if state[1] >= self._kills:
            return []
        found = []
        for i, node in enumerate(state[_FIRST:]):
            behaviour, at = self.behaviours[i], _FIRST + i
            if node > 0 and behaviour.wrote(node):
                dead = self._end(behaviour, node, KILLED)
                found.append((~i, (state[0], state[1] + 1, *state[2:at], dead, *state[at + 1 :])))
        return found

    def _end(self, behaviour: Behaviour, node: int, outcome: object) -> int:
        """Where a process is that ended so. What it got to see does not matter any more."""
        key = behaviour, node, outcome if outcome is KILLED or outcome is RUNNING else None
        if key not in self._end_of:
            calls = [call for each, _ in behaviour.history(node) if (call := behaviour.call(each))]
            ids = {call.name for call in calls if call.verb == "put" and call.name.startswith(names.SESSIONS)}
            taken = {call.name for call in calls if call.verb in ("put", "delete") and behaviour.program.takes_away}
            if isinstance(outcome, Exception):
                outcome = Failed(f"{type(outcome).__name__}: {outcome}")
            assert isinstance(outcome, Hashable)
            end = Ended(behaviour.program.name, outcome, len(ids), frozenset(taken))
            number = self._number_of.setdefault(end, len(self._ends))
            if number == len(self._ends):
                self._ends.append(end)
            self._end_of[key] = -1 - number
        return self._end_of[key]

    def _would_see_more(self, behaviour: Behaviour, node: int, storage: int) -> bool:
        for before, answer in reversed(behaviour.history(node)):
            call, number = behaviour.call(before), behaviour.calls[before]
            assert call is not None
            assert number is not None
            if call.verb not in READS:
                return False
            if self.storages.apply(storage, number)[1] != answer:
                return True
        return False

    # -- judging

    def _concluding(self, state: State) -> tuple[int, ...]:
        """The processes that have ended, and those that run and may take away what others were promised."""
        found = []
        for i, node in enumerate(state[_FIRST:]):
            if node < 0:
                found.append(node)
            elif self.programs[i].takes_away:
                found.append(self._end(self.behaviours[i], node, RUNNING))
        return tuple(found)

    def wrong(self, state: State) -> str:
        """What is wrong in this state; nothing when all is well."""
        storage = state[0]
        if storage not in self._judged:
            self._judged[storage] = self._judge(self.storages.view(storage))
        if self._judged[storage]:
            return self._judged[storage]
        if not self._watched and min(state[_FIRST:]) >= 0:
            return ""
        ends = self._concluding(state)
        if not ends:
            return ""
        if (storage, ends) not in self._concluded:
            every = [self._ends[-1 - end] for end in ends]
            self._concluded[storage, ends] = self._verdict(self.storages.view(storage), every)
        return self._concluded[storage, ends]

    # -- all of them

    def explore(self, seconds: float = 1e9) -> Explored:
        """All interleavings, until the CPU time runs out or something is wrong."""
        began = time.process_time()
        while True:
            known = self.executions
            self._meet = [{key: meets for key, meets in every.items() if meets} for every in self._meet]
            done = self._explore_once(began + seconds)
            if done.wrong or not done.complete or self.executions == known:
                done.contents, done.executions = len(self.storages), self.executions
                done.seconds = time.process_time() - began
                return done

    def outcomes(self, name: str) -> set[str]:
        """How a program may end, as far as it was explored."""
        behaviour = next(each for each in self.behaviours if each.program.name == name)
        return set(map(str, behaviour.outcomes.values()))

    @property
    def executions(self) -> int:
        """How often real code was run."""
        return sum(behaviour.executions for behaviour in self.behaviours)

    def _explore_once(self, until: float) -> Explored:
        """Level by level: each step makes the number of calls and deaths larger by one, so a state is in one level."""
        done = Explored()
        level = {self.start: 1}
        while level:
            following: dict[State, int] = {}
            before, movers = array("Q"), array("b")
            done.levels.append((before, movers))
            for position, (state, paths) in enumerate(level.items()):
                done.states += 1
                if not done.states % 256 and time.process_time() > until:
                    done.complete = False
                    return done
                done.wrong = self.wrong(state)
                if done.wrong:
                    self._retrace(done, position)
                    return done
                moves = self.successors(state)
                if not moves:
                    done.interleavings += paths
                    done.ends.add(state[0])
                    done.endings.update(self._ends[-1 - node] for node in state[_FIRST:] if node < 0)
                done.steps += len(moves)
                for mover, after in moves:
                    if after in following:
                        following[after] += paths
                    else:
                        following[after] = paths
                        before.append(position)
                        movers.append(mover)
            level = following
        return done

    def _retrace(self, done: Explored, position: int) -> None:
        """How the state at this position of the last level was reached."""
        done.levels.pop()
        while done.levels:
            before, movers = done.levels.pop()
            done.schedule.insert(0, movers[position])
            position = before[position]
        done.trace = self.tell(done.schedule)

    def tell(self, schedule: Sequence[int]) -> list[str]:
        """What happens when processes move in this order."""
        state, told = self.start, []
        for mover in schedule:
            told.append(self._told(state, mover))
            state = dict(self.successors(state))[mover]
        return told

    def _told(self, state: State, mover: int) -> str:
        if mover < 0:
            return f"  {self.programs[~mover].name} is killed"
        behaviour, node = self.behaviours[mover], state[_FIRST + mover]
        call, number = behaviour.call(node), behaviour.calls[node]
        assert call is not None
        assert number is not None
        answer = self.storages.answers[self.storages.apply(state[0], number)[1]][1]
        return f"  {behaviour.program.name:10} {call.verb} {short(call.name)}{said(call, answer)}"

    # -- one at random

    def walks(self, dice: random.Random, number: int) -> Explored:
        """So many, each at random to its end, or until something is wrong."""
        done, began, seen = Explored(complete=False), time.process_time(), set[tuple[int, ...]]()
        while done.interleavings < number and not done.wrong:
            done.wrong, done.schedule, state = self.walk(dice)
            done.interleavings += tuple(done.schedule) not in seen
            seen.add(tuple(done.schedule))
            done.steps += len(done.schedule)
            done.ends.add(state[0])
            done.endings.update(self._ends[-1 - node] for node in state[_FIRST:] if node < 0)
        if done.wrong:
            done.trace = self.tell(done.schedule)
        done.contents, done.executions = len(self.storages), self.executions
        done.seconds = time.process_time() - began
        return done

    def walk(self, dice: random.Random) -> tuple[str, list[int], State]:
        """Go on at random to the end: what is wrong, who moved, and where it ended."""
        state, schedule = self.start, list[int]()
        while not (wrong := self.wrong(state)) and (moves := self.successors(state)):
            alive = [each for each in moves if each[0] >= 0]
            mover, state = dice.choice(moves if dice.random() < _DEADLY or not alive else alive)
            schedule.append(mover)
        return wrong, schedule, state
