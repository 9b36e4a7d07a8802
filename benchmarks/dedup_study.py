"""Which chunks deduplicate best: the study of `chunkstore bench dedup` over made-up corpora, or any folder.

    nice python benchmarks/dedup_study.py [--corpora tree,big,image,database,mail,media] [--folder DIR ...]
        [--megabytes 300] [--seed N] [--sample MIB] [--json FILE] [--add FILE ...] [--plot FILE.svg]

Makes each corpus from the seed in a temporary directory (TMPDIR) of at most about `--megabytes`, studies it with all
algorithms and average sizes from 16 KiB to 4 MiB, and removes it. `tree` is a tree of small files and a copy of it in
which 5 % of the files were edited; the others are told in `corpus.py` and `corpus_kinds.py`. Prints Markdown tables, a
row for each chunker and a column for each corpus:

- deduplication: bytes read / bytes in chunks that are new
- stored: what a repository would have, manifests left out, in percent of what was read; all new data is compressed
  unless --sample says otherwise
- index: bodies of index objects for 1 TiB of such data, in MiB
- speed: MB (10**6 bytes) that one core cuts and hashes in a second of processor time
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import corpus
import machine
from chunkstore_cli.charts import Panel, Series, svg

from chunkstore.chunking import ALGORITHMS
from chunkstore.operations.dedup_study.study import dedup_study
from chunkstore.operations.dedup_study.values import SIZES, Study, StudyOptions, chunkers_for
from chunkstore.progress import Silent
from chunkstore.units import format_size

CORPORA = ("tree", "big", "image", "database", "mail", "media")
MB = 10**6
TIB = 2**40

Figures = dict[str, Any]
"""What JSON gets of one study."""

MEASURES: dict[str, tuple[Callable[[Figures, Figures], float], str]] = {
    "deduplication": (lambda study, each: study["bytes"] / each["bytes_new"], ".3f"),
    "stored, % of what was read": (lambda study, each: 100 * each["bytes_stored"] / study["bytes"], ".2f"),
    "index for 1 TiB of this, MiB": (lambda study, each: each["bytes_index"] * TIB / study["bytes"] / 2**20, ".0f"),
    "speed, MB/s of one core": (lambda study, each: study["bytes"] * 1e3 / each["cpu_ns"], ".0f"),
}


@contextmanager
def made(kind: str, seed: int, size: int) -> Iterator[Path]:
    """A corpus in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="corpus-") as directory:
        root = Path(directory) / kind
        if kind == "tree":
            files = max(size // 2 // 11_000, 100)
            corpus.make("tree", root / "first", seed, files, size // 2)
            shutil.copytree(root / "first", root / "second", symlinks=True)
            corpus.edit(root / "second", seed, share=0.05)
        else:
            corpus.make(kind, root, seed, size=size)
        yield root


def studied(root: Path, sample: int) -> Study:
    options = StudyOptions(
        chunkers=chunkers_for(ALGORITHMS, SIZES), cpu_clock=time.thread_time_ns, sample=sample, workers=2
    )
    return dedup_study([os.fsencode(root)], b"/", options, Silent(), tempfile.gettempdir())


def tables(studies: dict[str, Figures]) -> str:
    """Markdown: one table for each measure."""
    lines: list[str] = []
    for title, (value, form) in MEASURES.items():
        lines += ["", f"### {title}", "", f"| chunker | {' | '.join(studies)} |", "|---|" + "---:|" * len(studies)]
        for number, first in enumerate(next(iter(studies.values()))["measurements"]):
            cells = [format(value(study, study["measurements"][number]), form) for study in studies.values()]
            lines.append(f"| `{first['chunker']}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(studies: dict[str, Figures]) -> str:
    """SVG: what is stored of each corpus; index and speed for the one with the largest files."""
    stored, index, speed = (MEASURES[title][0] for title in list(MEASURES)[1:])
    panels = [
        panel(f"{name}: stored, of what was read", study, stored, lambda y: f"{y:.4g} %")
        for name, study in studies.items()
    ]
    name, study = max(studies.items(), key=lambda each: each[1]["bytes"] / each[1]["files"])
    panels.append(panel(f"{name}: index for 1 TiB", study, index, lambda y: format_size(y * 2**20), logarithmic=True))
    panels.append(panel(f"{name}: cutting and hashing, one core", study, speed, lambda y: f"{y:.0f} MB/s"))
    return svg("Chunk sizes and algorithms", panels)


def panel(
    title: str,
    study: Figures,
    value: Callable[[Figures, Figures], float],
    y_text: Callable[[float], str],
    *,
    logarithmic: bool = False,
) -> Panel:
    rows = study["measurements"]
    series = [
        Series(name, tuple((float(row["size"]), value(study, row)) for row in rows if row["algorithm"] == name))
        for name in dict.fromkeys(row["algorithm"] for row in rows)
    ]
    return Panel(title, "average chunk size asked for", tuple(series), size_text, y_text, logarithmic)


def size_text(size: float) -> str:
    return format_size(size).replace(".0 ", " ").replace("iB", "")


def figures(study: Study) -> Figures:
    rows = [
        {
            "chunker": str(each.chunker),
            "algorithm": each.chunker.algorithm,
            "size": each.chunker.avg_size,
            "chunks": each.counted.chunks,
            "chunks_new": each.counted.unique_chunks,
            "bytes_new": each.counted.unique,
            "wasted": [each.counted.copied, each.counted.within, each.counted.across],
            "bytes_compressed": each.compressed,
            "bytes_index": each.index,
            "bytes_stored": each.stored,
            "frames": [each.sampled.tried, each.sampled.frames],
            "cpu_ns": each.cpu_ns,
        }
        for each in study.measurements
    ]
    return {"files": study.files, "bytes": study.total, "measurements": rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", default=",".join(CORPORA))
    parser.add_argument("--folder", action="append", default=[], type=Path, help="study this too")
    parser.add_argument("--megabytes", type=int, default=300, help="of each corpus")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=0, help="MiB of new data to compress for each chunker; 0 for all")
    parser.add_argument("--add", action="append", default=[], type=Path, help="figures that --json wrote earlier")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    for name, value in machine.facts(Path.cwd()).items():
        print(f"- {name}: {value}")
    studies: dict[str, Figures] = {}
    for file in arguments.add:
        studies |= {name: value for name, value in json.loads(file.read_text()).items() if name != "version"}
    for kind in filter(None, arguments.corpora.split(",")):
        with made(kind, arguments.seed, arguments.megabytes * MB) as root:
            studies[kind] = figures(studied(root, arguments.sample << 20))
        print(f"- {kind} is done", flush=True)
    for folder in arguments.folder:
        studies[folder.name] = figures(studied(folder.absolute(), arguments.sample << 20))
    for name, study in studies.items():
        print(f"- {name}: {study['files']} files, {study['bytes'] / MB:.0f} MB")
    print(tables(studies))
    if arguments.json:
        arguments.json.write_text(json.dumps({"version": 1, **studies}, indent=1) + "\n")
    if arguments.plot:
        arguments.plot.write_text(plot(studies))
    return 0


if __name__ == "__main__":
    sys.exit(main())
