"""chunkstore verify"""

from __future__ import annotations

import os
import tempfile

import click

from chunkstore.errors import Damaged
from chunkstore.format.entries import DIRECTORY
from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.selection import require, select
from chunkstore.operations.snapshot_choice import SnapshotFilter
from chunkstore.operations.statistics import Statistics
from chunkstore.operations.verify.verifying import Difference, Verified, verify
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.tree.display import display_path

from ..arguments import Chosen, signed_by, snapshot_and_path
from ..failures import DIFFERENT, DONE, explain
from ..opened import open_snapshot
from ..options import common_options, settings
from ..output import JsonList
from ..progress_view import Warnings, progress
from ..selecting import selection_options


@click.command()
@click.argument("snapshot", callback=snapshot_and_path, required=False, metavar="SNAPSHOT[:PATH]")
@click.argument("place", required=False, type=click.Path(path_type=bytes), metavar="[PATH]")
@selection_options
@signed_by
@common_options
def command(snapshot: Chosen, place: bytes | None, signed_by: tuple[str, ...], selection: SnapshotFilter) -> int:
    """Compare a snapshot with the files on disk: names, metadata and every byte.

    Without PATH the files are compared where they were. A PATH that was part of the snapshot compares this part only;
    any other PATH is a folder that a restore filled. Exit code 4: there are differences, or damage. Needs the GPG
    private key.
    """
    try:
        with progress() as view:
            found = JsonList("differences") if settings().json else None
            done = _verify(snapshot, place, signed_by, selection, view, found)
    except Damaged as e:  # of the record or the manifest: there is nothing to compare with
        explain(e)
        return DIFFERENT
    if found:
        found.end({"files": done.files, "bytes": done.bytes, "damaged": done.damaged})
    elif not settings().quiet:
        click.echo(_summary(done))
    return DIFFERENT if done.differences else DONE


def _verify(
    snapshot: Chosen,
    place: bytes | None,
    signed_by: tuple[str, ...],
    selection: SnapshotFilter,
    view: Warnings,
    found: JsonList | None,
) -> Verified:
    def report(difference: Difference) -> None:
        line = f"{display_path(difference.path)}: {difference.how}"
        if found:
            found.add(line)
        else:
            view.result(line)

    with open_snapshot(snapshot, view, signed_by, selection) as opened:
        counted = Statistics.from_record(opened.record.statistics)
        view.total(counted.files, counted.bytes)
        path, base = _where(opened.manifest, opened.record, snapshot.path, place)
        entries = select(opened.manifest, opened.record, path)
        with tempfile.TemporaryDirectory(prefix="chunkstore-") as scratch:
            return verify(opened.reader, opened.manifest, entries, base, opened.workers, view, report, scratch)


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


def _summary(done: Verified) -> str:
    files, found = f"{done.files} file{'s' * (done.files != 1)}", done.differences
    return f"Verify complete: {files} compared, {found} difference{'s' * (found != 1)} found."
