"""Results on stdout: JSON for machines, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from chunkstore.operations.statistics import Statistics
from chunkstore.units import format_count, format_duration, format_rate, format_size

SCHEMA = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line, with the version of its schema."""
    sys.stdout.write(_dumps({"version": SCHEMA, **value}) + "\n")


def write_json_list(value: Mapping[str, Any], name: str, items: Iterable[Mapping[str, Any]]) -> None:
    """As `write_json`, with a list as the last field, whose items are written as they come.

    An error of the first item comes before anything is written; one of a later item leaves the object cut short.
    """
    coming = map(_dumps, items)
    first = next(coming, "")
    sys.stdout.write(f'{_dumps({"version": SCHEMA, **value})[:-1]}, "{name}": [{first}')
    sys.stdout.writelines(f", {each}" for each in coming)
    sys.stdout.write("]}\n")


class JsonList:
    """As `write_json`, with a list as the first field, whose items are written when they are found.

    Nothing is written before the first item, or the end.
    """

    def __init__(self, name: str) -> None:
        self._next = f'{_dumps({"version": SCHEMA})[:-1]}, "{name}": ['

    def add(self, item: str | Mapping[str, Any]) -> None:
        """Write one item."""
        sys.stdout.write(self._next + _dumps(item))
        self._next = ", "

    def end(self, value: Mapping[str, Any]) -> None:
        """Write the other fields; there must be some."""
        begun = "" if self._next == ", " else self._next
        sys.stdout.write(f"{begun}], {_dumps(value)[1:]}\n")


def _dumps(value: str | Mapping[str, Any]) -> str:
    """JSON in ASCII: lone surrogates are escaped, so it can be written and read everywhere."""
    return json.dumps(value, default=str)


def json_path(path: bytes) -> str:
    """A path for JSON, exactly: a byte that is no UTF-8 becomes a lone surrogate, as `os.fsdecode` has it."""
    return path.decode("utf-8", "surrogateescape")


def iso_time(time_ns: int) -> str:
    """A time in UTC, to the second, as ISO 8601; `@` and the seconds since 1970 for one that no calendar has."""
    seconds = time_ns // 10**9
    try:
        return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat() + "Z"
    except OverflowError:
        return f"@{seconds}"


def local_time(time_ns: int) -> str:
    """A time for people, in the zone of this machine; `@` and the seconds since 1970 for one that no calendar has."""
    seconds = time_ns // 10**9
    try:
        return (_EPOCH + timedelta(seconds=seconds)).astimezone().replace(tzinfo=None).isoformat(" ")
    except (OverflowError, ValueError, OSError):
        return f"@{seconds}"


def write_table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset()) -> None:
    """Columns as wide as what is in them; columns in `right` are set to the right."""
    lines = [list(headings), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    for number, line in enumerate(lines):
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
        if number == 0:
            sys.stdout.write("-" * (sum(widths) + 2 * (len(widths) - 1)) + "\n")


def write_statistics(counted: Statistics) -> None:
    """The summary at the end of a snapshot."""
    seconds = counted.duration_ns / 1e9
    rows = [
        ("Files", format_count(counted.files), format_size(counted.bytes)),
        ("  new", format_count(counted.files_new), ""),
        ("  changed", format_count(counted.files_changed), ""),
        ("  unchanged", format_count(counted.files_unchanged), ""),
        ("  deleted", format_count(counted.files_deleted), ""),
        ("Directories", format_count(counted.directories), ""),
        ("Links", format_count(counted.links), ""),
        ("Read", "", format_size(counted.bytes_read)),
        ("New after deduplication", "", format_size(counted.bytes_new)),
        ("Stored, compressed and encrypted", "", format_size(counted.bytes_stored)),
        ("Deduplication", _ratio(counted.deduplication, counted.bytes_read), ""),
        ("Compression", _ratio(counted.compression, counted.bytes_new), ""),
        ("Packs", format_count(counted.packs), ""),
        ("Time", format_duration(seconds), format_rate(counted.rate)),
        ("Errors", format_count(counted.errors), ""),
    ]
    if counted.vanished:
        rows.append(("Vanished meanwhile", format_count(counted.vanished), ""))
    if counted.changed_while_read:
        rows.append(("Changed while being read", format_count(counted.changed_while_read), ""))
    if counted.specials:
        rows.append(("Other (devices, pipes, sockets)", format_count(counted.specials), ""))
    width = max(len(row[0]) for row in rows)
    for name, number, size in rows:
        sys.stdout.write(f"{name.ljust(width)}  {number.rjust(10)}  {size.rjust(12)}".rstrip() + "\n")


def _ratio(ratio: float, of: int) -> str:
    """A ratio for people; there is none of nothing, and above 1,000 its digits say nothing."""
    if not of:
        return "-"
    return f"{ratio:.2f}x" if ratio < 1000 else "> 1,000x"
