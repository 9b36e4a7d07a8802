"""chunkstore extend-locks"""

from __future__ import annotations

import click

from chunkstore.operations.extend_locks import Extended, extend_locks
from chunkstore.operations.snapshot_choice import SnapshotFilter
from chunkstore.units import format_count, format_size

from ..choosing_snapshots import chooser
from ..environment import Stop, repository, surroundings
from ..failures import DIFFERENT, DONE
from ..options import common_options, settings
from ..output import iso_time, write_json
from ..progress_view import progress
from ..selecting import selection_options


@click.command()
@click.argument("which", nargs=-1, metavar="[SNAPSHOT...]")
@click.option("-n", "--dry-run", is_flag=True, help="Change nothing; count what would be locked for longer.")
@selection_options
@common_options
def command(which: tuple[str, ...], dry_run: bool, selection: SnapshotFilter) -> int:
    """Keep what snapshots use from being deleted for another while: --retention says how long. S3 alone.

    Locks packs, index, records and keys of all snapshots, or of those that are named or fit. Needs no private key.
    """
    days = settings().storage.get("retention_days")
    if not isinstance(days, int):
        raise click.UsageError("For how long? Give --retention: 30d.")
    stop = Stop()
    around = surroundings(stop)
    opened = repository("prune", around)
    with stop.listening(), progress() as view:
        done = extend_locks(opened, chooser(which, selection), days, dry_run, around, view)
        for problem in done.problems:
            view.warn(problem)
    if settings().json:
        write_json(_as_json(done, dry_run))
    elif not settings().quiet:
        click.echo(_said(done, dry_run))
    return DIFFERENT if done.problems else DONE


def _said(done: Extended, dry_run: bool) -> str:
    lines = [
        f"{'Would be locked' if dry_run else 'Locked'} until {iso_time(done.until * 10**9)}: "
        f"{_objects(done.extended, done.extended_bytes)}, for {format_count(done.snapshots)} "
        f"snapshot{'s' * (done.snapshots != 1)}",
        f"Locked for as long already: {_objects(done.enough, done.enough_bytes)}",
    ]
    if done.gone:
        lines.append(f"Gone meanwhile: {format_count(done.gone)}")
    return "\n".join(lines)


def _objects(count: int, size: int) -> str:
    return f"{format_count(count)} object{'s' * (count != 1)}, {format_size(size)}"


def _as_json(done: Extended, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "until": iso_time(done.until * 10**9),
        "snapshots": done.snapshots,
        "extended": {"count": done.extended, "bytes": done.extended_bytes},
        "enough": {"count": done.enough, "bytes": done.enough_bytes},
        "gone": done.gone,
        "problems": list(done.problems),
    }
