"""chunkstore verify"""

from __future__ import annotations

import os

import click

from chunkstore.errors import Damaged
from chunkstore.format.entries import DIRECTORY
from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.selection import require, select
from chunkstore.operations.statistics import Statistics
from chunkstore.operations.verify import Verified, verify
from chunkstore.repository.manifest_reader import ManifestReader

from ..arguments import Chosen, signed_by, snapshot_and_path
from ..failures import DIFFERENT, DONE, explain
from ..opened import open_snapshot
from ..options import common_options, settings
from ..output import write_json
from ..progress_view import progress


@click.command()
@click.argument("snapshot", callback=snapshot_and_path, metavar="SNAPSHOT[:PATH]")
@click.argument("place", required=False, type=click.Path(path_type=bytes), metavar="[PATH]")
@signed_by
@common_options
def command(snapshot: Chosen, place: bytes | None, signed_by: tuple[str, ...]) -> int:
    """Compare a snapshot with the files on disk: names, metadata and every byte.

    Without PATH the files are compared where they were. A PATH that was part of the snapshot compares this part only;
    any other PATH is a folder that a restore filled. Exit code 4: there are differences, or damage. Needs the GPG
    private key.
    """
    try:
        done = _verify(snapshot, place, signed_by)
    except Damaged as e:  # of the record or the manifest: there is nothing to compare with
        explain(e)
        return DIFFERENT
    _report(done)
    return DIFFERENT if done.differences else DONE


def _verify(snapshot: Chosen, place: bytes | None, signed_by: tuple[str, ...]) -> Verified:
    with progress() as view, open_snapshot(snapshot, view, signed_by) as opened:
        counted = Statistics.from_record(opened.record.statistics)
        view.total(counted.files, counted.bytes)
        path, base = _where(opened.manifest, opened.record, snapshot.path, place)
        entries = select(opened.manifest, opened.record, path)
        return verify(opened.reader, opened.manifest, entries, base, opened.workers, view)


def _where(
    manifest: ManifestReader, record: SnapshotRecord, path: bytes | None, place: bytes | None
) -> tuple[bytes | None, bytes]:
    """(path in the snapshot, directory on disk that its contents are compared with)."""
    there = os.path.abspath(place) if place is not None else None
    if there is not None and path is None and _is_part(record, there):
        path, there = there, None
    if there is not None:
        return path, there
    original = path if path is not None else record.roots[0] if len(record.roots) == 1 else b"/"
    if original != b"/" and require(manifest, original).entry.kind != DIRECTORY:
        return path, os.path.dirname(original)
    return path, original


def _is_part(record: SnapshotRecord, path: bytes) -> bool:
    return any(path == root or path.startswith(root.rstrip(b"/") + b"/") for root in record.roots)


def _report(done: Verified) -> None:
    said = settings()
    if said.json:
        write_json({"files": done.files, "bytes": done.bytes, "damaged": done.damaged, "differences": done.differences})
        return
    for line in done.differences:
        click.echo(line)
    if said.quiet:
        return
    files, found = f"{done.files} file{'s' * (done.files != 1)}", len(done.differences)
    click.echo(f"Verify complete: {files} compared, {found} difference{'s' * (found != 1)} found.")
