"""chunkstore init"""

from __future__ import annotations

import os
import shlex
import tempfile

import click

from chunkstore.chunking import make_chunker, parse_chunker
from chunkstore.format.config import DEFAULT_PACK_SIZE, RecipientEntry
from chunkstore.ids import fingerprint_text
from chunkstore.keys import gpg
from chunkstore.operations.init import InitOptions, init, require_vacant
from chunkstore.repository.repository import Repository
from chunkstore.units import parse_size

from ..environment import interactive, keyring, storage, surroundings
from ..failures import say
from ..options import common_options, settings
from ..output import write_json
from ..storage_options import said_of_the_place

_WEAK = (
    "this storage ignores conditions on writes (If-None-Match), so nothing keeps two writers from replacing each "
    "other's objects. Snapshots are safe, for each has a name of its own. Not guaranteed: that of two `chunkstore init` "
    "at the same time one is refused, and that a run which died can be shut out; so `prune` will refuse while the "
    "session of any run exists"
)
_KEEP_IT = """
KEEP THE PRIVATE KEY SAFE. Without it nobody, you included, can ever restore anything; with it anybody can.
  1. Export it:       gpg --export-secret-keys --armor {fingerprint} > private-key.asc
  2. Keep two copies away from this machine: printed, on a USB stick in a drawer, in a password manager.
  3. Try a restore with such a copy before you rely on it.
  4. Take it off this machine, which makes snapshots without it:
                      gpg --delete-secret-keys {fingerprint}
"""


@click.command()
@click.option(
    "-e",
    "--encrypt-to",
    multiple=True,
    metavar="KEY",
    help="A GPG key that can read: e-mail, key id or fingerprint. Give it again for more keys.",
)
@click.option("--generate-key", metavar='"NAME <MAIL>"', help="Make a new GPG key first, and encrypt to it.")
@click.option(
    "--chunker",
    default="pyfastcdc",
    show_default=True,
    metavar="SPEC",
    help="How files are cut: pyfastcdc[:MIN,AVG,MAX], fastcdc[:MIN,AVG,MAX] or fixed:SIZE.",
)
@click.option("--pack-size", default=None, metavar="SIZE", help="Size of the stored objects. [default: 16 MiB]")
@common_options
def command(encrypt_to: tuple[str, ...], generate_key: str | None, chunker: str, pack_size: str | None) -> None:
    """Make a new repository, encrypted for GPG keys.

    This machine becomes its first client. It needs public keys only.
    """  # fmt: skip
    options = _options(chunker, pack_size)
    if not encrypt_to and not generate_key:
        raise click.UsageError(
            "For whom? Give a GPG key with --encrypt-to KEY (`gpg --list-keys` shows yours), "
            'or have one made with --generate-key "Your Name <you@example.org>".'
        )
    place, around, ring = storage(), surroundings(), keyring()
    require_vacant(place)  # before a key is made for nothing
    recipients = [ring.resolve_recipient(each) for each in encrypt_to]
    if generate_key:
        recipients.append(ring.generate_key(generate_key, interactive=interactive()))
    recipients = list({each.fingerprint: each for each in recipients}.values())
    with tempfile.TemporaryDirectory(prefix="chunkstore-") as scratch:
        repository = init(
            place,
            [RecipientEntry(r.fingerprint, r.encryption_subkey, r.user_id, r.public_key) for r in recipients],
            lambda plaintext: gpg.seal(plaintext, recipients, scratch=scratch),
            options,
            around,
        )
    _report(repository, recipients[-1].fingerprint if generate_key else None)


def _options(chunker: str, pack_size: str | None) -> InitOptions:
    size = parse_size(pack_size) if pack_size is not None else DEFAULT_PACK_SIZE
    if not 1 << 20 <= size <= 512 << 20:
        raise click.UsageError("--pack-size is from 1 MiB to 512 MiB")
    parameters = parse_chunker(chunker)
    make_chunker(parameters, seed=1)  # its library may be missing
    return InitOptions(parameters, pack_size=size)


def _report(repository: Repository, generated: str | None) -> None:
    said, config = settings(), repository.config
    if not config.conditional_writes:
        say(_WEAK)
    entries = repository.state.recipients.entries
    if said.json:
        write_json(
            {
                "repository": repository.storage.location,
                "fingerprint": config.repository_id.hex(),
                "recipients": [{"fingerprint": e.fingerprint, "user_id": e.user_id} for e in entries],
                "chunker": config.chunker,
                "conditional_writes": config.conditional_writes,
            }
        )
        return
    if said.quiet:
        return
    click.echo(f"New repository at {repository.storage.location}")
    click.echo(f"Fingerprint: {fingerprint_text(config.repository_id)}")
    click.echo("             (write it down: `chunkstore join` on another machine asks for it)")
    click.echo("It can be read with the private key of any of:")
    for entry in entries:
        click.echo(f"  {entry.fingerprint}  {entry.user_id}")
    if generated:
        click.echo(_KEEP_IT.format(fingerprint=generated), nl=False)
    click.echo(f"Next: chunkstore{_where(repository.storage.location)} snapshot PATH")


def _where(location: str) -> str:
    """The options without which the next command would not come to the same place."""
    said = settings()
    # As it was said: a name from ~/.ssh/config has more to it than the host behind it. A path holds everywhere.
    place = location if os.path.isabs(location) else said.repository
    words = ["-r", place] if said.repository and place else []
    return "".join(f" {shlex.quote(word)}" for word in [*words, *said_of_the_place(said.storage)])
