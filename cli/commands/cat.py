"""chunkstore cat"""

from __future__ import annotations

import sys

import click

from chunkstore.operations.cat import cat
from chunkstore.operations.opening import find_snapshot, open_content
from chunkstore.operations.reading import reading

from ..arguments import Chosen, snapshot_and_path
from ..environment import repository, surroundings, unseal
from ..options import common_options
from ..progress_view import Warnings


@click.command()
@click.argument("file", callback=snapshot_and_path, metavar="SNAPSHOT:PATH")
@common_options
def command(file: Chosen) -> None:
    """Write a file of a snapshot to standard output. Needs the GPG private key."""
    if file.path is None:
        raise click.UsageError("which file? Give SNAPSHOT:PATH, for instance latest:/etc/fstab")
    around, view = surroundings(), Warnings(quiet=False)
    opened = repository("read", around)
    record = find_snapshot(opened, file.snapshot, view).record
    opener = open_content(opened, unseal)
    with reading(opened, opener, around, view) as read:
        for piece in cat(read.reader, read.manifest(record), file.path, around.workers, view):
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
