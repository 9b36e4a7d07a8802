"""chunkstore diff"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import click

from chunkstore.operations.comparing import Change, Difference
from chunkstore.operations.difference import Part, Takes, Totals, difference, everything
from chunkstore.operations.live_difference import LiveDifference, Place
from chunkstore.operations.snapshot_choice import SnapshotFilter
from chunkstore.tree.choosing import Choosing
from chunkstore.tree.patterns import Rules
from chunkstore.tree.roots import normalise_roots
from chunkstore.units import format_count, format_size

from .. import environment
from ..arguments import Chosen, parse_chosen, snapshot_and_path
from ..changes import change_as_json, change_line, sizes
from ..choosing_options import choosing_options
from ..failures import DIFFERENT, DONE, INCOMPLETE
from ..opened import OpenSnapshot, open_snapshots
from ..options import common_options, settings
from ..output import JsonList
from ..own_files import Inodes, own_files
from ..progress_view import Warnings, progress
from ..selecting import selection_options
from .snapshots import as_json

_A_PLACE = ("/", "./", "../")


@dataclass(frozen=True, slots=True)
class _How:
    """How the result is shown."""

    verbose: bool
    metadata: bool


@click.command()
@click.argument("before", callback=snapshot_and_path, required=False, metavar="[SNAPSHOT[:PATH]]")
@click.argument("after", required=False, metavar="[SNAPSHOT[:PATH] | FOLDER]")
@click.option("-v", "--verbose", is_flag=True, help="Say which metadata changed, and sizes.")
@click.option("--no-metadata", is_flag=True, help="Leave out paths of which nothing but metadata changed.")
@click.option("--exit-code", is_flag=True, help="Exit code 4 if there are differences.")
@choosing_options
@selection_options
@common_options
def command(
    before: Chosen,
    after: str | None,
    verbose: bool,
    no_metadata: bool,
    exit_code: bool,
    choosing: Choosing,
    selection: SnapshotFilter,
) -> int:
    """Show what differs between two snapshots, or between a snapshot and the files on disk.

    Lines begin with + added, - removed, M content changed, U metadata changed, T another kind of file. Exit code 3: some
    files could not be read. Needs the GPG private key.
    """
    other, folder = _other(after, choosing)
    chosen = [before] if other is None else [before, other]
    totals, how = Totals(), _How(verbose, not no_metadata)
    with progress() as view, open_snapshots(chosen, view, (), selection) as opened:
        first, *second = opened
        if second and other:
            takes = Rules(choosing.rules).takes if choosing.rules else everything
            problems: Sequence[str] = ()
            found = _between(first, before, second[0], other, takes)
            view.clear()
        else:
            live = _live(first, before.path, folder, choosing, view)
            problems, found = live.problems, iter(live)
        _write(_counted(found, how, totals), opened, totals, problems, how, view)
    if problems:
        return INCOMPLETE
    return DIFFERENT if exit_code and totals.any else DONE


def _other(after: str | None, choosing: Choosing) -> tuple[Chosen | None, bytes | None]:
    """(the second snapshot, the folder that is compared); neither where files are compared where they were."""
    if after is None:
        return None, None
    if after in (".", "..") or after.startswith(_A_PLACE):
        return None, normalise_roots([os.fsencode(after)], os.getcwdb())[0]
    if replace(choosing, rules=()) != Choosing():
        raise click.UsageError(
            "Two snapshots are compared by --exclude and --include alone: files on disk are not looked at."
        )
    return parse_chosen(after), None


def _between(one: OpenSnapshot, mine: Chosen, other: OpenSnapshot, its: Chosen, takes: Takes) -> Iterator[Difference]:
    return difference(Part(one.manifest, mine.path), Part(other.manifest, its.path), takes)


def _live(
    opened: OpenSnapshot, path: bytes | None, folder: bytes | None, choosing: Choosing, view: Warnings
) -> LiveDifference:
    """Without a folder the files are where they were. A folder stands for the path, or for the root of the snapshot."""
    roots = opened.record.roots
    choosing = replace(choosing, leave_out=_own(opened))
    if folder is not None:
        path = path if path is not None else roots[0] if len(roots) == 1 else b"/"
        place = Place((folder,), folder, choosing)
    else:
        place = Place(roots if path is None else (path,), path, choosing)
    return LiveDifference(opened.reader, Part(opened.manifest, path), opened.record.time, place, view)


def _own(opened: OpenSnapshot) -> Inodes:
    """State, cache and a local repository: never part of a snapshot."""
    return own_files(opened.reader.repository, environment.surroundings())


# -- showing


def _counted(found: Iterator[Difference], how: _How, totals: Totals) -> Iterator[Difference]:
    for each in found:
        if how.metadata or each.change is not Change.METADATA:
            totals.count(each)
            yield each


def _write(
    found: Iterator[Difference],
    opened: Sequence[OpenSnapshot],
    totals: Totals,
    problems: Sequence[str],
    how: _How,
    view: Warnings,
) -> None:
    if settings().json:
        written = JsonList("differences")
        for each in found:
            written.add(change_as_json(each))
        before, after = [as_json(each.snapshot) for each in opened], None
        if len(before) == 2:
            after = before.pop()
        written.end({"before": before[0], "after": after, "totals": asdict(totals), "problems": list(problems)})
        return
    for each in found:
        view.result(change_line(each, verbose=how.verbose))
    view.clear()
    if not settings().quiet:
        for line in _summary(totals):
            view.result(line)


def _summary(totals: Totals) -> Iterator[str]:
    if not totals.any:
        yield "No differences."
        return
    changed = sizes(totals.bytes_changed_before, totals.bytes_changed_after)
    rows = (
        ("Added", totals.added, format_size(totals.bytes_added)),
        ("Removed", totals.removed, format_size(totals.bytes_removed)),
        ("Content changed", totals.content, changed),
        ("Metadata changed", totals.metadata, ""),
        ("Another kind", totals.kind, ""),
    )
    yield ""
    for name, count, size in rows:
        if count:
            yield f"{name:<16}  {format_count(count):>9}  {size}".rstrip()
