"""Every order of the storage calls of writers, pruners, `forget`, `repair index` and readers: how many were explored, and what came of it.

    python benchmarks/interleavings.py [--large] [--only WORDS ...] [--seed 1] [--walks N]

The real code runs on a storage in memory, switched at each call and killed at each write (`tests/exploring.py`). After every call: each
snapshot that is committed has all its chunks in packs that the index names, and each pack that the index names is there.
`--large`: also what takes minutes to an hour. Printed is a table in Markdown; seconds are of CPU time. The exit code says
whether anything was lost; if so, the calls that lead to it are printed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.interleaving_cases import LARGE, MISTAKES, SMALL, Case, Done, explore

HEAD = (
    "| programs | explored | states | interleavings | runs of code | s | how they ended, and in how many last states |\n|"
    + "---|" * 7
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], help="cases whose titles hold one of these words")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--walks", type=int, help="instead of the number of walks at random that is usual")
    arguments = parser.parse_args()
    wrong = 0
    print(HEAD, flush=True)
    for case in [*SMALL, *(LARGE if arguments.large else [])]:
        if arguments.only and not any(word in case.title for word in arguments.only):
            continue
        walks = arguments.walks if case.walks and arguments.walks else case.walks
        done = explore(replace(case, walks=walks), arguments.seed)
        print(row(done), flush=True)
        if done.explored.wrong:
            wrong += 1
            print(done.explored, flush=True)
    print("\n| mistake | found after states | what is lost |\n|---|---|---|", flush=True)
    for mistake, case in {} if arguments.only else MISTAKES.items():
        found = explore(case).explored
        wrong += not found.wrong
        print(f"| {mistake} | {found.states:,} | {found.wrong or 'NOT FOUND'} |", flush=True)
    return 1 if wrong else 0


def how_much(case: Case, done: Done) -> str:
    """What was left out."""
    if case.walks:
        return f"at random, {case.kills} killed at most"
    text = "all" if case.bound is None else f"pre-emptions: {case.bound}"
    text += f", {case.kills} killed" if case.kills else ""
    text += ", from a middle on" if case.start else ""
    return text if done.explored.complete else f"{text}; not to the end"


def row(done: Done) -> str:
    """A line of the table."""
    found = done.explored
    count = f"{found.interleavings:,}" if found.interleavings < 10**9 else f"{float(found.interleavings):.0e}"
    hows = "; ".join(f"{how} {states:,}" for how, states in sorted(done.hows.items()))
    cells = (
        done.case.title,
        how_much(done.case, done),
        f"{found.states:,}",
        count,
        f"{found.executions:,}",
        f"{found.seconds:.0f}",
        hows,
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    raise SystemExit(main())
