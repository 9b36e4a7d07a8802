"""What `stages.py` found -> a table, and how fast a snapshot and a restore could be at best."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

VERSION = 1
MB = 1e6
THREADS, PROCESSES = "threads", "processes"
NOTES = (
    "MB/s of the bytes that go into a stage (raw, new, or stored ones); median; 1 MB is 10^6 bytes. CPU: MB for each second"
    " of processor time, one worker. x: against one worker.",
    "Sum: processor time of all stages for this sample. At best: the longest of that divided by the cores, of the thread that"
    " decides, and of what the disk takes; nothing that is done for each file besides (metadata, manifests, gpg, start) is in it.",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A stage as the report knows it; `size` bytes go in."""

    name: str
    size: int
    sides: list[str]
    one_thread: list[str]


@dataclass(frozen=True, slots=True)
class Timing:
    """One run of a stage: `how` it was spread over `workers`; seconds."""

    stage: str
    how: str
    workers: int
    wall: float
    cpu: float


@dataclass
class Findings:
    """Everything that was measured. `speeds`: MB/s by name; `engine`: [wall, processor] seconds of real runs, by side."""

    facts: dict[str, str]
    kinds: list[Kind] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    speeds: dict[str, list[float]] = field(default_factory=dict)
    engine: dict[str, list[list[float]]] = field(default_factory=dict)
    cores: int = 1
    raw: int = 0
    total: int = 0
    stored: int = 0

    def write(self, path: Path) -> None:
        """The file is replaced at once."""
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n")
        os.replace(temporary, path)

    def markdown(self) -> str:
        facts = [f"- {name}: {value}" for name, value in self.facts.items()]
        return "\n".join([*facts, "", *self._table(), "", *self._limits(), *self.bounds(), "", *NOTES, ""])

    def speed(self, kind: Kind, how: str, workers: int) -> float:
        """MB/s by wall time, 0 where it was not measured."""
        walls = [each.wall for each in self._of(kind, how, workers)]
        return kind.size / MB / median(walls) if walls else 0.0

    def bounds(self) -> Iterable[str]:
        """What the stages allow, and how near the engine comes."""
        for side in ("snapshot", "restore"):
            total = sum(self._cpu(kind) for kind in self.kinds if side in kind.sides)
            one = sum(self._cpu(kind) for kind in self.kinds if side in kind.one_thread)
            parts = {f"all stages on {self.cores} cores": total / self.cores, "the thread that decides": one}
            flushed = self.speeds.get("disk write, flushed")
            if side == "snapshot" and flushed:
                parts["the disk"] = self.stored / MB / median(flushed)
            which, best = max(parts.items(), key=lambda part: part[1])
            said = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items())
            yield f"- {side}: sum {total:.2f} s of processor time for {self.raw / MB:,.0f} MB; {said}"
            if best:
                yield f"- {side} at best: {best:.2f} s, {self.raw / MB / best:,.0f} MB/s; bound: {which}"
                yield from self._reached(side, self.raw / MB / best, total)

    def _reached(self, side: str, best: float, total: float) -> Iterable[str]:
        found = self.engine.get(side)
        if found:
            wall, cpu = (median(each[at] for each in found) for at in (0, 1))
            speed, all_stages = self.total / MB / wall, total * self.total / self.raw
            yield (
                f"- {side} by chunkstore: {wall:.2f} s for {self.total / MB:,.0f} MB, {speed:,.0f} MB/s: {speed / best:.0%} of"
                f" that; {cpu:.2f} s of processor time, of which the stages are {all_stages / cpu:.0%}"
            )

    def _of(self, kind: Kind, how: str, workers: int) -> list[Timing]:
        return [each for each in self.timings if (each.stage, each.how, each.workers) == (kind.name, how, workers)]

    def _cpu(self, kind: Kind) -> float:
        """Processor seconds of one worker for the bytes of this sample."""
        found = [each.cpu for each in self._of(kind, THREADS, 1)]
        share = min(self.raw / kind.size, 1) if kind.size == self.total and kind.size else 1
        return median(found) * share if found else 0.0

    def _table(self) -> Iterable[str]:
        spread = sorted({(each.how != THREADS, each.how, each.workers) for each in self.timings})
        more = [(how, workers) for _, how, workers in spread if (how, workers) != (THREADS, 1)]
        heads = ["stage", "MB", "1 worker", "CPU", *(f"{workers} {how} | x" for how, workers in more)]
        yield f"| {' | '.join(heads)} |"
        yield "|---|" + "---:|" * (3 + 2 * len(more))
        for kind in self.kinds:
            one = self.speed(kind, THREADS, 1)
            cpu = median([each.cpu for each in self._of(kind, THREADS, 1)] or [0.0])
            cells = [kind.name, f"{kind.size / MB:,.0f}", f"{one:,.0f}", f"{kind.size / MB / cpu:,.0f}" if cpu else ""]
            for how, workers in more:
                speed = self.speed(kind, how, workers)
                cells += [f"{speed:,.0f}", f"{speed / one:.2f}"] if speed and one else ["", ""]
            yield f"| {' | '.join(cells)} |"

    def _limits(self) -> Iterable[str]:
        return [f"- {name}: {median(found):,.0f} MB/s" for name, found in self.speeds.items()]


def load(path: Path) -> Findings:
    """What `write` wrote. ValueError for another version."""
    content = json.loads(path.read_text())
    if content.pop("version") != VERSION:
        raise ValueError(f"{path} is of another version")
    kinds = [Kind(**each) for each in content.pop("kinds")]
    timings = [Timing(**each) for each in content.pop("timings")]
    return Findings(kinds=kinds, timings=timings, **content)
