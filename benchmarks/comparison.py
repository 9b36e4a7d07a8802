"""One repetition of all steps with all tools: what `end_to_end.py` repeats. See there."""

from __future__ import annotations

import os
import random
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import corpus
import limits
from compare import Entry, differences, listing, one_file
from measure import drop_caches, look, run, sent, warm
from report import LIMIT, Report, Sample
from tools import TOOLS, Key, Tool

STEPS = {
    "first": "first snapshot",
    "unchanged": "unchanged",
    "edited": "1 % edited",
    "huge": "huge file edited",
    "restore": "restore",
    "one": "restore one file",
    "list": "list snapshots",
    "ls": "list contents",
}
WRITES = ("first", "unchanged", "edited", "huge")
PIECE = 8 << 20


class Failed(Exception):
    """A tool did not do what it was asked; the message says where to look."""


@dataclass
class Comparison:
    """One run: the work directory, what is compared, and the report that grows. `noted` is called for every sample."""

    work: Path
    key: Key
    programs: dict[str, str]
    report: Report
    noted: Callable[[], None]
    seed: int = 1
    steps: tuple[str, ...] = tuple(STEPS)
    once: frozenset[str] = frozenset()
    cold: bool = False
    huge_size: int = 64 << 20
    probe: int = 512 << 20
    broken: set[str] = field(default_factory=set)
    taken: int = 0
    snapshots: int = 0

    @property
    def tree(self) -> Path:
        return self.work / "tree"

    def repetition(self, number: int) -> None:
        """All steps once, on fresh repositories."""
        free = self._make_room(number)
        tools = self._fresh_tools(number)
        self.broken.clear()
        self.snapshots = 0
        self._each(tools, number, lambda tool: self._command(tool, tool.init(), "init", number))
        for index, step in enumerate(STEPS):
            if step == "first" or step in self.steps:
                self._step(step, tools, number, number + index)
        self.taken = free - shutil.disk_usage(self.work).free

    def _make_room(self, number: int) -> int:
        """Removes what earlier repetitions left where this one might not fit beside it; returns the free bytes."""
        if self.taken * 1.3 > shutil.disk_usage(self.work).free:
            print(f"  room for repetition {number + 1}: earlier ones are removed", file=sys.stderr)
            for name in ("homes", "restored"):
                shutil.rmtree(self.work / name, ignore_errors=True)
            os.sync()
        return shutil.disk_usage(self.work).free

    def _fresh_tools(self, number: int) -> list[Tool]:
        tools = []
        for name, program in self.programs.items():
            if number and name in self.once:
                continue
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
                self._complain(tool, str(failure))

    def _complain(self, tool: Tool, message: str) -> None:
        self.report.failures.append(f"{tool.name}: {message}")
        print(f"  FAILED {tool.name}: {message}", file=sys.stderr)

    def _step(self, step: str, tools: list[Tool], number: int, turn: int) -> None:
        huge = _largest(self.tree) if step == "huge" else None
        if step == "edited":
            corpus.edit(self.tree, self.seed * 1000 + number)
        if huge:
            if huge.stat().st_size < self.huge_size:
                self.report.facts["not measured"] = f"{STEPS['huge']}: no file of {self.huge_size >> 20} MiB"
                return
            insert_in_the_middle(huge, random.Random(f"huge {self.seed} {number}").randbytes(4096))
        if step in WRITES:
            self._each(tools, turn, lambda tool: self._snapshot(tool, step, number))
            self.snapshots += 1
        elif step == "restore":
            source = listing(self.tree)
            self._each(tools, turn, lambda tool: self._restore(tool, number, source))
        elif step == "one":
            path = _some_file(self.tree, self.seed + number)
            self._each(tools, turn, lambda tool: self._restore_one(tool, number, path))
        else:
            self._each(tools, turn, lambda tool: self._list(tool, step, number))
        self._limits(step, number, huge)

    def _snapshot(self, tool: Tool, step: str, number: int) -> None:
        self._prepare(self.tree, tool.home)
        self._measured(tool, step, number, tool.snapshot(self.tree, self.snapshots))

    def _restore(self, tool: Tool, number: int, source: dict[bytes, Entry]) -> None:
        target = self._target(tool.name, number)
        self._prepare(tool.home)
        self._measured(tool, "restore", number, tool.restore(self.tree, self.snapshots - 1, target))
        found = differences(source, listing(target), tool.mtime_unit_ns, tool.keeps_link_times)
        if found:
            self._complain(tool, f"restore differs in {len(found)} of {len(source)} entries, first: {found[0]}")
            return
        note = "" if tool.mtime_unit_ns == 1 else f", times in units of {tool.mtime_unit_ns / 1e9:g} s"
        note += "" if tool.keeps_link_times else ", without times of links"
        self.report.verified.append(f"{tool.name}, repetition {number + 1}, {len(source):,} entries{note}")

    def _restore_one(self, tool: Tool, number: int, path: str) -> None:
        target = self._target(f"{tool.name}-one", number)
        self._prepare(tool.home)
        self._measured(tool, "one", number, tool.restore_one(self.tree, path, self.snapshots - 1, target))
        if wrong := one_file(self.tree / path, target, tool.one_file_unit_ns):
            self._complain(tool, f"{path} came back otherwise: {wrong}")

    def _list(self, tool: Tool, step: str, number: int) -> None:
        self._prepare(tool.home)
        contents = tool.contents(self.tree, self.snapshots - 1)
        self._measured(tool, step, number, tool.snapshots() if step == "list" else contents)

    def _prepare(self, *directories: Path) -> None:
        """Everything in the page cache, or nothing."""
        if self.cold:
            drop_caches()
        else:
            for directory in directories:
                warm(directory)

    def _target(self, name: str, number: int) -> Path:
        target = self.work / "restored" / str(number) / name
        target.mkdir(parents=True)
        return target

    def _measured(self, tool: Tool, step: str, number: int, command: list[str]) -> None:
        before = look(tool.repository)
        usage = self._command(tool, command, step, number)
        after = look(tool.repository)
        if step in WRITES:
            stored = sum(size for _, size, _ in after.values())
            self._note(Sample(STEPS[step], tool.name, number, usage, stored, *sent(before, after)))
        else:
            self._note(Sample(STEPS[step], tool.name, number, usage, 0, *sent(before, after)))

    def _command(self, tool: Tool, command: list[str], step: str, number: int):  # type: ignore[no-untyped-def]
        log = self.work / "logs" / f"{tool.name}-{number}.log"
        usage = run(command, log, tool.environment())
        if usage.exit_code:
            raise Failed(f"{step} ended with {usage.exit_code}, see {log}: {_last_line(log)}")
        return usage

    def _limits(self, step: str, number: int, huge: Path | None) -> None:
        """What bounds the step, right after it."""
        if step == "first":
            self._limit("cat", number, limits.cat_command(self.tree))
        elif step == "unchanged":
            self._limit("walk", number, limits.walk_command(self.tree))
        elif step == "huge" and huge:
            self._limit("cat, huge file", number, limits.cat_command(huge))
        elif step == "restore":
            plan = self.work / "plan"
            limits.plan(str(self.tree), str(plan))
            self._limit("create loop", number, limits.command("create", plan, self._target("created", number)))
            self._limit("cp -a", number, limits.copy_command(self.tree, self._target("cp", number)))
        elif step == "one":
            self.report.speeds.setdefault("memory copy", []).append(limits.memory_speed(2 * self.probe))
            flushed = limits.write_speed(str(self.work), self.probe)
            self.report.speeds.setdefault("disk write, flushed", []).append(flushed)

    def _limit(self, name: str, number: int, command: list[str]) -> None:
        self._prepare(self.tree)
        usage = run(command, self.work / "logs" / f"limits-{number}.log", os.environ)
        if usage.exit_code:
            self.report.failures.append(f"limit {name}: ended with {usage.exit_code}")
        else:
            self._note(Sample(LIMIT, name, number, usage, 0))

    def _note(self, sample: Sample) -> None:
        self.report.samples.append(sample)
        self.noted()
        usage = sample.usage
        memory = max(usage.largest, usage.memory) >> 20
        print(
            f"  {sample.step}, {sample.tool}: {usage.wall:.2f} s, CPU {usage.cpu:.2f} s, {memory} MiB", file=sys.stderr
        )


def insert_in_the_middle(path: Path, piece: bytes) -> None:
    """Moves the second half of the file on, in place, and gives the file a later time."""
    before = path.stat()
    middle, end = before.st_size // 2, before.st_size
    with path.open("r+b") as file:
        while end > middle:
            start = max(middle, end - PIECE)
            file.seek(start)
            data = file.read(end - start)
            file.seek(start + len(piece))
            file.write(data)
            end = start
        file.seek(middle)
        file.write(piece)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))


def _regular(tree: Path) -> list[Path]:
    paths = (Path(folder, name) for folder, _, names in os.walk(tree) for name in names)
    return sorted(path for path in paths if stat.S_ISREG(path.lstat().st_mode))


def _largest(tree: Path) -> Path:
    return max(_regular(tree), key=lambda path: (path.stat().st_size, path))


def _some_file(tree: Path, seed: int) -> str:
    """A file that is not empty, whose name no tool takes for a pattern."""
    files = [path for path in _regular(tree) if path.stat().st_size and not set("*?[]\\") & set(str(path))]
    return str(random.Random(seed).choice(files).relative_to(tree))


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
