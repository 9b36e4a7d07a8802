"""Compares chunkstore with restic, borg, rustic, ... on one tree, in one run, interleaved.

    python benchmarks/end_to_end.py --make tree --repeat 5 --minutes 40 --out tree.json
    python benchmarks/end_to_end.py --make tree --tools chunkstore,restic,borg,duplicity --once duplicity
    python benchmarks/end_to_end.py --tree /usr/lib --markdown figures.md --plot docs/benchmark-lib
    python benchmarks/end_to_end.py --make mixed --steps first,unchanged,restore --repeat 1
    python benchmarks/end_to_end.py --make tree --chunkstore "python -m chunkstore_cli"

Each repetition starts with empty repositories and caches and measures, tool after tool in a changing order: the first
snapshot; one of the unchanged tree; one after 1 % of the files were edited; one after 4 KiB were inserted in the middle of
the largest file (if it has 64 MiB or more); the restore of that into an empty directory; the restore of one file; the
list of the snapshots; the list of what is in the last. `--steps` chooses (the first snapshot is always made). Every
restore is compared with its source: names, types, modes, times (in the unit the tool keeps), contents.

Right after the steps that they bound: `cat` of all files, a bare walk, `cat` of the largest file, a bare loop that creates
the same files, `cp -a` of the tree; then the speed of memory and disk (`limits.py`). Requests to S3: `s3_requests.py`.

Before each command the tree and the tool's repository and caches are read once, so that it finds them in the page cache
(some virtual machines page out what was not used for a minute); with `--cold` the page cache of the whole machine is
emptied instead (root only). A tree given by `--tree` is copied first and not touched.

Whatever is finished is printed at once. `--out FILE` (JSON) is written after every single command and has every single run:
a run that is cut short keeps what it has; `report.py FILE --plot PREFIX` makes tables and charts of it, `aims.py` says what
of the aims is reached, `--resume` goes on with it in new repetitions. `--minutes N`: after that time no repetition begins. `--once NAMES`: slow tools that only the first repetition
measures. `--plot PREFIX` writes PREFIX.svg, PREFIX.html and, where matplotlib is installed, PREFIX.png.

Nothing is deleted before the end while there is room: ext4 avoids inodes freed less than five minutes ago, so that
creating many files soon after many were deleted takes several times as long. For the same reason runs should not follow
each other closely. Where the next repetition might not fit, the earlier ones are removed first. The work directory needs
room for tools x (tree + repository) at least. See `measure.py` for what the figures are and `peers.md` for the tools.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import corpus
import machine
from bars import plot
from comparison import STEPS, Comparison, Failed
from measure import stored_bytes
from report import Report, load
from throwaway_key import throwaway_key
from tools import TOOLS, Key, missing, version_of

__all__ = ["Failed", "prepare_tree"]
USUAL = "chunkstore,restic,rustic,borg,kopia,bupstash"


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
    report.absent.clear()
    for name in names:
        program = arguments.chunkstore if name == "chunkstore" else name
        tool = TOOLS[name](Path("/nonexistent"), key, program)
        reason = missing(tool)
        if reason:
            report.absent.append(f"{name}: {reason}; see benchmarks/peers.md")
            print(f"NOT RUN {report.absent[-1]}", file=sys.stderr)
        else:
            programs[name] = program
            report.facts[name] = version_of(tool)
    return programs


def compare(arguments: argparse.Namespace, work: Path, report: Report) -> None:
    """The whole run in `work`. `report` grows, and is written as it grows."""
    began = time.monotonic()
    (work / "logs").mkdir()
    (work / "tree").mkdir()
    with throwaway_key() as key:
        programs = present(arguments.tools.split(","), arguments, key, report)
        if not programs:
            return
        tree = prepare_tree(arguments, work / "tree")
        if report.facts.setdefault("tree", tree) != tree:
            raise Failed(f"{arguments.json} is of another tree: {report.facts['tree']}")
        report.facts["page cache"] = "emptied before each command" if arguments.cold else "warm"
        comparison = Comparison(work, key, programs, report, lambda: written(arguments, report), arguments.seed)
        comparison.steps = tuple(arguments.steps.split(","))
        comparison.once = frozenset(arguments.once.split(",")) - {""}
        comparison.cold, comparison.huge_size, comparison.probe = arguments.cold, arguments.huge, arguments.probe
        first = max((sample.repetition + 1 for sample in report.samples), default=0)
        for number in range(first, first + arguments.repeat):
            minutes = (time.monotonic() - began) / 60
            if number > first and minutes > arguments.minutes:
                print(f"{minutes:.1f} minutes have passed: no more repetitions", file=sys.stderr)
                break
            print(f"repetition {number + 1} of {first + arguments.repeat}, minute {minutes:.1f}", file=sys.stderr)
            comparison.repetition(number)
            report.facts["repetitions"] = str(number + 1)
            print(f"\nso far:\n{report.plain()}\n", file=sys.stderr)
            written(arguments, report, everything=True)


def written(arguments: argparse.Namespace, report: Report, everything: bool = False) -> None:
    """The files that were asked for: the JSON each time, the others when there is time for it."""
    if arguments.json:
        report.write_json(arguments.json)
    if arguments.markdown and everything:
        arguments.markdown.write_text(report.markdown())
    if arguments.plot and everything and report.samples:
        plot(report, arguments.plot)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--tree", type=Path, help="measure with a copy of this directory")
    source.add_argument("--make", choices=corpus.KINDS_OF_CORPORA, help="make a corpus and measure with it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=110_000, help="of --make tree")
    parser.add_argument("--bytes", type=corpus.parse_size, help="of --make tree, big, ..., for instance 1.2G")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions, at most (default 5)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no repetition after that time")
    parser.add_argument("--tools", default=USUAL, help=f"names with commas between (default {USUAL}; duplicity)")
    parser.add_argument("--once", default="", help="tools for the first repetition only")
    parser.add_argument("--steps", default=",".join(STEPS), help=f"of {','.join(STEPS)} (default all)")
    parser.add_argument("--huge", type=corpus.parse_size, default=64 << 20, help="a file that counts as huge: 64M")
    parser.add_argument("--cold", action="store_true", help="empty the page cache before each command; root only")
    parser.add_argument("--chunkstore", default="chunkstore", help="the command line to run as chunkstore")
    parser.add_argument("--work", type=Path, help="a new or empty directory; only logs stay in it")
    parser.add_argument(
        "--probe", type=corpus.parse_size, default=512 << 20, help="bytes to find the disk's speed with"
    )
    parser.add_argument("--keep", action="store_true", help="leave trees and repositories in the work directory")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--out", "--json", dest="json", type=Path, metavar="FILE", help="every run, as it is measured")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the --out file")
    parser.add_argument("--plot", metavar="PREFIX", help="charts: PREFIX.svg, PREFIX.html, PREFIX.png")
    arguments = parser.parse_args()
    for chosen, known in ((arguments.tools, TOOLS), (arguments.once or "chunkstore", TOOLS), (arguments.steps, STEPS)):
        if unknown := set(chosen.split(",")) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if arguments.resume and not arguments.json:
        parser.error("--resume needs --out")
    return arguments


def remove_trees(work: Path) -> None:
    """Everything but the logs."""
    (work / "plan").unlink(missing_ok=True)
    for name in ("tree", "homes", "restored"):
        shutil.rmtree(work / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # there may be some, or the directory may have been there before
        (work / "logs").rmdir()
        work.rmdir()


def main() -> int:
    arguments = parsed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work = (arguments.work or Path(tempfile.mkdtemp(prefix="chunkstore-bench-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    if any(work.iterdir()):
        print(f"{work} is not empty", file=sys.stderr)
        return 2
    resumed = arguments.resume and arguments.json.exists()
    report = load(arguments.json) if resumed else Report(machine.facts(work))
    try:
        compare(arguments, work, report)
    except Failed as failure:
        print(f"FAILED {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        report.failures.append("the run was cut short")
    finally:
        if not arguments.keep:
            remove_trees(work)
    print(report.plain())
    written(arguments, report, everything=True)
    if report.failures or not report.samples:
        return 1
    if not arguments.work and not arguments.keep:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
