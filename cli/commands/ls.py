"""chunkstore ls"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from chunkstore.format.entries import DIRECTORY
from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.selection import require
from chunkstore.operations.snapshot_choice import SnapshotFilter
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader

from ..arguments import Chosen, snapshot_and_path
from ..entries import entry_as_json, long_line, short_line
from ..opened import open_snapshot
from ..options import common_options, settings
from ..output import write_json_list
from ..progress_view import progress
from ..selecting import selection_options
from .snapshots import as_json


@click.command()
@click.argument("snapshot", callback=snapshot_and_path, required=False, metavar="SNAPSHOT[:PATH]")
@click.option("-l", "--long", is_flag=True, help="Mode, owner, size and time as well.")
@click.option("-H", "--human", is_flag=True, help="With --long: sizes as 1.2 MiB.")
@click.option("-R", "--recursive", is_flag=True, help="Everything below, too.")
@selection_options
@common_options
def command(snapshot: Chosen, long: bool, human: bool, recursive: bool, selection: SnapshotFilter) -> None:
    """List what is in a snapshot, or in the directory PATH of it. Needs the GPG private key."""
    with progress() as view, open_snapshot(snapshot, view, (), selection) as opened:
        entries = _chosen(opened.manifest, opened.record, snapshot.path, recursive)
        if settings().json:
            write_json_list({"snapshot": as_json(opened.snapshot)}, "entries", map(entry_as_json, entries))
            return
        view.clear()
        for each in entries:
            sys.stdout.write((long_line(each, human=human) if long else short_line(each)) + "\n")


def _chosen(
    manifest: ManifestReader, record: SnapshotRecord, path: bytes | None, recursive: bool
) -> Iterator[ManifestEntry]:
    if path is None and len(record.roots) > 1:
        for top in filter(None, map(manifest.find, record.roots)):  # a root that could not be read is not in there
            yield top
            if recursive and top.entry.kind == DIRECTORY:
                yield from manifest.below(top.path)
        return
    top = require(manifest, path if path is not None else record.roots[0])
    if top.entry.kind != DIRECTORY:
        yield top
    else:
        yield from manifest.below(top.path) if recursive else manifest.children(top.path)
