"""chunkstore snapshot"""

from __future__ import annotations

import os
from pathlib import Path

import click

from chunkstore.operations.snapshot import SnapshotOptions, SnapshotResult, snapshot
from chunkstore.repository.chunk_writer import WriteOptions
from chunkstore.repository.repository import Surroundings

from .. import environment
from ..failures import DONE, INCOMPLETE
from ..options import common_options, settings
from ..output import iso_time, json_path, write_json, write_statistics
from ..progress_view import progress, shown


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=bytes), metavar="PATH...")
@click.option("--tag", multiple=True, metavar="TAG", help="A tag for the snapshot. Give it again for more.")
@click.option("--description", default="", metavar="TEXT", help="A remark for people.")
@click.option("--host", default=None, metavar="NAME", help="Another name for this machine.")
@click.option("--compression", default=3, show_default=True, type=click.IntRange(1, 19), help="Level of zstd.")
@click.option("--sign-with", metavar="KEY", help="Sign the snapshot with this GPG key, whose private half is here.")
@click.option("--no-verify-writes", is_flag=True, help="Do not decode what was just encoded before it is stored.")
@common_options
def command(
    paths: tuple[bytes, ...],
    tag: tuple[str, ...],
    description: str,
    host: str | None,
    compression: int,
    sign_with: str | None,
    no_verify_writes: bool,
) -> int:
    """Store files and folders as a new snapshot.

    Needs no private key and starts no other program, unless it is to be signed. Exit code 3: the snapshot was made, but some files could not be
    read.
    """
    stop = environment.Stop()
    around = environment.surroundings(stop, host)
    with stop.listening():
        repository = environment.repository("write", around)
        options = SnapshotOptions(
            tags=tuple(dict.fromkeys(tag)),
            description=description,
            write=WriteOptions(level=compression, verify=not no_verify_writes, workers=around.workers),
            leave_out=_own_files(around),
            sign=environment.signing(sign_with),
            estimate=shown(),
        )
        with progress() as view:
            result = snapshot(repository, paths, os.getcwdb(), options, around, view)
    _report(result)
    return INCOMPLETE if result.statistics.errors else DONE


def _own_files(around: Surroundings) -> frozenset[tuple[int, int]]:
    """State, cache and a local repository are never part of a snapshot."""
    own = set()
    for path in (around.places.state, around.places.cache, Path(environment.storage_location())):
        try:
            status = path.stat()
        except (OSError, ValueError):
            continue
        own.add((status.st_dev, status.st_ino))
    return frozenset(own)


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
