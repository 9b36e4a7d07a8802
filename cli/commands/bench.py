"""chunkstore bench"""

from __future__ import annotations

import os
import tempfile
import time

import click

from chunkstore.chunking import ALGORITHMS, make_chunker
from chunkstore.chunking.parameters import CONTENT_DEFINED
from chunkstore.errors import InvalidArgument
from chunkstore.operations.dedup_study.study import dedup_study
from chunkstore.operations.dedup_study.values import SAMPLE, SIZES, StudyOptions, chunkers_for, parameters_for
from chunkstore.tree.choosing import Choosing
from chunkstore.units import parse_size

from .. import environment
from ..choosing_options import choosing_options
from ..failures import DONE, INCOMPLETE, say
from ..options import common_options, settings
from ..progress_view import progress, shown
from ..study_output import write_study, write_study_json
from ..study_plot import check_plot, write_plot

_ALL = "all"


@click.group(no_args_is_help=True)
@common_options
def command() -> None:
    """Measure, without a repository and without storing anything."""


@command.command("dedup")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=bytes), metavar="PATH...")
@click.option("--algorithms", metavar="NAME,...", help="pyfastcdc, fastcdc, fixed. Default: all that are installed.")
@click.option("--sizes", metavar="SIZE,...", help="Average chunk sizes. Default: 16K,32K and so on up to 4M.")
@click.option("--sample", metavar="SIZE", help="Compress so much new data of each chunker, or all. Default 128M.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(0, 10_000), help="Name so many duplicates.")
@click.option("--plot", metavar="FILE", help="Draw it: FILE.svg, FILE.html, or FILE.png, which needs matplotlib.")
@click.option("--compression", default=3, show_default=True, type=click.IntRange(1, 19), help="Level of zstd.")
@choosing_options
@common_options
def dedup(
    paths: tuple[bytes, ...],
    algorithms: str | None,
    sizes: str | None,
    sample: str | None,
    top: int,
    plot: str | None,
    compression: int,
    choosing: Choosing,
) -> int:
    """Study how well files deduplicate: with which chunks, what compression adds, and what is there most often.

    Everything is read once, and what is compressed a second time. Needs no repository and no keys. Exit code 3: some
    files could not be read.
    """
    said = settings()
    if plot is not None:
        check_plot(plot)
    options = StudyOptions(
        chunkers=chunkers_for(_algorithms(algorithms), _sizes(sizes)),
        cpu_clock=time.thread_time_ns,
        choosing=choosing,
        level=compression,
        sample=_sample(sample),
        top=top,
        estimate=shown(),
        workers=max(os.cpu_count() or 1, 2),
    )
    stop = environment.Stop()
    with stop.listening(), progress() as view:
        study = dedup_study(paths, os.getcwdb(), options, view, tempfile.gettempdir(), stop)
    if said.json:
        write_study_json(study)
    elif not said.quiet:
        write_study(study)
    if plot is not None:
        write_plot(plot, study)
    for problem in study.problems:
        say(f"can not read {problem}")
    return INCOMPLETE if study.problems else DONE


def _algorithms(text: str | None) -> tuple[str, ...]:
    if text is not None:
        return tuple(name.strip() for name in text.split(","))
    return tuple(name for name in ALGORITHMS if name not in CONTENT_DEFINED or _is_installed(name))


def _is_installed(algorithm: str) -> bool:
    try:
        make_chunker(parameters_for(algorithm, SIZES[0]), 1)
    except InvalidArgument:
        return False
    return True


def _sizes(text: str | None) -> tuple[int, ...]:
    return SIZES if text is None else tuple(parse_size(size) for size in text.split(","))


def _sample(text: str | None) -> int:
    """Bytes; 0 for all."""
    if text is None or text == _ALL:
        return 0 if text else SAMPLE
    size = parse_size(text)
    if not size:
        raise click.UsageError(f"--sample {text}: give a size above 0, or {_ALL}.")
    return size
