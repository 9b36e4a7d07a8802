"""Arguments that several commands take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import click

from chunkstore.errors import InvalidArgument
from chunkstore.operations.tagging import check_tag, check_text
from chunkstore.units import parse_age


@dataclass(frozen=True, slots=True)
class Chosen:
    """A snapshot as a user names it, empty where options are to choose it, and an absolute path in it or None."""

    snapshot: str
    path: bytes | None


def snapshot_and_path(context: click.Context, parameter: click.Parameter, value: str | None) -> Chosen:
    """Callback for an argument `SNAPSHOT`, `SNAPSHOT:PATH` or `:PATH`, which may be missing."""
    return parse_chosen(value or "")


def parse_chosen(text: str) -> Chosen:
    """What such an argument means."""
    snapshot, colon, path = text.partition(":")
    if not colon:
        return Chosen(snapshot, None)
    raw = os.fsencode(path)
    if not raw.startswith(b"/"):
        raise click.BadParameter(
            f"the path after the colon must be absolute, as it was on the machine: {snapshot}:/..."
        )
    return Chosen(snapshot, b"/" + os.path.normpath(raw).lstrip(b"/"))


def tags(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> tuple[str, ...]:
    """Callback for an option that gives tags, one at a time: each once."""
    try:
        return tuple(dict.fromkeys(map(check_tag, value)))
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e


def age(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """Callback for an option that gives an age, in seconds; `0` needs no unit."""
    try:
        return 0 if value == "0" else parse_age(value)
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e


def text(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Callback for an option whose text is stored."""
    try:
        return None if value is None else check_text(value)
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e


signed_by = click.option(
    "--signed-by",
    multiple=True,
    metavar="KEY",
    help="Refuse a snapshot that none of these GPG keys signed. Give it again for more keys.",
)
