"""chunkstore snapshots"""

from __future__ import annotations

import click

from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.opening import records
from chunkstore.operations.statistics import Statistics
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_size

from ..environment import repository, surroundings
from ..options import common_options, settings
from ..output import iso_time, json_path, local_time, write_json, write_table
from ..progress_view import progress


@click.command()
@common_options
def command() -> None:
    """List the snapshots, oldest first."""
    opened = repository("read", surroundings())
    with progress() as view:
        found = sorted((each.record for each in records(opened, view)), key=lambda record: (record.time, record.id))
    if settings().json:
        write_json({"snapshots": [as_json(record) for record in found]})
        return
    if not found:
        if not settings().quiet:
            click.echo("No snapshots yet. Make one with `chunkstore snapshot PATH`.")
        return
    write_table(
        ("ID", "Time", "Host", "Files", "Size", "Stored", "Paths", "Tags"),
        (_row(record) for record in found),
        right=frozenset({3, 4, 5}),
    )
    if not settings().quiet:
        click.echo(f"{format_count(len(found))} snapshots")


def _row(record: SnapshotRecord) -> tuple[str, ...]:
    counted = Statistics.from_record(record.statistics)
    return (
        record.id[:8],
        local_time(record.time),
        record.host,
        format_count(counted.files),
        format_size(counted.bytes),
        format_size(counted.bytes_stored),
        " ".join(display_path(root) for root in record.roots),
        " ".join([*record.tags, *(["partial"] if record.partial else [])]),
    )


def as_json(record: SnapshotRecord) -> dict[str, object]:
    """A snapshot in the JSON of this and other commands."""
    return {
        "id": record.id,
        "time": iso_time(record.time),
        "host": record.host,
        "user": record.user,
        "paths": [json_path(root) for root in record.roots],
        "tags": list(record.tags),
        "description": record.description,
        "partial": record.partial,
        "errors": record.errors,
        "statistics": record.statistics,
    }
