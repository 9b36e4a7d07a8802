"""chunkstore restore"""

from __future__ import annotations

import os

import click

from chunkstore.operations.restore import Restored, restore
from chunkstore.operations.statistics import Statistics
from chunkstore.tree.target import Overwrite, Target
from chunkstore.units import format_count, format_size

from ..arguments import Chosen, signed_by, snapshot_and_path
from ..failures import DONE, FAILED
from ..opened import open_snapshot
from ..options import common_options, settings
from ..output import json_path, write_json
from ..progress_view import progress


@click.command()
@click.argument("snapshot", callback=snapshot_and_path, metavar="SNAPSHOT[:PATH]")
@click.argument("target", type=click.Path(path_type=bytes))
@click.option(
    "--overwrite",
    type=click.Choice([each.value for each in Overwrite]),
    default="refuse",
    show_default=True,
    help="A TARGET that is not empty: refuse it, replace files, or never touch them.",
)
@signed_by
@common_options
def command(snapshot: Chosen, target: bytes, overwrite: str, signed_by: tuple[str, ...]) -> int:
    """Write a snapshot, or a part of it, to the folder TARGET.

    SNAPSHOT is `latest` or the first digits of an id, PATH an absolute path in it. Needs the GPG private key.
    """  # fmt: skip
    with progress() as view, open_snapshot(snapshot, view, signed_by) as opened:
        if snapshot.path is None:
            counted = Statistics.from_record(opened.record.statistics)
            view.total(counted.files, counted.bytes)
        with Target.prepare(os.path.abspath(target), overwrite=Overwrite(overwrite)) as place:
            done = restore(opened.reader, opened.manifest, opened.record, snapshot.path, place, opened.workers, view)
    _report(done, target)
    return FAILED if done.problems else DONE


def _report(done: Restored, target: bytes) -> None:
    said = settings()
    if said.json:
        write_json(
            {
                "target": json_path(os.path.abspath(target)),
                "files": done.files,
                "directories": done.directories,
                "links": done.links,
                "bytes": done.bytes,
                "kept": done.kept,
                "skipped": done.skipped_specials,
                "not_set": dict(done.not_set),
                "problems": done.problems,
            }
        )
        return
    if not said.quiet:
        click.echo(
            f"Restored {format_count(done.files)} files ({format_size(done.bytes)}), "
            f"{format_count(done.directories)} directories, {format_count(done.links)} links."
        )
        if done.kept:
            click.echo(f"Kept as they were: {format_count(done.kept)}.")
        if done.skipped_specials:
            click.echo(f"Not restored: {format_count(done.skipped_specials)} devices, pipes or sockets.")
        for attribute, count in sorted(done.not_set.items()):
            click.echo(f"Could not set the {attribute} of {format_count(count)} entries.", err=True)
    if done.problems:
        click.echo(f"chunkstore: {len(done.problems)} entries could not be restored", err=True)
