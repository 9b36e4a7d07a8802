"""MB/s of each stage of a snapshot and a restore by itself, and with more workers; what that allows; how near we come.

    python benchmarks/stages.py --make tree --files 30000 --bytes 300M --out stages-tree.json
    python benchmarks/stages.py --make big --bytes 1G --repeat 5 --workers 1,2,4
    python benchmarks/stages.py --tree /usr/lib --sample 256M
    python benchmarks/stages.py --show stages-tree.json --markdown stages.md

The stages, each with the engine's own code on the same data in memory: walk, read, chunk, hash, compress (as by default),
encrypt, verify what was encoded, pack, write (flushed); fetch, decrypt, decompress, write files. Each with one worker, with
threads, and with processes (which show where the interpreter's lock is what keeps threads from scaling); in turns, several
times. Beside them the limits of the machine: memory copy, disk, `cat` of all files, `cp -a`. Last the real thing: `chunkstore
snapshot` into an empty repository, and `restore`, as processes of their own.

`--sample`: no more than so many bytes of the tree are worked on (in memory: it takes about twice that, and `--repeat` times
four on the disk). Everything is in the page cache. `--out FILE` is written after each repetition.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import corpus
import limits
import machine
from measure import run, stored_bytes, warm
from stage_material import prepare
from stage_report import PROCESSES, THREADS, Findings, Kind, Timing, load
from stage_work import Stage, stages
from throwaway_key import throwaway_key
from tools import Chunkstore


def by_threads(stage: Stage, workers: int) -> None:
    """All items, by one thread (this one) or several."""
    if workers == 1:
        for item in stage.items:
            stage.work(item)
        return
    with ThreadPoolExecutor(workers) as executor:
        for _ in executor.map(stage.work, stage.items):
            pass


def by_processes(stage: Stage, workers: int) -> Callable[[], None]:
    """Forks workers that wait; what is returned lets them begin, and ends when all are done."""
    inlet, outlet = os.pipe()
    children = []
    for number in range(workers):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(outlet)
                os.read(inlet, 1)
                for item in stage.items[number::workers]:
                    stage.work(item)
                code = 0
            finally:
                os._exit(code)
        children.append(child)

    def go() -> None:
        os.close(outlet)
        codes = [os.waitpid(child, 0)[1] for child in children]
        if any(codes):
            raise RuntimeError(f"{stage.name} failed in a process")
        os.close(inlet)

    return go


def timed(stage: Stage, how: str, workers: int) -> Timing:
    """One run, once the disk is quiet."""
    os.sync()
    go = by_processes(stage, workers) if how == PROCESSES else lambda: by_threads(stage, workers)
    wall, cpu = time.perf_counter(), _cpu()
    go()
    return Timing(stage.name, how, workers, time.perf_counter() - wall, _cpu() - cpu)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def repetition(every: list[Stage], workers: list[int], findings: Findings) -> None:
    """Each stage in each way, once."""
    for stage in every:
        for count in workers:
            for how in (THREADS, PROCESSES) if count > 1 and hasattr(os, "fork") else (THREADS,):
                if count <= len(stage.items):
                    findings.timings.append(timed(stage, how, count))
        print(f"  {stage.name}", file=sys.stderr)


def measure_limits(tree: Path, work: Path, probe: int, findings: Findings) -> None:
    """What the machine can do, once."""

    def note(name: str, speed: float) -> None:
        findings.speeds.setdefault(name, []).append(speed)

    note("disk write, flushed", limits.write_speed(str(work), probe))
    note("disk read, not cached", limits.cold_read_speed(str(work), probe))
    target = work / "copies" / str(len(findings.speeds["disk write, flushed"]))
    target.mkdir(parents=True)
    commands = {"cat of all files": limits.cat_command(tree), "cp -a": limits.copy_command(tree, target)}
    for name, command in commands.items():
        usage = run(command, work / "log", os.environ)
        note(name, findings.total / 1e6 / usage.wall)


def measure_engine(tree: Path, work: Path, program: str, number: int, findings: Findings) -> None:
    """The first snapshot of the tree and its restore, by the command line."""
    home, target = work / "homes" / str(number), work / "restored" / str(number)
    home.mkdir(parents=True)
    target.mkdir(parents=True)
    with throwaway_key() as key:
        tool = Chunkstore(home, key, program)
        subprocess.run(tool.init(), env=dict(tool.environment()), check=True, capture_output=True)
        warm(tree)
        for side, command in (("snapshot", tool.snapshot(tree, 0)), ("restore", tool.restore(tree, 0, target))):
            usage = run(command, work / "log", tool.environment())
            if usage.exit_code:
                raise SystemExit(f"{' '.join(command)} ended with {usage.exit_code}, see {work / 'log'}")
            findings.engine.setdefault(side, []).append([usage.wall, usage.cpu])


def measure(arguments: argparse.Namespace, work: Path) -> Findings:
    tree = arguments.tree or work / "tree"
    if not arguments.tree:
        corpus.make(arguments.make, tree, 1, arguments.files, arguments.bytes)
    print(f"{stored_bytes(tree) / 1e6:,.0f} MB; made ready ...", file=sys.stderr)
    made = prepare(tree.resolve(), work, arguments.sample)
    every = stages(made, tree, work)
    findings = Findings(machine.facts(work), cores=len(os.sched_getaffinity(0)), raw=made.raw, total=made.total)
    findings.stored = sum(map(len, made.stored))
    findings.kinds = [Kind(each.name, each.size, list(each.sides), list(each.one_thread)) for each in every]
    findings.facts["data"] = (
        f"{arguments.tree or arguments.make}: {len(made.sources):,} files, {made.raw / 1e6:,.0f} of {made.total / 1e6:,.0f} MB;"
        f" new {sum(frame.used for frame in made.frames) / 1e6:,.0f} MB, stored {findings.stored / 1e6:,.0f} MB"
    )
    gc.freeze()
    for number in range(arguments.repeat):
        print(f"repetition {number + 1} of {arguments.repeat}", file=sys.stderr)
        repetition(every, arguments.workers, findings)
        measure_limits(tree, work, arguments.probe, findings)
        if not arguments.no_engine:
            measure_engine(tree, work, arguments.chunkstore, number, findings)
        if arguments.out:
            findings.write(arguments.out)
    return findings


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--tree", type=Path, help="this directory; it is only read")
    source.add_argument("--make", choices=corpus.KINDS_OF_CORPORA)
    source.add_argument("--show", type=Path, metavar="FILE", help="what an earlier run wrote by --out")
    parser.add_argument("--files", type=int, default=30_000, help="of --make tree")
    parser.add_argument("--bytes", type=corpus.parse_size, default=320 << 20, help="of --make (default 320M)")
    parser.add_argument("--sample", type=corpus.parse_size, default=1 << 30, help="bytes to work on at most (1G)")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--workers", type=_counts, default=_counts(f"1,{len(os.sched_getaffinity(0))}"), metavar="1,2,..."
    )
    parser.add_argument(
        "--probe", type=corpus.parse_size, default=512 << 20, help="bytes to find the disk's speed with"
    )
    parser.add_argument("--no-engine", action="store_true", help="only the stages and limits")
    parser.add_argument("--chunkstore", default="chunkstore", help="the command line to run as chunkstore")
    parser.add_argument("--work", type=Path, help="where to make everything (default: a temporary directory)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="every run, as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser.parse_args()


def _counts(text: str) -> list[int]:
    """Numbers of workers; one is always among them, for the others are compared with it."""
    return sorted({1, *map(int, text.split(","))})


def main() -> None:
    arguments = parsed()
    if arguments.show:
        findings = load(arguments.show)
    else:
        if arguments.work:
            arguments.work.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="chunkstore-stages-", dir=arguments.work)).resolve()
        try:
            findings = measure(arguments, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    print(findings.markdown())
    if arguments.markdown:
        arguments.markdown.write_text(findings.markdown())


if __name__ == "__main__":
    main()
