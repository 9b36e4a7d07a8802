"""chunkstore repair"""

from __future__ import annotations

import os

import click

from chunkstore.errors import TargetError
from chunkstore.format import names
from chunkstore.operations.prune.sessions import session_ids
from chunkstore.operations.repair.exclude import exclude, excluded_content
from chunkstore.operations.repair.index import repair_index
from chunkstore.units import format_count

from .. import environment
from ..failures import DIFFERENT, DONE
from ..options import common_options, settings
from ..output import write_json
from ..progress_view import progress


@click.group()
@common_options
def command() -> None:
    """Mend the index, or give up what is damaged. Needs no private key.

    `chunkstore check` says what is wrong, and which of these helps.
    """


@command.command("index")
@click.option("--read-data", is_flag=True, help="Read every pack as a whole and leave out those that are damaged.")
@common_options
def index(read_data: bool) -> int:
    """Make the index anew from the packs, each of which carries a table of what is in it.

    For when index objects are lost or damaged. Run it while no prune is running. Exit code 4: some packs can not be read.
    """
    around = environment.surroundings()
    repository = environment.repository("prune", around)
    with progress() as view:
        done = repair_index(repository, around, view, whole=read_data)
    if settings().json:
        write_json(
            {"generation": done.generation, "packs": done.packs, "chunks": done.chunks, "unreadable": done.unreadable}
        )
    elif not settings().quiet:
        click.echo(f"New index: {format_count(done.packs)} packs, {format_count(done.chunks)} chunks.")
    return DIFFERENT if done.unreadable else DONE


@command.command("exclude")
@click.argument("objects", nargs=-1, required=True, metavar="OBJECT...")
@click.option(
    "--keep-in",
    default=".",
    type=click.Path(file_okay=False, exists=True),
    metavar="DIRECTORY",
    help="Where copies of the objects are kept. Default: this directory.",
)
@common_options
def exclude_objects(objects: tuple[str, ...], keep_in: str) -> int:
    """Give up damaged objects that a prune or forget would not go on without: names as `check` or the message has them.

    A copy of each is kept in a file. What can be read is never excluded.
    """
    around = environment.surroundings()
    repository = environment.repository("prune", around)
    kept = []
    with progress() as view:
        for name in objects:
            data = excluded_content(repository, name)
            path = _keep(keep_in, name, data)
            exclude(repository, name, around, view)
            kept.append({"object": name, "copy": path})
            if not settings().json and not settings().quiet:
                click.echo(f"{name} is given up; its bytes are in {path}")
    if settings().json:
        write_json({"excluded": kept})
    return DONE


def _keep(directory: str, name: str, data: bytes) -> str:
    """Write a copy, never over another file."""
    path = os.path.join(directory, name.replace("/", "-"))
    try:
        with open(path, "xb") as file:
            file.write(data)
    except FileExistsError as e:
        raise TargetError(f"{path} is there already. Move it away, or give another --keep-in DIRECTORY") from e
    return path


@command.command("sessions")
@common_options
def sessions() -> int:
    """Remove what dead snapshot runs have left, on a storage that can not create objects only where none is.

    Only for such storages, and only when no snapshot is being made anywhere: else a prune might delete what that snapshot
    relies on. On all others `chunkstore prune` ends dead runs by itself.
    """
    around = environment.surroundings()
    repository = environment.repository("prune", around)
    if repository.config.conditional_writes:
        raise click.UsageError("This storage needs no such help: `chunkstore prune` ends dead runs by itself.")
    found = session_ids(repository)
    for session in found:
        repository.storage.delete(names.session(session))
    if settings().json:
        write_json({"removed": list(found)})
    elif not settings().quiet:
        click.echo(f"Sessions removed: {len(found)}.")
    return DONE
