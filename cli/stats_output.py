"""What `stats` found, as tables with bars and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from chunkstore.operations.statistics import Statistics
from chunkstore.operations.stats.values import Amount, GroupShare, SnapshotShare, Stats
from chunkstore.units import format_count, format_size

from .commands.snapshots import heading, shown_text
from .output import iso_time, json_path, local_time, write_table

_BAR = 24


def write_stats(found: Stats, each: bool) -> None:
    """For people: totals, where the bytes are, groups, and with `each` the snapshots."""
    _write_totals(found)
    _write_bytes(found)
    if found.groups:
        click.echo()
        _write_groups(found.groups)
    if each and found.shares:
        click.echo()
        _write_snapshots(found.shares)
    if found.selected is not None:
        click.echo(f"\nNeeded by no other snapshot than these: {_said(found.selected)}")
    if not found.complete:
        click.echo("\nIncomplete: something could not be read, so that numbers of chunks are wrong. `chunkstore check`")


def _write_totals(found: Stats) -> None:
    partial = f", {format_count(found.partial)} partial" if found.partial else ""
    rows = [
        ("Snapshots", format_count(found.snapshots), f"of {format_count(found.hosts)} hosts{partial}"),
        ("Files in all of them", format_size(found.size), f"{format_count(found.files)} files"),
        ("Content, deduplicated", format_size(found.content.raw), f"{format_count(found.content.chunks)} chunks"),
        ("Content, stored", format_size(found.content.stored), ""),
        ("Manifests, stored", format_size(found.trees.stored), f"{format_count(found.trees.chunks)} chunks"),
        ("Deduplication", _ratio(found.deduplication, found.size), ""),
        ("Compression", _ratio(found.compression, found.content.raw), ""),
        ("Both", _ratio(found.deduplication * found.compression, found.size), ""),
    ]
    if found.copies:
        rows.append(("Stored more than once", format_size(found.copies_raw), f"{format_count(found.copies)} chunks"))
    width = max(len(row[0]) for row in rows)
    for name, value, remark in rows:
        click.echo(f"{name.ljust(width)}  {value.rjust(12)}  {remark}".rstrip())


def _ratio(ratio: float, of: int) -> str:
    return f"{ratio:.2f}x" if of else "-"


def _write_bytes(found: Stats) -> None:
    """Two charts: what the packs hold, and all objects by kind."""
    packs = found.packs
    parts = [
        ("in use", packs.in_use),
        ("dead, in frames in use", packs.holes),
        ("unused, a prune could free", packs.unused),
        ("headers, tables, padding", packs.around),
    ]
    click.echo()
    write_table(
        ["In packs", "Bytes", ""],
        [[name, format_size(size), _bar(size, packs.total)] for name, size in parts],
        right=frozenset({1}),
    )
    click.echo()
    rows = [
        [each.kind, format_count(each.count), format_size(each.size), _bar(each.size, found.stored)]
        for each in found.objects
        if each.count
    ]
    rows.append(["all", format_count(sum(each.count for each in found.objects)), format_size(found.stored), ""])
    write_table(["Objects", "Number", "Bytes", ""], rows, right=frozenset({1, 2}))


def _bar(size: int, of: int) -> str:
    """A part of a whole; what is there at all is seen."""
    return "#" * max(round(_BAR * size / of), 1) if size > 0 and of else ""


def _write_groups(groups: Sequence[GroupShare]) -> None:
    largest = max(each.unique.stored for each in groups)
    rows = []
    for each in groups:
        counted = [Statistics.from_record(one.record.statistics) for one in each.group.snapshots]
        rows.append(
            [
                heading(each.group) or "all",
                format_count(len(counted)),
                format_size(sum(one.bytes for one in counted)),
                format_size(sum(one.bytes_stored for one in counted)),
                *_unique(each.unique, largest),
            ]
        )
    headings = ["Group", "Snapshots", "Size", "New at the time", "Unique", "stored", ""]
    write_table(headings, rows, right=frozenset({1, 2, 3, 4, 5}))


def _write_snapshots(shares: Sequence[SnapshotShare]) -> None:
    largest = max(each.unique.stored for each in shares)
    rows = []
    for each in shares:
        record = each.snapshot.record
        counted = Statistics.from_record(record.statistics)
        rows.append(
            [
                record.id[:8],
                local_time(record.time),
                shown_text(record.host),
                format_count(counted.files),
                format_size(counted.bytes),
                format_size(counted.bytes_stored),
                *_unique(each.unique, largest),
            ]
        )
    headings = ["ID", "Time", "Host", "Files", "Size", "New at the time", "Unique", "stored", ""]
    write_table(headings, rows, right=frozenset({3, 4, 5, 6, 7}))


def _unique(unique: Amount, largest: int) -> list[str]:
    return [format_size(unique.raw), format_size(unique.stored), _bar(unique.stored, largest)]


def _said(amount: Amount) -> str:
    chunks = f"{format_count(amount.chunks)} chunk{'s' * (amount.chunks != 1)}"
    return f"{chunks}, {format_size(amount.raw)} raw, {format_size(amount.stored)} stored"


def as_json(found: Stats, location: str, each: bool) -> dict[str, object]:
    """For machines; the list of snapshots is empty without `each`."""
    return {
        "repository": location,
        "complete": found.complete,
        "problems": list(found.problems),
        "totals": {
            "snapshots": found.snapshots,
            "partial": found.partial,
            "hosts": found.hosts,
            "files": found.files,
            "bytes": found.size,
            "content": asdict(found.content),
            "trees": asdict(found.trees),
            "copies": found.copies,
            "copies_raw": found.copies_raw,
            "deduplication": round(found.deduplication, 4),
            "compression": round(found.compression, 4),
            "stored": found.stored,
        },
        "packs": {**asdict(found.packs), "total": found.packs.total},
        "objects": {one.kind.replace(" ", "_"): {"count": one.count, "bytes": one.size} for one in found.objects},
        "groups": [_group_as_json(one) for one in found.groups],
        "snapshots": [_snapshot_as_json(one) for one in found.shares] if each else [],
        "selected": None if found.selected is None else asdict(found.selected),
    }


def _group_as_json(share: GroupShare) -> dict[str, object]:
    group = share.group
    counted = [Statistics.from_record(each.record.statistics) for each in group.snapshots]
    return {
        "host": group.host,
        "paths": None if group.paths is None else [json_path(root) for root in group.paths],
        "tags": None if group.tags is None else list(group.tags),
        "snapshots": len(counted),
        "files": sum(each.files for each in counted),
        "bytes": sum(each.bytes for each in counted),
        "bytes_new": sum(each.bytes_new for each in counted),
        "bytes_stored": sum(each.bytes_stored for each in counted),
        "unique": asdict(share.unique),
    }


def _snapshot_as_json(share: SnapshotShare) -> dict[str, object]:
    record = share.snapshot.record
    counted = Statistics.from_record(record.statistics)
    return {
        "id": record.id,
        "time": iso_time(record.time),
        "host": record.host,
        "paths": [json_path(root) for root in record.roots],
        "tags": list(share.snapshot.tags),
        "files": counted.files,
        "bytes": counted.bytes,
        "bytes_new": counted.bytes_new,
        "bytes_stored": counted.bytes_stored,
        "chunks_new": counted.chunks_new,
        "unique": asdict(share.unique),
    }
