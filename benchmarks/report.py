"""Samples of a comparison -> medians, ratios, tables (plain, Markdown) and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from measure import Usage

MIB = 1 << 20
OURS = "chunkstore"
HEADINGS = ("step", "tool", "wall s", "min-max", "cpu s", "memory MiB", "stored MiB")
RATIOS = ("wall x", "cpu x", "memory x", "stored x")
LEGEND = (
    f"x: the tool's figure divided by {OURS}'s in the same run; above 1 {OURS} is ahead. Medians.",
    "cpu: user and system time with children. memory: largest sum of resident sizes of the process tree.",
    "stored: sizes of all files of the repository after the step.",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One command that was measured; `stored` in bytes after it, 0 where it stores nothing."""

    step: str
    tool: str
    repetition: int
    usage: Usage
    stored: int


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of one step and tool."""

    step: str
    tool: str
    wall: float
    fastest: float
    slowest: float
    cpu: float
    memory: float
    stored: float


@dataclass
class Report:
    """Everything a run has to say; `failures` and `absent` are sentences."""

    facts: dict[str, str]
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """In the order in which the steps and tools first appeared, ours first within a step."""
        steps = list(dict.fromkeys(sample.step for sample in self.samples))
        tools = sorted(dict.fromkeys(sample.tool for sample in self.samples), key=lambda name: name != OURS)
        return [row for step in steps for tool in tools if (row := self._row(step, tool))]

    def _row(self, step: str, tool: str) -> Row | None:
        samples = [sample for sample in self.samples if (sample.step, sample.tool) == (step, tool)]
        if not samples:
            return None
        walls = [sample.usage.wall for sample in samples]
        return Row(
            step=step,
            tool=tool,
            wall=median(walls),
            fastest=min(walls),
            slowest=max(walls),
            cpu=median(sample.usage.cpu for sample in samples),
            memory=median(sample.usage.memory for sample in samples),
            stored=median(sample.stored for sample in samples),
        )

    def plain(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.facts.items()]
        return "\n".join([*lines, "", *_aligned(self._cells()), "", *LEGEND, *self._remarks()])

    def markdown(self) -> str:
        head, *body = [f"| {' | '.join(cells)} |" for cells in self._cells()]
        rule = "|" + "---|" * 2 + "---:|" * (len(HEADINGS) + len(RATIOS) - 2)
        facts = [f"- {name}: {value}" for name, value in self.facts.items()]
        remarks = [f"- {line}" for line in (*LEGEND, *self._remarks())]
        return "\n".join([*facts, "", head, rule, *body, "", *remarks, ""])

    def write_json(self, path: Path) -> None:
        """The same with every sample."""
        content = {"version": 1, "rows": [asdict(row) for row in self.rows()], **asdict(self)}
        path.write_text(json.dumps(content, indent=1) + "\n")

    def _cells(self) -> list[tuple[str, ...]]:
        rows = self.rows()
        ours = {row.step: row for row in rows if row.tool == OURS}
        return [(*HEADINGS, *RATIOS), *((*_figures(row), *_ratios(row, ours.get(row.step))) for row in rows)]

    def _remarks(self) -> list[str]:
        verified = [f"restored equal to the source: {line}" for line in self.verified]
        return [*verified, *(f"NOT RUN {line}" for line in self.absent), *(f"FAILED {x}" for x in self.failures)]


def _figures(row: Row) -> tuple[str, ...]:
    stored = f"{row.stored / MIB:.1f}" if row.stored else ""
    spread = f"{row.fastest:.2f}-{row.slowest:.2f}"
    memory = f"{row.memory / MIB:.0f}"
    return row.step, row.tool, f"{row.wall:.2f}", spread, f"{row.cpu:.2f}", memory, stored


def _ratios(row: Row, ours: Row | None) -> tuple[str, ...]:
    if ours is None or ours is row:
        return ("",) * len(RATIOS)
    pairs = [(getattr(row, name), getattr(ours, name)) for name in ("wall", "cpu", "memory", "stored")]
    return tuple(f"{theirs / own:.2f}" if theirs and own else "" for theirs, own in pairs)


def _aligned(table: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        texts = [f"{cell:<{width}}" for cell, width in zip(cells[:2], widths[:2], strict=True)]
        numbers = [f"{cell:>{width}}" for cell, width in zip(cells[2:], widths[2:], strict=True)]
        yield "  ".join([*texts, *numbers]).rstrip()
