"""chunkstore snapshots"""

from __future__ import annotations

from collections.abc import Sequence

import click

from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.snapshot_choice import SnapshotFilter, matching
from chunkstore.operations.snapshot_groups import GROUP_KEYS, Group, grouped
from chunkstore.operations.statistics import Statistics
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_size

from ..environment import repository, surroundings
from ..options import common_options, settings
from ..output import iso_time, json_path, local_time, write_json, write_table
from ..progress_view import progress
from ..selecting import selection_options


def group_keys(context: click.Context, parameter: click.Parameter, value: str) -> frozenset[str]:
    """Callback for --group-by."""
    keys = frozenset(filter(None, value.split(",")))
    if keys - set(GROUP_KEYS):
        raise click.BadParameter(f"give one or more of {', '.join(GROUP_KEYS)}, with commas between them")
    return keys


@click.command()
@click.option(
    "--group-by", default="", callback=group_keys, metavar="KEY[,KEY...]", help="A table for each host, paths or tags."
)
@click.option("--latest", type=click.IntRange(1), metavar="N", help="Only the newest N, of each group.")
@selection_options
@common_options
def command(group_by: frozenset[str], latest: int | None, selection: SnapshotFilter) -> None:
    """List the snapshots, oldest first: all, or those that fit."""
    around = surroundings()
    opened = repository("read", around)
    with progress() as view:
        found = matching(opened, selection, view, around.workers)
    groups = grouped(found, group_by, latest)
    if settings().json:
        write_json(
            {
                "snapshots": [as_json(each) for group in groups for each in group.snapshots],
                "groups": [group_as_json(group) for group in groups] if group_by else [],
            }
        )
        return
    for number, group in enumerate(groups):
        if group_by:
            click.echo("\n" * bool(number) + heading(group))
        _write(group.snapshots)
    if not settings().quiet:
        click.echo(_summary(sum(len(group.snapshots) for group in groups), selection))


def _write(found: Sequence[Snapshot]) -> None:
    headings = ["ID", "Time", "Host", "Files", "Size", "Stored", "Paths", "Tags"]
    rows = [_row(each) for each in found]
    if any(each.description for each in found):
        headings.append("Description")
        rows = [[*row, shown_text(each.description)] for row, each in zip(rows, found, strict=True)]
    write_table(headings, rows, right=frozenset({3, 4, 5}))


def _row(snapshot: Snapshot) -> list[str]:
    record = snapshot.record
    counted = Statistics.from_record(record.statistics)
    marks = [mark for mark, so in (("(pinned)", snapshot.pinned), ("(partial)", record.partial)) if so]
    return [
        record.id[:8],
        local_time(record.time),
        shown_text(record.host),
        format_count(counted.files),
        format_size(counted.bytes),
        format_size(counted.bytes_stored),
        " ".join(display_path(root) for root in record.roots),
        " ".join([*map(shown_text, snapshot.tags), *marks]),
    ]


def heading(group: Group) -> str:
    """What the snapshots of a group have in common, for people; empty where nothing was asked about."""
    parts = []
    if group.host is not None:
        parts.append(f"Host {shown_text(group.host)}")
    if group.paths is not None:
        parts.append(f"Paths {' '.join(map(display_path, group.paths))}")
    if group.tags is not None:
        parts.append(f"Tags {' '.join(map(shown_text, group.tags)) or '-'}")
    return ", ".join(parts)


def _summary(count: int, selection: SnapshotFilter) -> str:
    if count:
        return f"{format_count(count)} snapshot{'s' * (count != 1)}"
    return "No snapshot fits." if selection else "No snapshots yet. Make one with `chunkstore snapshot PATH`."


def shown_text(text: str) -> str:
    """Text that somebody may have made up, for a terminal."""
    return display_path(text.encode("utf-8", "surrogateescape"))


def group_as_json(group: Group) -> dict[str, object]:
    """A group in the JSON of this and other commands, its snapshots by their ids."""
    return {
        "host": group.host,
        "paths": None if group.paths is None else [json_path(root) for root in group.paths],
        "tags": None if group.tags is None else list(group.tags),
        "snapshots": [each.record.id for each in group.snapshots],
    }


def as_json(snapshot: Snapshot) -> dict[str, object]:
    """A snapshot in the JSON of this and other commands: as it counts now."""
    record = snapshot.record
    return {
        "id": record.id,
        "time": iso_time(record.time),
        "host": record.host,
        "user": record.user,
        "paths": [json_path(root) for root in record.roots],
        "tags": list(snapshot.tags),
        "description": snapshot.description,
        "pinned": snapshot.pinned,
        "amended": None if snapshot.amended_at is None else iso_time(snapshot.amended_at),
        "partial": record.partial,
        "errors": record.errors,
        "statistics": record.statistics,
    }
