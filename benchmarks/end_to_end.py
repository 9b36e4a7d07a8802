"""Compares chunkstore with restic, borg (and duplicity) on one tree, in one run, interleaved.

    python benchmarks/end_to_end.py --make tree
    python benchmarks/end_to_end.py --tree /usr/lib --repeat 5 --markdown figures.md
    python benchmarks/end_to_end.py --make mixed --tools restic,borg --repeat 1
    python benchmarks/end_to_end.py --make tree --peers          (duplicity too)
    python benchmarks/end_to_end.py --make tree --chunkstore "python -m chunkstore_cli"

Each repetition starts with empty repositories and caches and measures, tool after tool in a changing order:
the first snapshot, a snapshot of the unchanged tree, one after 1 % of the files were edited, and the restore
of that into an empty directory. Each restore is compared with its source: names, types, modes, times (in the
unit the tool keeps), contents. Beside them `cp -a` of the tree and a bare walk of it. Before each command the
tree and the tool's repository and caches are read once, so that it finds them in the page cache (some virtual
machines page out what was not used for a minute). A tree given by `--tree` is copied first and not touched.
See `measure.py` for what the figures are.

Nothing is deleted before the end: ext4 avoids inodes freed less than five minutes ago, so that creating many
files soon after many were deleted takes several times as long. For the same reason runs should not follow each
other closely. The work directory needs room for repetitions x tools x (tree + repository).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import corpus
import limits
import machine
from compare import Entry, differences, listing
from measure import run, stored_bytes, warm
from report import Report, Sample
from throwaway_key import throwaway_key
from tools import TOOLS, Key, Tool, missing, version_of

SNAPSHOTS = ("first snapshot", "unchanged", "1 % edited")
RESTORE = "restore"


class Failed(Exception):
    """A tool did not do what it was asked; the message says where to look."""


@dataclass
class Comparison:
    """One run: the work directory, what is compared, and the report that grows."""

    work: Path
    key: Key
    programs: dict[str, str]
    report: Report
    seed: int = 1
    broken: set[str] = field(default_factory=set)

    @property
    def tree(self) -> Path:
        return self.work / "tree"

    def repetition(self, number: int) -> None:
        """All steps once, on fresh repositories."""
        tools = self._fresh_tools(number)
        self.broken.clear()
        self._each(tools, number, lambda tool: self._measured(tool, "init", number, tool.init(), keep=False))
        for index, step in enumerate(SNAPSHOTS):
            if index == 2:
                corpus.edit(self.tree, self.seed * 1000 + number)
            self._each(tools, number + index, lambda tool, i=index, s=step: self._snapshot(tool, s, number, i))
        source = listing(self.tree)
        self._each(tools, number, lambda tool: self._restore(tool, number, source))
        self._limits(number)

    def _fresh_tools(self, number: int) -> list[Tool]:
        tools = []
        for name, program in self.programs.items():
            home = self.work / "homes" / str(number) / name
            home.mkdir(parents=True)
            tools.append(TOOLS[name](home, self.key, program))
        return tools

    def _each(self, tools: list[Tool], offset: int, action: Callable[[Tool], None]) -> None:
        """Runs `action` for every tool that has not failed yet, beginning with another one each time."""
        start = offset % len(tools)
        for tool in tools[start:] + tools[:start]:
            if tool.name in self.broken:
                continue
            try:
                action(tool)
            except Failed as failure:
                self.broken.add(tool.name)
                self.report.failures.append(f"{tool.name}: {failure}")
                print(f"  FAILED {tool.name}: {failure}", file=sys.stderr)

    def _snapshot(self, tool: Tool, step: str, number: int, index: int) -> None:
        warm(self.tree)
        warm(tool.home)
        self._measured(tool, step, number, tool.snapshot(self.tree, index))

    def _restore(self, tool: Tool, number: int, source: dict[bytes, Entry]) -> None:
        target = self.work / "restored" / str(number) / tool.name
        target.mkdir(parents=True)
        warm(tool.home)
        self._measured(tool, RESTORE, number, tool.restore(self.tree, len(SNAPSHOTS) - 1, target))
        found = differences(source, listing(target), tool.mtime_unit_ns, tool.keeps_link_times)
        if found:
            raise Failed(f"restore differs in {len(found)} of {len(source)} entries, first: {found[0]}")
        note = "" if tool.mtime_unit_ns == 1 else f", times in units of {tool.mtime_unit_ns / 1e9:g} s"
        note += "" if tool.keeps_link_times else ", without times of links"
        self.report.verified.append(f"{tool.name}, repetition {number + 1}, {len(source):,} entries{note}")

    def _measured(self, tool: Tool, step: str, number: int, command: list[str], keep: bool = True) -> None:
        log = self.work / "logs" / f"{tool.name}-{number}.log"
        usage = run(command, log, tool.environment())
        if usage.exit_code:
            raise Failed(f"{step} ended with {usage.exit_code}, see {log}: {_last_line(log)}")
        if keep:
            stored = 0 if step == RESTORE else stored_bytes(tool.repository)
            self._note(Sample(step, tool.name, number, usage, stored))

    def _limits(self, number: int) -> None:
        log = self.work / "logs" / f"limits-{number}.log"
        copy = self.work / "restored" / str(number) / "cp"
        copy.mkdir(parents=True)
        commands = {"cp -a": limits.copy_command(self.tree, copy), "walk": limits.walk_command(self.tree)}
        for name, command in commands.items():
            warm(self.tree)
            self._note(Sample("limit", name, number, run(command, log, os.environ), 0))

    def _note(self, sample: Sample) -> None:
        self.report.samples.append(sample)
        print(f"  {sample.step}, {sample.tool}: {sample.usage.wall:.2f} s", file=sys.stderr)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def prepare_tree(arguments: argparse.Namespace, tree: Path) -> str:
    """Copies or makes the tree; returns a sentence about it."""
    if arguments.tree:
        subprocess.run(["cp", "-a", f"{arguments.tree}/.", str(tree)], check=True)
        name = f"a copy of {arguments.tree}"
    else:
        corpus.make(arguments.make, tree, arguments.seed, arguments.files, arguments.bytes)
        name = f"made: {arguments.make}, seed {arguments.seed}"
    entries = sum(len(folders) + len(files) for _, folders, files in os.walk(tree))
    return f"{name}; {entries:,} entries, {stored_bytes(tree) / 1e6:,.0f} MB"


def present(names: list[str], arguments: argparse.Namespace, key: Key, report: Report) -> dict[str, str]:
    """The programs of the tools that run here; the report says why others do not."""
    programs = {}
    for name in names:
        program = arguments.chunkstore if name == "chunkstore" else name
        tool = TOOLS[name](Path("/nonexistent"), key, program)
        reason = missing(tool)
        if reason:
            report.absent.append(f"{name}: {reason}")
            print(f"NOT RUN {name}: {reason}", file=sys.stderr)
        else:
            programs[name] = program
            report.facts[name] = version_of(tool)
    return programs


def compare(arguments: argparse.Namespace, work: Path) -> Report:
    """The whole run in `work`."""
    names = arguments.tools.split(",") + (["duplicity"] if arguments.peers else [])
    (work / "logs").mkdir()
    (work / "tree").mkdir()
    report = Report(machine.facts(work))
    with throwaway_key() as key:
        programs = present(names, arguments, key, report)
        if not programs:
            return report
        report.facts["tree"] = prepare_tree(arguments, work / "tree")
        report.facts["repetitions"] = str(arguments.repeat)
        comparison = Comparison(work, key, programs, report, arguments.seed)
        for number in range(arguments.repeat):
            print(f"repetition {number + 1} of {arguments.repeat}", file=sys.stderr)
            comparison.repetition(number)
    return report


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--tree", type=Path, help="measure with a copy of this directory")
    source.add_argument("--make", choices=("tree", "big", "mixed"), help="make a corpus and measure with it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=110_000, help="of --make tree")
    parser.add_argument("--bytes", type=corpus.parse_size, help="of --make tree or big, for instance 1.2G")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tools", default="chunkstore,restic,borg", help="names with commas between")
    parser.add_argument("--peers", action="store_true", help="duplicity too")
    parser.add_argument("--chunkstore", default="chunkstore", help="the command line to run as chunkstore")
    parser.add_argument("--work", type=Path, help="a new or empty directory; only logs stay in it")
    parser.add_argument("--keep", action="store_true", help="leave trees and repositories in the work directory")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    unknown = set(arguments.tools.split(",")) - TOOLS.keys()
    if unknown:
        parser.error(f"unknown tools: {', '.join(sorted(unknown))}")
    return arguments


def remove_trees(work: Path) -> None:
    """Everything but the logs."""
    for name in ("tree", "homes", "restored"):
        shutil.rmtree(work / name, ignore_errors=True)


def main() -> int:
    arguments = parsed()
    work = (arguments.work or Path(tempfile.mkdtemp(prefix="chunkstore-bench-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    if any(work.iterdir()):
        print(f"{work} is not empty", file=sys.stderr)
        return 2
    try:
        report = compare(arguments, work)
    finally:
        if not arguments.keep:
            remove_trees(work)
    print(report.plain())
    if arguments.markdown:
        arguments.markdown.write_text(report.markdown())
    if arguments.json:
        report.write_json(arguments.json)
    if report.failures or not report.samples:
        return 1
    if not arguments.work and not arguments.keep:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
