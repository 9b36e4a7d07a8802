"""chunkstore history"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click

from chunkstore.errors import PathNotFound
from chunkstore.operations.comparing import Change
from chunkstore.operations.difference import size_of
from chunkstore.operations.history import Version, history
from chunkstore.operations.snapshot_choice import SnapshotFilter
from chunkstore.tree.display import display_path
from chunkstore.tree.roots import normalise_roots
from chunkstore.units import format_count

from ..changes import CHANGES, shown_fields
from ..entries import entry_as_json
from ..failures import DONE, FAILED
from ..many import search
from ..options import common_options, settings
from ..output import JsonList, iso_time, json_path, local_time
from ..progress_view import progress
from ..selecting import selection_options
from .snapshots import shown_text

_COLUMNS = "{:<8}  {:<19}  {:<8}  {:>13}  {:<19}  {:>9}"


@click.command()
@click.argument("path", type=click.Path(path_type=bytes), metavar="PATH")
@selection_options
@common_options
def command(path: bytes, selection: SnapshotFilter) -> int:
    """List the versions of a file or directory over all snapshots, oldest first. Needs the GPG private key.

    A PATH that is not absolute is meant from the working directory.
    """
    path = _absolute(path)
    with progress() as view, search((), selection, view) as searched:
        versions = _there(history(searched.snapshots, searched.read.reader, path, searched.on_damage), path)
        if settings().json:
            written = JsonList("versions")
            for each in versions:
                written.add(_as_json(each))
            written.end({"path": json_path(path), "problems": searched.damaged})
        else:
            view.clear()
            _write(versions)
    return FAILED if searched.damaged else DONE


def _absolute(path: bytes) -> bytes:
    """Links stay what they are; a slash at the end means nothing."""
    return normalise_roots([path.rstrip(b"/") or b"/"], os.getcwdb())[0]


def _there(versions: Iterator[Version], path: bytes) -> Iterator[Version]:
    first = next(versions, None)
    if first is None:
        raise PathNotFound(f"{display_path(path)} is in no snapshot; `chunkstore find` looks for names")
    yield first
    yield from versions


def _write(versions: Iterator[Version]) -> None:
    host: str | None = None
    for each in versions:
        if each.first.record.host != host:
            sys.stdout.write("" if host is None else "\n")
            host = each.first.record.host
            sys.stdout.write(f"Host {shown_text(host)}\n")
            headings = _COLUMNS.format("Since", "Time", "Change", "Size", "Modified", "Snapshots")
            sys.stdout.write(f"{headings}  What\n")
        sys.stdout.write(_line(each).rstrip() + "\n")


def _line(version: Version) -> str:
    found, record = version.found, version.first.record
    gone = found.change is Change.REMOVED
    line = _COLUMNS.format(
        record.id[:8],
        local_time(record.time),
        CHANGES[found.change],
        "" if gone else str(size_of(found.after)),
        "" if found.after is None else local_time(found.after.entry.mtime_ns),
        format_count(version.snapshots),
    )
    return f"{line}  {shown_fields(found)}"


def _as_json(version: Version) -> dict[str, object]:
    found, first, last = version.found, version.first.record, version.last.record
    return {
        "change": CHANGES[found.change],
        "fields": list(found.fields),
        "host": first.host,
        "first": {"id": first.id, "time": iso_time(first.time)},
        "last": {"id": last.id, "time": iso_time(last.time)},
        "snapshots": version.snapshots,
        "entry": None if found.after is None else entry_as_json(found.after),
    }
