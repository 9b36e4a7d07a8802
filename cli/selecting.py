"""Options that choose snapshots: --time, --host, --tag, --path. How commands use them:

One snapshot to be read::

    @click.argument("snapshot", callback=snapshot_and_path, required=False, metavar="SNAPSHOT[:PATH]")
    @selection_options
    @common_options
    def command(snapshot: Chosen, selection: SnapshotFilter, ...) -> int:
        with progress() as view, open_snapshot(snapshot, view, signed_by, selection) as opened:
            opened.snapshot.tags, opened.record, opened.manifest, opened.reader

`snapshot_and_path` gives `Chosen("", None)` where the argument is missing, and `Chosen("", path)` for `:/etc`;
`open_snapshot` reads both as `latest` when one of the options is given, and else refuses them as a usage error.

An argument behind it, as in `[SNAPSHOT[:PATH]] TARGET` (click fills from the left)::

    @click.argument("words", nargs=-1, required=True, metavar="[SNAPSHOT[:PATH]] TARGET")
    ...
        chosen, target = snapshot_and_target(words, selection)    # (Chosen, bytes)

Several snapshots with one reader (diff A B)::

        with open_snapshots([a, b], view, (), selection) as (first, second): ...

Many snapshots (find, history): `matching(repository, selection, view, workers)` of `operations.snapshot_choice`, oldest
first, each a `catalog.Snapshot` (`.record`, `.signed`, `.tags`, `.description`, `.pinned`); one of them by name:
`choose(repository, "latest~2", selection, view, workers)`. JSON of a `Snapshot`: `cli.commands.snapshots.as_json`.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ParamSpec, TypeVar

import click

from chunkstore.errors import InvalidArgument
from chunkstore.operations.snapshot_choice import SnapshotFilter, is_snapshot_name
from chunkstore.operations.tagging import check_tag
from chunkstore.times import parse_time
from chunkstore.tree.roots import normalise_roots

from .arguments import Chosen, parse_chosen

_HINT = ": where a folder looks like the name of a snapshot, write ./ before it."

P = ParamSpec("P")
R = TypeVar("R")


def selection_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add --time, --host, --tag and --path; the command gets `selection: SnapshotFilter`."""

    @click.option(
        "--time", "not_after", callback=_time, metavar="TIME", help="The newest not later than TIME: 3D, 2026-07-27."
    )
    @click.option(
        "--host", "hosts", multiple=True, metavar="NAME", help="Only of this machine. Give it again for more."
    )
    @click.option(
        "--tag",
        "tags",
        multiple=True,
        callback=tag_sets,
        metavar="TAG[,TAG...]",
        help="Only with all these tags. Give it again for others.",
    )
    @click.option(
        "--path", "roots", multiple=True, callback=_roots, metavar="PATH", help="Only snapshots of this path."
    )
    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        said = {name: kwargs.pop(name) for name in ("hosts", "tags", "roots", "not_after")}
        kwargs["selection"] = SnapshotFilter(**said)  # type: ignore[arg-type]
        return function(*args, **kwargs)

    return wrapped


def snapshot_and_target(words: Sequence[str | bytes], selection: SnapshotFilter) -> tuple[Chosen, bytes]:
    """`[SNAPSHOT[:PATH]] TARGET`: SNAPSHOT may be left out where options choose one."""
    texts = [os.fsdecode(word) for word in words]
    if len(texts) == 1:
        if not selection or texts[0].startswith(":/") or is_snapshot_name(texts[0].partition(":")[0]):
            raise click.UsageError(f"Missing argument 'TARGET'{_HINT if selection else '.'}")
        return Chosen("", None), os.fsencode(texts[0])
    if len(texts) > 2:
        raise click.UsageError(f"Got unexpected extra argument ({texts[2]})")
    return parse_chosen(texts[0]), os.fsencode(texts[1])


def _time(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_time(value, time.time_ns(), datetime.astimezone)
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e


def tag_sets(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> tuple[frozenset[str], ...]:
    """Callback for a repeatable option `TAG[,TAG...]`."""
    try:
        return tuple(frozenset(map(check_tag, each.split(","))) for each in value)
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e


def _roots(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> tuple[bytes, ...]:
    try:
        return tuple(normalise_roots([os.fsencode(each)], os.getcwdb())[0] for each in value)
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e
