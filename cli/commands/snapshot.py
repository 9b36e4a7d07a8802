"""chunkstore snapshot"""

from __future__ import annotations

import os
from dataclasses import replace

import click

from chunkstore.operations.snapshot.preview import Previewing
from chunkstore.operations.snapshot.stream import snapshot_stream
from chunkstore.operations.snapshot.taking import SnapshotOptions, SnapshotResult, snapshot
from chunkstore.progress import Progress
from chunkstore.repository.chunk_writer import WriteOptions
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.tree.choosing import Choosing

from .. import environment
from ..arguments import age, tags, text
from ..choosing_options import choosing_options
from ..compression_option import compression_option
from ..failures import DONE, INCOMPLETE, say
from ..options import common_options, settings
from ..output import iso_time, json_path, write_json, write_statistics
from ..own_files import Inodes, own_files, refuse_own
from ..preview_output import PreviewJson, PreviewLines
from ..priority import priority_options
from ..progress_view import progress, shown
from ..source_options import Source, source_options
from ..source_streams import StandardInput, output_of


@click.command()
@source_options
@choosing_options
@click.option("--tag", multiple=True, callback=tags, metavar="TAG", help="A tag. Give it again for more.")
@click.option("--description", default="", callback=text, metavar="TEXT", help="A remark for people.")
@click.option("--host", default=None, callback=text, metavar="NAME", help="Another name for this machine.")
@click.option("--force", is_flag=True, help="Read every file, also those that look unchanged.")
@click.option("--atime", is_flag=True, help="Record access times.")
@click.option("--read-special", is_flag=True, help="Store the content of block devices and pipes.")
@click.option("-n", "--dry-run", is_flag=True, help="Only list what would be read and stored.")
@click.option("-v", "--verbose", is_flag=True, help="List each file that is stored; with --dry-run what is left out.")
@compression_option
@click.option(
    "--checkpoint-every",
    default="30m",
    show_default=True,
    callback=age,
    metavar="AGE",
    help="How often a long run commits what it has so far as a partial snapshot; 0: never.",
)
@click.option("--sign-with", metavar="KEY", help="Sign the snapshot with this GPG key, whose private half is here.")
@click.option("--no-verify-writes", is_flag=True, help="Do not decode what was just encoded before it is stored.")
@priority_options
@common_options
def command(
    source: Source,
    choosing: Choosing,
    tag: tuple[str, ...],
    description: str,
    host: str | None,
    force: bool,
    atime: bool,
    read_special: bool,
    dry_run: bool,
    verbose: bool,
    compression: int,
    checkpoint_every: int,
    sign_with: str | None,
    no_verify_writes: bool,
) -> int:
    """Store files and folders as a new snapshot.

    Needs no private key and starts no other program, unless it is to be signed. Exit code 3: the snapshot was made,
    but some files could not be read.
    """
    _refuse_for_streams(source, choosing != Choosing() or force or atime or read_special or dry_run)
    stop = environment.Stop()
    around = environment.surroundings(stop, host)
    with stop.listening():
        repository = environment.repository("write", around)
        write = WriteOptions(level=compression, verify=not no_verify_writes, workers=around.workers)
        choosing = replace(choosing, leave_out=_own(repository, source, around, make=not dry_run))
        options = SnapshotOptions(
            tags=tag,
            description=description,
            write=write,
            choosing=choosing,
            force=force,
            atime=atime,
            read_special=read_special,
            checkpoint_every=checkpoint_every * 10**9,
            sign=None if dry_run else environment.signing(sign_with),
            estimate=shown(),
        )
        if dry_run:
            return _preview(repository, source, options, around, verbose)
        with progress(verbose and not settings().json and not settings().quiet) as view:
            result = _store(repository, source, options, around, view)
    _report(result)
    return INCOMPLETE if result.statistics.errors else DONE


def _refuse_for_streams(source: Source, about_files: bool) -> None:
    if source.name and about_files:
        raise click.UsageError("Options about files and --dry-run make no sense with --stdin and --from-command.")


def _own(repository: Repository, source: Source, around: Surroundings, *, make: bool) -> Inodes:
    """What is never part of a snapshot; `InvalidArgument` where it was asked for."""
    if make:
        around.places.cache_directory(repository.key.repository_id)  # now, for the walk to know it
    own = own_files(repository, around)
    refuse_own(source.paths, own)
    return own


def _store(
    repository: Repository, source: Source, options: SnapshotOptions, around: Surroundings, view: Progress
) -> SnapshotResult:
    if source.command:
        with output_of(source.command, around.stop) as output:
            return snapshot_stream(repository, source.name, output, options, around, view)
    if source.name:
        return snapshot_stream(repository, source.name, StandardInput(), options, around, view)
    return snapshot(repository, source.paths, os.getcwdb(), options, around, view)


def _preview(
    repository: Repository, source: Source, options: SnapshotOptions, around: Surroundings, verbose: bool
) -> int:
    said = settings()
    output = PreviewJson() if said.json else PreviewLines(said.quiet)
    on_left_out = output.left_out if verbose else None
    preview = Previewing(repository, source.paths, os.getcwdb(), options, around, on_left_out)
    for file in preview.files():
        output.file(file)
    output.end(preview.result)
    for problem in preview.result.problems:
        say(f"can not read {problem}")
    return INCOMPLETE if preview.result.problems else DONE


def _report(result: SnapshotResult) -> None:
    said, record = settings(), result.signed.record
    if said.json:
        write_json(
            {
                "snapshot": {
                    "id": record.id,
                    "time": iso_time(record.time),
                    "host": record.host,
                    "paths": [json_path(root) for root in record.roots],
                    "tags": list(record.tags),
                },
                "statistics": {
                    **record.statistics,
                    "deduplication": round(result.statistics.deduplication, 4),
                    "compression": round(result.statistics.compression, 4),
                },
                "problems": list(result.problems),
            }
        )
    elif not said.quiet:
        write_statistics(result.statistics)
        click.echo(f"Snapshot {record.id[:8]} stored.")
