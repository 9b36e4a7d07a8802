"""chunkstore snapshot"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from chunkstore.errors import InvalidArgument
from chunkstore.operations.snapshot import SnapshotOptions, SnapshotResult, snapshot
from chunkstore.repository.chunk_writer import WriteOptions
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.tree.display import display_path
from chunkstore.tree.walk import normalise_roots

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

    Needs no private key and starts no other program, unless it is to be signed. Exit code 3: the snapshot was made,
    but some files could not be read.
    """
    stop = environment.Stop()
    around = environment.surroundings(stop, host)
    with stop.listening():
        repository = environment.repository("write", around)
        own = _own_files(repository, around)
        _refuse_own(paths, own)
        options = SnapshotOptions(
            tags=tuple(dict.fromkeys(tag)),
            description=description,
            write=WriteOptions(level=compression, verify=not no_verify_writes, workers=around.workers),
            leave_out=own,
            sign=environment.signing(sign_with),
            estimate=shown(),
        )
        with progress() as view:
            result = snapshot(repository, paths, os.getcwdb(), options, around, view)
    _report(result)
    return INCOMPLETE if result.statistics.errors else DONE


def _own_files(repository: Repository, around: Surroundings) -> frozenset[tuple[int, int]]:
    """(device, inode) of the directories of state and cache and of a local repository: never part of a snapshot."""
    around.places.cache_directory(repository.key.repository_id)  # made now, for the walk to know it
    own = [around.places.state, around.places.cache]
    if os.path.isabs(repository.storage.location):
        own.append(Path(repository.storage.location))
    return frozenset((status.st_dev, status.st_ino) for status in map(os.stat, own))


def _refuse_own(paths: Sequence[bytes], own: frozenset[tuple[int, int]]) -> None:
    """The walk asks of nothing at and above a root whether it is to be left out."""
    for path in paths:
        for root in normalise_roots([path], os.getcwdb()):
            if any((status.st_dev, status.st_ino) in own for status in _at_and_above(root)):
                raise InvalidArgument(
                    f"{display_path(root)} is of chunkstore itself: its state, its cache and the repository "
                    "are never part of a snapshot"
                )


def _at_and_above(root: bytes) -> Iterator[os.stat_result]:
    """The status of `root`, which may be a link, and of the real directories above it, as far as they are there."""
    above = os.path.realpath(os.path.dirname(root))
    with contextlib.suppress(OSError):
        yield os.lstat(root)
    while True:
        with contextlib.suppress(OSError):
            yield os.stat(above)
        if above == b"/":
            return
        above = os.path.dirname(above)


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
