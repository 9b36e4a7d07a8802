"""What is aimed at, and whether a comparison reached it: one line for each aim.

    python benchmarks/aims.py --tree tree.json --big big.json [--markdown FILE]

The files are what `end_to_end.py --out` wrote of the corpora `tree` and `big`. Times: how often ours goes into theirs, the median
of the ratios of each repetition (and in brackets the ratio of the medians); sizes: ours divided by theirs; limits: ours
divided by the bare work's. `least` has to be reached, `aim` is what is hoped for. What was not run says so. Memory with a
million files and with 20 million chunks is measured by `tree_scale.py` and `repository_scale.py`, start-up by `startup.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from report import LIMIT, MIB, OURS, Report, Row, load


@dataclass(frozen=True, slots=True)
class Aim:
    """`what`: times (theirs / ours, at least `wanted`), stored (ours / theirs, at most), limit (ours / bare, at most)."""

    corpus: str
    step: str
    what: str
    against: str
    wanted: float
    level: str = "least"


def _times(corpus: str, step: str, level: str = "least", **wanted: float) -> list[Aim]:
    return [Aim(corpus, step, "times", tool, ratio, level) for tool, ratio in wanted.items()]


AIMS = [
    *_times("tree", "first snapshot", restic=2, borg=3, duplicity=10),
    *_times("tree", "first snapshot", "aim", restic=3, kopia=1, rustic=1, bupstash=1),
    *_times("tree", "unchanged", restic=4, borg=8),
    Aim("tree", "unchanged", "limit", "walk", 1.5, "aim"),
    *_times("tree", "1 % edited", restic=3),
    *_times("tree", "restore", restic=1.2, borg=2),
    Aim("tree", "restore", "limit", "create loop", 1.2, "aim"),
    *_times("big", "first snapshot", restic=1.7),
    *_times("big", "first snapshot", "aim", restic=2.5),
    *_times("big", "huge file edited", restic=1.7),
    Aim("big", "huge file edited", "limit", "cat, huge file", 1.2, "aim"),
    *_times("big", "restore", restic=1.2),
    Aim("big", "restore", "limit", "create loop", 1.2, "aim"),
    Aim("tree", "first snapshot", "stored", "restic", 0.85),
    Aim("tree", "first snapshot", "stored", "borg", 0.9),
    *(Aim("tree", "first snapshot", "stored", tool, 1, "aim") for tool in ("rustic", "kopia", "bupstash", "duplicity")),
    Aim("big", "first snapshot", "stored", "restic", 1),
    Aim("big", "first snapshot", "stored", "borg", 1),
]
MEMORY = ((300, "least"), (200, "aim"))
"""MiB, of our largest process, in every step."""


def judged(aim: Aim, report: Report) -> tuple[str, bool | None]:
    """What was measured, in words, and whether that is enough; None: not measured."""
    ours = _row(report, aim.step, OURS)
    other = _row(report, LIMIT if aim.what == "limit" else aim.step, aim.against)
    if ours is None or other is None:
        return "not run", None
    if aim.what == "stored":
        share = ours.stored / other.stored if other.stored else 0.0
        return f"{share:.3f}", 0 < share <= aim.wanted
    pairs = _pairs(report, ours, other)
    if not pairs:
        return "not run", None
    if aim.what == "limit":
        ratio = median(mine / theirs for mine, theirs in pairs)
        return f"{ratio:.2f} ({ours.wall / other.wall:.2f})", ratio <= aim.wanted
    ratio = median(theirs / mine for mine, theirs in pairs)
    return f"{ratio:.2f} ({other.wall / ours.wall:.2f})", ratio >= aim.wanted


def lines(reports: dict[str, Report]) -> Iterable[str]:
    """A Markdown table."""
    yield "| corpus | step | against | wanted | measured | n | reached |"
    yield "|---|---|---|---|---:|---:|---|"
    for aim in AIMS:
        if aim.corpus not in reports:
            continue
        report = reports[aim.corpus]
        said, reached = judged(aim, report)
        relation = "at least" if aim.what == "times" else "at most"
        what = {"times": "times as quick as", "stored": "stored,", "limit": "limit"}[aim.what]
        rows = [_row(report, aim.step, OURS), _row(report, LIMIT if aim.what == "limit" else aim.step, aim.against)]
        cells = [
            *(aim.corpus, aim.step, f"{what} {aim.against}", f"{aim.level}: {relation} {aim.wanted:g}"),
            *(said, str(min(row.count if row else 0 for row in rows)), _word(reached)),
        ]
        yield f"| {' | '.join(cells)} |"
    for name, report in reports.items():
        every = [row for row in report.rows() if row.tool == OURS]
        if every:
            worst = max(every, key=lambda row: row.largest)
            for limit, level in MEMORY:
                peak = worst.largest / MIB
                cells = [name, worst.step, "peak memory", f"{level}: at most {limit} MiB", f"{peak:.0f} MiB"]
                yield f"| {' | '.join([*cells, str(worst.count), _word(peak <= limit)])} |"


def _word(reached: bool | None) -> str:
    return "-" if reached is None else "yes" if reached else "NO"


def _row(report: Report, step: str, tool: str) -> Row | None:
    return next((row for row in report.rows() if (row.step, row.tool) == (step, tool)), None)


def _pairs(report: Report, ours: Row, other: Row) -> list[tuple[float, float]]:
    """Wall times of ours and of the other, of each repetition that has both."""
    one, two = (
        {each.repetition: each.usage.wall for each in report.samples if (each.step, each.tool) == (row.step, row.tool)}
        for row in (ours, other)
    )
    return [(one[at], two[at]) for at in one.keys() & two.keys()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, metavar="FILE")
    parser.add_argument("--big", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    given = {"tree": arguments.tree, "big": arguments.big}
    text = "\n".join(lines({name: load(path) for name, path in given.items() if path}))
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n")


if __name__ == "__main__":
    main()
