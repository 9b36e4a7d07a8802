"""How long the command line takes to start, on a warm cache, and where the time goes.

    python benchmarks/startup.py [--chunkstore "python -m chunkstore_cli"] [--runs 20] [--top 15]

Wall time from spawning the process to its end, one run to warm up and then the median, minimum and maximum of
`--runs`, the commands taking turns. Beside `--version` and `--help` stand a bare interpreter (`python -c pass`)
and an isolated one (`python -I -c pass`): what Python itself costs here. The interpreter is the one that runs
this script; run it with the one chunkstore is installed for. Then the modules that took the longest to import
by themselves (`-X importtime`, which slows imports down by about a third), and for each top-level package the sum.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

import machine

Command = list[str]


def seconds(command: Command) -> float:
    """Wall time of one run; its output is thrown away."""
    started = time.perf_counter()
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return time.perf_counter() - started


def timed(commands: dict[str, Command], runs: int) -> dict[str, list[float]]:
    """`runs` times of each command, interleaved, after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            taken = seconds(command)
            if turn:
                times[name].append(taken)
    return times


def import_times(command: Command) -> dict[str, int]:
    """Microseconds that each imported module took by itself."""
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    modules: Counter[str] = Counter()
    for line in answer.stderr.splitlines():
        fields = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and fields[0].strip().isdecimal():
            modules[fields[2].strip()] += int(fields[0])
    return modules


def print_times(times: dict[str, list[float]]) -> None:
    width = max(map(len, times))
    print(f"{'':<{width}}  median ms    min    max")
    for name, taken in times.items():
        figures = f"{median(taken) * 1e3:9.1f}  {min(taken) * 1e3:5.1f}  {max(taken) * 1e3:5.1f}"
        print(f"{name:<{width}}  {figures}")


def print_imports(title: str, modules: dict[str, int], top: int) -> None:
    packages: Counter[str] = Counter()
    for module, microseconds in modules.items():
        packages[module.partition(".")[0]] += microseconds
    print(f"\n{title}: {len(modules)} modules, {sum(modules.values()) / 1e3:.1f} ms of imports")
    for heading, counts in (("by itself", Counter(modules)), ("package", packages)):
        print(f"  ms {heading}")
        for name, microseconds in counts.most_common(top):
            print(f"  {microseconds / 1e3:7.1f}  {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunkstore", default="chunkstore", help="the command line to run as chunkstore")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--top", type=int, default=15, help="modules and packages to show")
    arguments = parser.parse_args()
    program = shlex.split(arguments.chunkstore)
    commands = {"python -c pass": [sys.executable, "-c", "pass"]}
    commands["python -I -c pass"] = [sys.executable, "-I", "-c", "pass"]
    found = shutil.which(program[0]) is not None
    options = ("--version", "--help") if found else ()
    for option in options:
        commands[f"chunkstore {option}"] = [*program, option]
    for name, value in machine.facts(Path.cwd()).items():
        print(f"{name}: {value}")
    try:
        print_times(timed(commands, arguments.runs))
        for option in options:
            print_imports(f"chunkstore {option}", import_times([*program, option]), arguments.top)
    except subprocess.CalledProcessError as failure:
        print(f"FAILED {shlex.join(failure.cmd)}: {failure.stderr[-500:]!r}", file=sys.stderr)
        return 1
    if not found:
        print(f"NOT RUN chunkstore: {program[0]} is not on PATH", file=sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
