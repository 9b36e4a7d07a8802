"""chunkstore cat"""

from __future__ import annotations

import sys

import click

from chunkstore.operations.cat import cat
from chunkstore.operations.snapshot_choice import SnapshotFilter

from ..arguments import Chosen, snapshot_and_path
from ..opened import open_snapshot
from ..options import common_options, settings
from ..progress_view import Warnings
from ..selecting import selection_options


@click.command()
@click.argument("file", callback=snapshot_and_path, metavar="[SNAPSHOT]:PATH")
@selection_options
@common_options
def command(file: Chosen, selection: SnapshotFilter) -> None:
    """Write a file of a snapshot to standard output. Needs the GPG private key."""
    if file.path is None:
        raise click.UsageError("which file? Give SNAPSHOT:PATH, for instance latest:/etc/fstab")
    if settings().json:
        raise click.UsageError("cat writes the bytes of the file: there is no --json for it")
    view = Warnings()
    with open_snapshot(file, view, (), selection) as opened:
        for piece in cat(opened.reader, opened.manifest, file.path, opened.workers, view):
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
