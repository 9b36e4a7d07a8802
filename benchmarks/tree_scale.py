"""A million files in one tree: time and peak memory of what users do with it, and that memory does not grow with the tree.

    python benchmarks/tree_scale.py --files 10000,1000000 --out tree-scale.json
    python benchmarks/tree_scale.py --files 1000,10000 --wide 3000 --deep 1000
    python benchmarks/tree_scale.py --show tree-scale.json

For each number of files a tree of tiny ones, each with other content: in directories of 100, three levels of them;
`--wide` of them (at most three tenths) in one directory; and one at the bottom of a path of `--deep` bytes. Then, in an empty
repository: the first snapshot, the unchanged one, one after a thousandth of the files changed, the list of snapshots, the
list of a directory and of everything, the restore of one file from the middle of the large directory, from the bottom of the
deep path, and with `--restore-all` of everything. Each a process of its own; what comes back is compared with its source.

Printed are wall time, processor time (with gpg) and the peak memory of the largest process; in the last column how much more
of it the largest tree takes than the smallest. Everything is made below the work directory, and removed afterwards; a million files
take about 8 GB there (blocks of 4 KiB), a minute to make and one to remove.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import limits
import machine
from measure import Usage, run
from throwaway_key import throwaway_key
from tools import Chunkstore, Key

IN_DIRECTORY = 100
COMPONENT = 200
"""Bytes of a name on the deep path."""
PATH_MAX = 4096
VERSION = 1
EPOCH_NS = 1_700_000_000 * 10**9


@dataclass(frozen=True, slots=True)
class Shape:
    """What a tree is like: `files` in all, `wide` of them in one directory, one at a path `deep` bytes long."""

    files: int
    wide: int
    deep: int


@dataclass
class Findings:
    """Every run: step -> number of files -> usages."""

    facts: dict[str, str]
    runs: dict[str, dict[int, list[Usage]]] = field(default_factory=dict)

    def note(self, step: str, files: int, usage: Usage) -> None:
        self.runs.setdefault(step, {}).setdefault(files, []).append(usage)
        print(f"  {step}: {usage.wall:.2f} s, CPU {usage.cpu:.2f} s, {usage.largest >> 20} MiB", file=sys.stderr)

    def write(self, path: Path) -> None:
        runs = {
            step: {at: [asdict(each) for each in all_] for at, all_ in by.items()} for step, by in self.runs.items()
        }
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(json.dumps({"version": VERSION, "facts": self.facts, "runs": runs}, indent=1) + "\n")
        os.replace(temporary, path)

    def markdown(self) -> str:
        """One row for each step; wall s, processor s, peak MiB for each number of files."""
        sizes = sorted({files for by in self.runs.values() for files in by})
        lines = [f"- {name}: {value}" for name, value in self.facts.items()] + [""]
        lines.append(f"| step | {' | '.join(f'{files:,} files: s | CPU s | MiB' for files in sizes)} | memory |")
        lines.append("|---|" + "---:|" * (3 * len(sizes) + 1))
        for step, by in self.runs.items():
            cells = [cell for files in sizes for cell in _cells(by.get(files, []))]
            ends = [by.get(files) for files in (sizes[0], sizes[-1])]
            grown = f"{_peak(ends[1] or []) / _peak(ends[0]):.2f}x" if ends[0] and ends[1] and len(sizes) > 1 else ""
            lines.append(f"| {step} | {' | '.join(cells)} | {grown} |")
        return "\n".join([*lines, ""])


def _cells(usages: list[Usage]) -> list[str]:
    if not usages:
        return ["", "", ""]
    wall, cpu = (median(getattr(each, name) for each in usages) for name in ("wall", "cpu"))
    return [f"{wall:.2f}", f"{cpu:.2f}", f"{_peak(usages) / (1 << 20):.0f}"]


def _peak(usages: list[Usage]) -> float:
    return max(median(each.largest for each in usages), 1)


def load(path: Path) -> Findings:
    """What `write` wrote. ValueError for another version."""
    content = json.loads(path.read_text())
    if content["version"] != VERSION:
        raise ValueError(f"{path} is of another version")
    runs = {
        step: {int(files): [Usage(**each) for each in usages] for files, usages in by.items()}
        for step, by in content["runs"].items()
    }
    return Findings(content["facts"], runs)


# -- the tree


def make_tree(root: Path, shape: Shape) -> Path:
    """Makes the tree; returns the path, from the root, of the file at the bottom."""
    root.mkdir(parents=True)
    wide = min(shape.wide, shape.files * 3 // 10)
    rest = shape.files - wide - 1
    for first in range(0, rest, IN_DIRECTORY):
        folder = root / "tree" / f"{first // 10_000 // IN_DIRECTORY:03}" / f"{first // 10_000:04}" / f"{first:08}"
        _fill(folder, first, min(IN_DIRECTORY, rest - first))
    _fill(root / "wide", 10**8, wide)
    return _deep(root, shape.deep)


def _fill(folder: Path, first: int, count: int) -> None:
    """Files named by their numbers, whose content is a line that no other file has."""
    folder.mkdir(parents=True)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in range(first, first + count):
            _file(f"file-{number:09}.txt", b"the content of %d\n" % number, directory)
    finally:
        os.close(directory)


def _file(name: str, content: bytes, directory: int) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
    try:
        os.write(descriptor, content)
        os.utime(descriptor, ns=(EPOCH_NS, EPOCH_NS))
    finally:
        os.close(descriptor)


def _deep(root: Path, length: int) -> Path:
    """Directories in directories: no single call would take the whole path."""
    below, directory = Path("deep"), os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    name = "deep"
    while True:
        os.mkdir(name, dir_fd=directory)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
        os.close(directory)
        directory, left = inner, length - len(str(below)) - len("/bottom")
        if left < 2:
            break
        name = "d" * min(COMPONENT, left - 1)
        below /= name
    _file("bottom", b"the bottom\n", directory)
    os.close(directory)
    return below / "bottom"


def edit(root: Path, shape: Shape) -> int:
    """Changes every thousandth file of the tree's first part; how many."""
    changed = 0
    for folder, _, names in os.walk(root / "tree"):
        for name in names:
            if int(name[5:-4]) % 1000 == 7:
                with open(os.path.join(folder, name), "ab") as file:
                    file.write(b"edited\n")
                changed += 1
    return changed


# -- the steps


class Run:
    """One tree and its repository, below `work`."""

    def __init__(self, work: Path, key: Key, program: str, findings: Findings, shape: Shape) -> None:
        self._work, self._findings, self._shape = work, findings, shape
        self._tree, self._log = work / "tree", work / "log"
        work.mkdir(parents=True)
        self._tool = Chunkstore(work / "home", key, program)
        self._tool.home.mkdir()
        self._restored = 0

    def all_steps(self, restore_all: bool) -> None:
        began, files = time.perf_counter(), self._shape.files
        bottom = make_tree(self._tree, self._shape)
        print(f"{files:,} files made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        self._findings.facts[f"deepest path, {files:,} files"] = f"{len(str(self._tree / bottom))} bytes"
        self._do("init", self._tool.init(), quiet=True)
        if len(str(self._tree / bottom)) < PATH_MAX:
            self._note("limit: bare walk", run(limits.walk_command(self._tree), self._log, os.environ))
        self._do("first snapshot", self._tool.snapshot(self._tree, 0))
        self._do("unchanged", self._tool.snapshot(self._tree, 1))
        edit(self._tree, self._shape)
        self._do("1 of 1,000 changed", self._tool.snapshot(self._tree, 2))
        self._do("snapshots", self._tool.snapshots())
        listed = [*self._tool.contents(self._tree, 2)[:-2], f"latest:{self._tree / 'wide'}"]
        self._do("ls of the large directory", listed)
        self._do("ls of everything", self._tool.contents(self._tree, 2))
        wide = sorted(os.listdir(self._tree / "wide"))
        self._restore_one("one file, large directory", Path("wide", wide[len(wide) // 2]))
        self._restore_one("one file, deep path", bottom)
        if restore_all:
            target = self._target()
            self._do("restore of everything", self._tool.restore(self._tree, 2, target))

    def _do(self, step: str, command: list[str], quiet: bool = False) -> None:
        usage = run(command, self._log, self._tool.environment())
        if usage.exit_code:
            raise SystemExit(f"{step} ended with {usage.exit_code}: {self._log.read_text()[-2000:]}")
        if not quiet:
            self._note(step, usage)

    def _note(self, step: str, usage: Usage) -> None:
        self._findings.note(step, self._shape.files, usage)

    def _target(self) -> Path:
        self._restored += 1
        target = self._work / "restored" / str(self._restored)
        target.mkdir(parents=True)
        return target

    def _restore_one(self, title: str, path: Path) -> None:
        target = self._target()
        self._do(f"restore of {title}", self._tool.restore_one(self._tree, str(path), 2, target))
        found = [Path(folder, name) for folder, _, names in os.walk(target) for name in names]
        if len(found) != 1 or found[0].read_bytes() != _content(self._tree, path):
            raise SystemExit(f"{path} came back otherwise")


def _content(root: Path, path: Path) -> bytes:
    """What is in a file however long its path is."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for part in path.parts[:-1]:
        inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
        os.close(directory)
        directory = inner
    descriptor = os.open(path.parts[-1], os.O_RDONLY, dir_fd=directory)
    os.close(directory)
    with open(descriptor, "rb") as file:
        return file.read()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="10000,1000000", metavar="N,N", help="numbers of files, one tree for each")
    parser.add_argument("--wide", type=int, default=300_000, help="entries of the large directory")
    parser.add_argument("--deep", type=int, default=4000, help="bytes of the longest path, from the tree's root")
    parser.add_argument("--repeat", type=int, default=1, help="how often everything is done")
    parser.add_argument("--restore-all", action="store_true")
    parser.add_argument("--chunkstore", default="chunkstore", help="the command line to run as chunkstore")
    parser.add_argument("--work", type=Path, help="where to make everything (default: a temporary directory)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="every run, as JSON, written after each tree")
    parser.add_argument("--show", type=Path, metavar="FILE", help="what an earlier run wrote by --out")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    if arguments.show:
        print(load(arguments.show).markdown())
        return
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="chunkstore-scale-", dir=arguments.work)).resolve()
    findings = Findings(machine.facts(work))
    try:
        for number in range(arguments.repeat):
            for files in map(int, arguments.files.split(",")):
                shape = Shape(files, arguments.wide, arguments.deep)
                with throwaway_key() as key:
                    Run(work / f"{number}-{files}", key, arguments.chunkstore, findings, shape).all_steps(
                        arguments.restore_all
                    )
                if arguments.out:
                    findings.write(arguments.out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(findings.markdown())


if __name__ == "__main__":
    main()
