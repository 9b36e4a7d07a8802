"""chunkstore copy"""

from __future__ import annotations

from collections.abc import Sequence

import click

from chunkstore.operations.catalog import Snapshot, snapshots
from chunkstore.operations.copy.copying import CopyOptions, CopyOutcome, Fate, Planned, copy, plan_copy
from chunkstore.operations.snapshot_choice import SnapshotFilter, all_that_fit, pick
from chunkstore.progress import Progress
from chunkstore.repository.chunk_writer import WriteOptions
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.tree.display import display_path
from chunkstore.units import format_size

from .. import environment
from ..arguments import signed_by
from ..compression_option import compression_option
from ..failures import DIFFERENT, DONE
from ..options import common_options, settings
from ..output import iso_time, json_path, local_time, write_json
from ..progress_view import Warnings, progress
from ..selecting import selection_options
from ..two_repositories import open_both
from .snapshots import shown_text


@click.command()
@click.argument("which", nargs=-1, metavar="[SNAPSHOT...]")
@click.option("--from", "source", metavar="URL", help="The repository to copy from. Else CHUNKSTORE_FROM_REPOSITORY.")
@selection_options
@click.option("-n", "--dry-run", is_flag=True, help="Only list what would be copied.")
@compression_option
@signed_by
@click.option("--sign-with", metavar="KEY", help="Sign the copies with this GPG key, whose private half is here.")
@click.option("--no-verify-writes", is_flag=True, help="Do not decode what was just encoded before it is stored.")
@common_options
def command(
    which: tuple[str, ...],
    source: str | None,
    selection: SnapshotFilter,
    dry_run: bool,
    compression: int,
    signed_by: tuple[str, ...],
    sign_with: str | None,
    no_verify_writes: bool,
) -> int:
    """Copy snapshots of another repository to this one: all, those named, or those that fit.

    What is there already is not copied again. Needs the GPG private key of the other repository, and only the public
    keys of this one. Exit code 4: a snapshot was not copied, because something of it is damaged.
    """
    stop = environment.Stop()
    around = environment.surroundings(stop)
    with stop.listening():
        there, here = open_both(source, "read" if dry_run else "write", around)
        with progress() as view:
            chosen = _chosen(there, which, selection, around, view)
            planned = plan_copy(there, here, chosen, view, around.workers)
            for each in planned:
                if each.copy is None:
                    environment.check_signature(each.snapshot.signed, there.key.repository_id, signed_by)
            if dry_run:
                return _preview(planned)
            write = WriteOptions(level=compression, verify=not no_verify_writes, workers=around.workers)
            options = CopyOptions(write, environment.signing(sign_with))
            done = []
            for outcome in copy(there, here, environment.unseal, planned, options, around, view):
                _tell(outcome, view)
                done.append(outcome)
    _report(done, dry_run=False)
    return DIFFERENT if any(each.fate == Fate.DAMAGED for each in done) else DONE


def _chosen(
    source: Repository, which: Sequence[str], selection: SnapshotFilter, around: Surroundings, view: Progress
) -> list[Snapshot]:
    among = [*snapshots(source, view, around.workers)]
    if which:
        return [*{each.record.id: each for each in (pick(among, name, selection) for name in which)}.values()]
    return all_that_fit(among, selection) if selection else among


def _preview(planned: Sequence[Planned]) -> int:
    found = []
    for each in planned:
        copy_id = each.copy.record.id if each.copy else None
        found.append(CopyOutcome(each.snapshot, Fate.THERE if each.copy else Fate.MISSING, copy_id))
        if not settings().json and not settings().quiet:
            click.echo(f"{_line(each.snapshot)}  {f'there as {copy_id[:8]}' if copy_id else 'would be copied'}")
    _report(found, dry_run=True)
    return DONE


def _tell(outcome: CopyOutcome, view: Warnings) -> None:
    """A line for each, as it is done."""
    if outcome.fate == Fate.DAMAGED:
        view.warn(f"snapshot {outcome.snapshot.record.id[:8]} is not copied: {outcome.problem}")
    elif outcome.fate == Fate.COPIED and outcome.copy and not settings().json and not settings().quiet:
        sizes = f"read {format_size(outcome.read)}, stored {format_size(outcome.stored)}"
        view.result(f"{_line(outcome.snapshot)}  copied as {outcome.copy[:8]}: {sizes}")


def _line(snapshot: Snapshot) -> str:
    record = snapshot.record
    roots = " ".join(map(display_path, record.roots))
    return f"{record.id[:8]}  {local_time(record.time)}  {shown_text(record.host)}  {roots}"


_WORDS = {
    Fate.COPIED: "copied",
    Fate.THERE: "there already",
    Fate.DAMAGED: "not copied: damaged",
    Fate.MISSING: "to be copied",
}


def _report(found: Sequence[CopyOutcome], *, dry_run: bool) -> None:
    counts = {fate: sum(each.fate == fate for each in found) for fate in Fate}
    if settings().json:
        counted = {fate.value: count for fate, count in counts.items()}
        write_json({"dry_run": dry_run, "snapshots": [_as_json(each) for each in found], **counted})
    elif not settings().quiet:
        parts = [f"{count} {_WORDS[fate]}" for fate, count in counts.items() if count]
        click.echo(f"Snapshots: {', '.join(parts) or 'none'}.")


def _as_json(outcome: CopyOutcome) -> dict[str, object]:
    record = outcome.snapshot.record
    return {
        "id": record.id,
        "time": iso_time(record.time),
        "host": record.host,
        "paths": [json_path(root) for root in record.roots],
        "state": outcome.fate.value,
        "copy": outcome.copy,
        "read": outcome.read,
        "stored": outcome.stored,
        "problem": outcome.problem,
    }
