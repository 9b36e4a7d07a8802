"""chunkstore prune"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import click

from chunkstore.operations.prune.pruning import examine, prune
from chunkstore.operations.prune.values import PruneOptions, PruneResult
from chunkstore.repository.repository import Repository, Surroundings

from .. import environment
from ..failures import DONE, FAILED, say
from ..options import common_options, settings
from ..output import write_json
from ..progress_view import progress
from ..prune_options import prune_options
from ..prune_output import findings_json, result_json, show_findings, show_result, unfinished


@click.command()
@prune_options
@click.option(
    "-n", "--dry-run", is_flag=True, help="Only say what is used, unused and reclaimable, and who is waited for."
)
@click.option("--explain", is_flag=True, help="Say all that first, then prune.")
@click.option(
    "--no-delete", is_flag=True, help="Only compact the index: for repositories where nothing may be deleted."
)
@common_options
def command(pruning: PruneOptions, dry_run: bool, explain: bool, no_delete: bool) -> int:
    """Delete what no snapshot needs any more. Needs no private key.

    Snapshots can be made meanwhile by any machine, and another prune may run: nothing is locked. A prune that broke off is
    finished by the next one.
    """
    around = environment.surroundings(environment.Stop())
    repository = environment.repository("prune", around)
    pruning = replace(pruning, delete=not no_delete)
    first: dict[str, Any] = {}
    if dry_run or explain:
        with progress() as view:
            found = examine(repository, pruning, around, view)
        first = findings_json(found)
        if dry_run and settings().json:
            write_json(first)
        elif not settings().json:
            show_findings(found)
        if dry_run:
            return DONE
    return _tell(run(repository, pruning, around), {"found": first} if explain else {})


def run(repository: Repository, pruning: PruneOptions, around: Surroundings) -> PruneResult:
    """Prune, with signs of progress."""
    with progress() as view:
        stop = around.stop
        if isinstance(stop, environment.Stop):
            with stop.listening():
                return prune(repository, pruning, around, view, time.sleep)
        return prune(repository, pruning, around, view, time.sleep)


def _tell(done: PruneResult, more: dict[str, Any]) -> int:
    """Write the result, for machines with `more`; returns the exit code."""
    if settings().json:
        write_json({**result_json(done), **more})
    elif not settings().quiet:
        show_result(done)
    if not done.finished:
        say(unfinished(done))
    return DONE if done.finished and not done.damaged else FAILED
