"""chunkstore stats"""

from __future__ import annotations

import click

from chunkstore.operations.snapshot_choice import SnapshotFilter
from chunkstore.operations.stats.counting import stats

from ..choosing_snapshots import chooser
from ..environment import repository, surroundings
from ..failures import DIFFERENT, DONE
from ..options import common_options, settings
from ..output import write_json
from ..progress_view import progress
from ..selecting import selection_options
from ..stats_output import as_json, write_stats
from .snapshots import group_keys


@click.command()
@click.argument("which", nargs=-1, metavar="[SNAPSHOT...]")
@click.option(
    "--group-by",
    default="host",
    callback=group_keys,
    metavar="KEY[,KEY...]",
    help="A line for each host, paths or tags. Each host if not said.",
)
@click.option("--snapshots", "each", is_flag=True, help="A line for each snapshot too.")
@selection_options
@common_options
def command(which: tuple[str, ...], group_by: frozenset[str], each: bool, selection: SnapshotFilter) -> int:
    """How much is stored, by what, and what would be freed. Needs no private key.

    The totals are those of the whole repository. Groups and snapshots: all, or those that are named or fit.
    """
    around = surroundings()
    opened = repository("read", around)
    with progress() as view:
        found = stats(opened, chooser(which, selection), group_by, around, view)
        for problem in found.problems:
            view.warn(problem)
    if settings().json:
        write_json(as_json(found, opened.storage.location, each or bool(which)))
    elif not settings().quiet:
        write_stats(found, each or bool(which))
    return DONE if found.complete else DIFFERENT
