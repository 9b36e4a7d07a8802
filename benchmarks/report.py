"""Samples of a comparison -> medians, ratios, tables (plain, Markdown), JSON and charts.

    python benchmarks/report.py FILE.json [--markdown FILE] [--plot PREFIX]

shows again what an earlier run (also one that was cut short) wrote by `--out`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from statistics import median

from measure import Usage

MIB = 1 << 20
OURS = "chunkstore"
LIMIT = "limit"
VERSION = 2
HEADINGS = (
    "step",
    "tool",
    "n",
    "wall s",
    "min-max",
    "cpu s",
    "largest MiB",
    "tree MiB",
    "stored MiB",
    "sent MiB",
    "files",
)
RATIOS = ("wall x", "paired x", "cpu x", "memory x", "stored x")
LEGEND = (
    f"x: the tool's figure divided by {OURS}'s; above 1 {OURS} is ahead. Of the medians; paired: median of the ratios"
    " of each repetition.",
    "cpu: user and system time with children. largest: peak of the largest process; tree: of all processes together.",
    "stored: sizes of all files of the repository after the step; sent: of what the step wrote of them, in so many files.",
)
BOUNDS = (
    ("first snapshot", "cat"),
    ("first snapshot", "cp -a"),
    ("unchanged", "walk"),
    ("huge file edited", "cat, huge file"),
    ("restore", "create loop"),
    ("restore", "cp -a"),
)
"""Which step which limit is for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One command that was measured; `stored` in bytes after it, 0 where it stores nothing; bytes and files it sent."""

    step: str
    tool: str
    repetition: int
    usage: Usage
    stored: int
    sent: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of one step and tool, of `count` runs; `paired` is the median ratio of wall times to ours, 0: none."""

    step: str
    tool: str
    wall: float
    fastest: float
    slowest: float
    cpu: float
    memory: float
    stored: float
    largest: float = 0
    sent: float = 0
    files: float = 0
    count: int = 0
    paired: float = 0


@dataclass
class Report:
    """Everything a run has to say; `failures` and `absent` are sentences, `speeds` MB/s by name."""

    facts: dict[str, str]
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    speeds: dict[str, list[float]] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """In the order in which the steps and tools first appeared, ours first within a step."""
        steps = list(dict.fromkeys(sample.step for sample in self.samples))
        tools = sorted(dict.fromkeys(sample.tool for sample in self.samples), key=lambda name: name != OURS)
        return [row for step in steps for tool in tools if (row := self._row(step, tool))]

    def _of(self, step: str, tool: str) -> dict[int, Sample]:
        return {each.repetition: each for each in self.samples if (each.step, each.tool) == (step, tool)}

    def _row(self, step: str, tool: str) -> Row | None:
        found = self._of(step, tool)
        if not found:
            return None
        samples = list(found.values())
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
            largest=median(sample.usage.largest for sample in samples),
            sent=median(sample.sent for sample in samples),
            files=median(sample.files for sample in samples),
            count=len(samples),
            paired=_paired(found, self._of(step, OURS)),
        )

    def bounds(self) -> list[str]:
        """How busy each step of ours keeps the processor, and how far it is from its limit."""
        rows = [row for row in self.rows() if row.tool == OURS and row.wall]
        lines = [f"{OURS}, {row.step}: {row.cpu / row.wall:.2f} cores busy" for row in rows]
        for step, limit in BOUNDS:
            ours, bare = self._of(step, OURS), self._of(LIMIT, limit)
            if ratio := _paired(ours, bare):
                walls = [median(each.usage.wall for each in found.values()) for found in (ours, bare)]
                lines.append(f"{step} takes {ratio:.2f} times `{limit}` ({walls[0]:.2f} s, {walls[1]:.2f} s)")
        return lines

    def plain(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.facts.items()]
        return "\n".join([*lines, "", *_aligned(self._cells()), "", *LEGEND, *self._remarks()])

    def markdown(self) -> str:
        head, *body = [f"| {' | '.join(cells)} |" for cells in self._cells()]
        rule = "|" + "---|" * 2 + "---:|" * (len(HEADINGS) + len(RATIOS) - 2)
        facts = [f"- {name}: {value}" for name, value in self.facts.items()]
        remarks = [f"- {line}" for line in (*LEGEND, *self._remarks())]
        return "\n".join([*facts, "", head, rule, *body, "", *remarks, ""])

    def html(self) -> str:
        """The table and everything else, as what a page has in its body."""
        lines = "".join(f"<p>{escape(line)}</p>\n" for line in (*LEGEND, *self._remarks()))
        facts = "".join(f"<p>{escape(name)}: {escape(value)}</p>\n" for name, value in self.facts.items())
        head, *body = ["".join(f"<td>{escape(cell)}</td>" for cell in cells) for cells in self._cells()]
        rows = "\n".join(f"<tr>{cells}</tr>" for cells in (head.replace("td>", "th>"), *body))
        style = 'style="text-align: right; font-size: 13px" cellpadding="3" border="1" rules="all"'
        return f"<table {style}>\n{rows}\n</table>\n{lines}{facts}"

    def write_json(self, path: Path) -> None:
        """The same with every sample; the file is replaced at once."""
        content = {"version": VERSION, "rows": [asdict(row) for row in self.rows()], **asdict(self)}
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(temporary, path)

    def _cells(self) -> list[tuple[str, ...]]:
        rows = self.rows()
        ours = {row.step: row for row in rows if row.tool == OURS}
        return [(*HEADINGS, *RATIOS), *((*_figures(row), *_ratios(row, ours.get(row.step))) for row in rows)]

    def _remarks(self) -> list[str]:
        speeds = [f"{name}: {median(found):,.0f} MB/s" for name, found in self.speeds.items()]
        verified = [f"restored equal to the source: {line}" for line in self.verified]
        failed = [f"FAILED {x}" for x in self.failures]
        return [*self.bounds(), *speeds, *verified, *(f"NOT RUN {line}" for line in self.absent), *failed]


def load(path: Path) -> Report:
    """What `write_json` wrote. ValueError for another version."""
    content = json.loads(path.read_text())
    if content.pop("version") != VERSION:
        raise ValueError(f"{path} is of another version")
    del content["rows"]
    samples = [Sample(**{**each, "usage": Usage(**each["usage"])}) for each in content.pop("samples")]
    return Report(samples=samples, **content)


def _paired(theirs: dict[int, Sample], ours: dict[int, Sample]) -> float:
    """The median of the ratios of wall times, repetition by repetition; 0 if they have none in common."""
    ratios = [theirs[at].usage.wall / ours[at].usage.wall for at in theirs.keys() & ours.keys()]
    return median(ratios) if ratios else 0.0


def _figures(row: Row) -> tuple[str, ...]:
    return (
        *(
            row.step,
            row.tool,
            str(row.count),
            f"{row.wall:.2f}",
            f"{row.fastest:.2f}-{row.slowest:.2f}",
            f"{row.cpu:.2f}",
        ),
        *(_mib(row.largest, 0), _mib(row.memory, 0), _mib(row.stored, 1), _mib(row.sent, 1)),
        f"{row.files:.0f}" if row.files else "",
    )


def _mib(size: float, digits: int) -> str:
    return f"{size / MIB:.{digits}f}" if size else ""


def _ratios(row: Row, ours: Row | None) -> tuple[str, ...]:
    if ours is None or row.tool == OURS:
        return ("",) * len(RATIOS)
    pairs = [(getattr(row, name), getattr(ours, name)) for name in ("wall", "cpu", "largest", "stored")]
    wall, *others = [f"{theirs / own:.2f}" if theirs and own else "" for theirs, own in pairs]
    return wall, f"{row.paired:.2f}" if row.paired else "", *others


def _aligned(table: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        texts = [f"{cell:<{width}}" for cell, width in zip(cells[:2], widths[:2], strict=True)]
        numbers = [f"{cell:>{width}}" for cell, width in zip(cells[2:], widths[2:], strict=True)]
        yield "  ".join([*texts, *numbers]).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--plot", metavar="PREFIX")
    arguments = parser.parse_args()
    report = load(arguments.file)
    print(report.plain())
    if arguments.markdown:
        arguments.markdown.write_text(report.markdown())
    if arguments.plot:
        from bars import plot

        print("wrote", *plot(report, arguments.plot))


if __name__ == "__main__":
    main()
