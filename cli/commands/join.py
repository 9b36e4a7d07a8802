"""chunkstore join"""

from __future__ import annotations

import re

import click

from chunkstore.ids import RepositoryId, fingerprint_text
from chunkstore.operations.init import join

from ..environment import interactive, storage, surroundings, unseal
from ..options import common_options, settings
from ..output import write_json


@click.command()
@click.option("--fingerprint", metavar="HEX", help="The repository fingerprint that `init` showed.")
@common_options
def command(fingerprint: str | None) -> None:
    """Make this machine a client of an existing repository.

    Needs the GPG private key once, to fetch the index key. The storage is not believed: compare the fingerprint.
    """
    expected = _parse(fingerprint) if fingerprint is not None else None
    repository = join(storage(), expected, _ask, unseal, surroundings())
    if settings().json:
        write_json({"repository": repository.storage.location, "fingerprint": repository.key.repository_id.hex()})
        return
    if settings().quiet:
        return
    click.echo(f"This machine is a client of {repository.storage.location} now.")
    click.echo("It can make snapshots without the private key. Its index is fetched at the first snapshot.")


def _parse(text: str) -> RepositoryId:
    digits = re.sub(r"[\s:]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise click.UsageError("--fingerprint takes the 64 hex digits that `init` showed, with or without spaces")
    return RepositoryId(bytes.fromhex(digits))


def _ask(repository_id: RepositoryId) -> bool:
    if not interactive():
        raise click.UsageError("without a terminal give the repository fingerprint with --fingerprint HEX")
    click.echo(f"The repository there has the fingerprint\n  {fingerprint_text(repository_id)}", err=True)
    return click.confirm("Is this the one that `init` showed?", err=True)
