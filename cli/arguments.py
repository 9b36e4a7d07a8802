"""Arguments that several commands take."""

from __future__ import annotations

import os
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Chosen:
    """A snapshot as a user names it, and an absolute path in it or None."""

    snapshot: str
    path: bytes | None


def snapshot_and_path(context: click.Context, parameter: click.Parameter, value: str) -> Chosen:
    """Callback for an argument `SNAPSHOT` or `SNAPSHOT:PATH`."""
    snapshot, colon, path = value.partition(":")
    if not colon:
        return Chosen(snapshot, None)
    raw = os.fsencode(path)
    if not raw.startswith(b"/"):
        raise click.BadParameter(
            f"the path after the colon must be absolute, as it was on the machine: {snapshot}:/..."
        )
    return Chosen(snapshot, b"/" + os.path.normpath(raw).lstrip(b"/"))


signed_by = click.option(
    "--signed-by",
    multiple=True,
    metavar="KEY",
    help="Refuse a snapshot that none of these GPG keys signed. Give it again for more keys.",
)
