"""chunkstore find"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

import click

from chunkstore.errors import InvalidArgument
from chunkstore.format.entries import BLOCK_DEVICE, CHARACTER_DEVICE, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK
from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.finding import Found, Wanted, find_all, find_versions, span_of
from chunkstore.operations.snapshot_choice import SnapshotFilter
from chunkstore.times import parse_time
from chunkstore.tree.display import display_path
from chunkstore.tree.patterns import Rules, command_rule
from chunkstore.units import format_count, parse_size

from ..entries import entry_as_json, long_line
from ..failures import DONE, FAILED
from ..many import Searched, search
from ..options import common_options, settings
from ..output import JsonList, iso_time, local_time
from ..progress_view import progress
from ..selecting import selection_options
from .snapshots import shown_text

_TYPES = {
    "f": FILE,
    "d": DIRECTORY,
    "l": SYMLINK,
    "p": FIFO,
    "s": SOCKET,
    "c": CHARACTER_DEVICE,
    "b": BLOCK_DEVICE,
}

T = TypeVar("T")


def _parsed(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    def callback(context: click.Context, parameter: click.Parameter, value: str | None) -> T | None:
        if value is None:
            return None
        try:
            return parse(value)
        except InvalidArgument as e:
            raise click.BadParameter(str(e)) from e

    return callback


_time = _parsed(lambda text: parse_time(text, time.time_ns(), datetime.astimezone))
_size = _parsed(parse_size)


def _types(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> frozenset[int] | None:
    letters = [letter for each in value for letter in each.split(",")]
    if set(letters) - set(_TYPES):
        raise click.BadParameter(f"give one or more of {', '.join(_TYPES)}")
    return frozenset(_TYPES[letter] for letter in letters) or None


@click.command()
@click.argument("patterns", nargs=-1, required=True, type=click.Path(path_type=bytes), metavar="PATTERN...")
@click.option("-i", "--ignore-case", is_flag=True, help="Upper and lower case are the same.")
@click.option(
    "-t",
    "--type",
    "kinds",
    multiple=True,
    callback=_types,
    metavar="LETTER",
    help="f, d, l, p, s, c or b, as for find.",
)
@click.option("--newer", callback=_time, metavar="TIME", help="Modified after TIME: 3D, 2026-07-27.")
@click.option("--older", callback=_time, metavar="TIME", help="Modified not later than TIME.")
@click.option("--larger", callback=_size, metavar="SIZE", help="Files of more than SIZE: 10M, 1.5GiB.")
@click.option("--smaller", callback=_size, metavar="SIZE", help="Files of less than SIZE.")
@click.option("-s", "--snapshot", "which", multiple=True, metavar="SNAPSHOT", help="Only in this one. Repeat for more.")
@click.option(
    "-a", "--all", "repeat", is_flag=True, help="In every snapshot, also what is the same in the next newer one."
)
@click.option("-H", "--human", is_flag=True, help="Sizes as 1.2 MiB.")
@selection_options
@common_options
def command(
    patterns: tuple[bytes, ...],
    ignore_case: bool,
    kinds: frozenset[int] | None,
    newer: int | None,
    older: int | None,
    larger: int | None,
    smaller: int | None,
    which: tuple[str, ...],
    repeat: bool,
    human: bool,
    selection: SnapshotFilter,
) -> int:
    """Find files in all snapshots, newest first, by gitignore-like patterns. Needs the GPG private key.

    A name matches at any depth; a pattern that begins with a slash is a path. Each version of a file is shown once, in
    the newest snapshot that has it.
    """
    rules = [command_rule(each, True, os.getcwdb(), ignore_case=ignore_case, source="PATTERN") for each in patterns]
    wanted = Wanted(Rules(rules), span_of(rules), kinds, newer, older, larger, smaller)
    with progress() as view, search(which, selection, view) as searched:
        look = find_all if repeat else find_versions
        found = look(reversed(searched.snapshots), searched.manifest, wanted, searched.on_damage)
        if settings().json:
            matches = JsonList("matches")
            for each in found:
                matches.add(_as_json(each))
            matches.end({"searched": len(searched.snapshots), "problems": searched.damaged})
        else:
            view.clear()
            _write(found, searched, human)
    return FAILED if searched.damaged else DONE


def _write(found: Iterator[Found], searched: Searched, human: bool) -> None:
    last: Snapshot | None = None
    snapshots = count = 0
    for each in found:
        if each.snapshot is not last:
            sys.stdout.write("\n" * bool(snapshots) + _heading(each.snapshot) + "\n")
            last = each.snapshot
            snapshots += 1
        sys.stdout.write(long_line(each.found, human=human) + "\n")
        count += 1
    if not settings().quiet:
        sys.stdout.write("\n" * bool(snapshots) + _summary(count, snapshots, len(searched.snapshots)) + "\n")


def _heading(snapshot: Snapshot) -> str:
    record = snapshot.record
    roots = " ".join(map(display_path, record.roots))
    return f"Snapshot {record.id[:8]} of {local_time(record.time)}, {shown_text(record.host)}: {roots}"


def _summary(count: int, snapshots: int, searched: int) -> str:
    among = f"{format_count(searched)} snapshot{'s' * (searched != 1)}"
    if not count:
        return f"Nothing found in {among}."
    return f"{format_count(count)} found in {format_count(snapshots)} of {among}."


def _as_json(found: Found) -> dict[str, object]:
    record = found.snapshot.record
    about = {"snapshot": record.id, "time": iso_time(record.time), "host": record.host}
    return {**about, **entry_as_json(found.found)}
