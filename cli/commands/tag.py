"""chunkstore tag"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import click

from chunkstore.operations.catalog import Snapshot, snapshots
from chunkstore.operations.snapshot_choice import LATEST, SnapshotFilter, all_that_fit, pick
from chunkstore.operations.tagging import Change, amend

from ..environment import repository, surroundings
from ..options import common_options, settings
from ..output import write_json
from ..progress_view import progress
from ..selecting import selection_options
from .snapshots import as_json, shown_text


@click.command()
@click.argument("which", nargs=-1, metavar="SNAPSHOT...")
@click.option("--all", "everything", is_flag=True, help="All snapshots, or all that fit the options below.")
@click.option("--add", multiple=True, metavar="TAG", help="Add a tag. Give it again for more.")
@click.option("--remove", multiple=True, metavar="TAG", help="Take a tag away. Give it again for more.")
@click.option("--set", "exactly", multiple=True, metavar="TAG", help='Have these tags alone; "" for none.')
@click.option("--description", metavar="TEXT", help='Another remark for people; "" for none.')
@click.option("--pin/--unpin", default=None, help="Pin: never to be forgotten by a rule. Or undo that.")
@selection_options
@common_options
def command(
    which: tuple[str, ...],
    everything: bool,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    exactly: tuple[str, ...],
    description: str | None,
    pin: bool | None,
    selection: SnapshotFilter,
) -> None:
    """Change the tags, the description or the pin of snapshots. Needs no private key.

    The snapshot itself, and its signature, stay as they are: what changes is added beside it.
    """
    tags = tuple(tag for tag in exactly if tag) if exactly else None
    change = Change(add, remove, tags, description, pin)
    if not change:
        raise click.UsageError("What is to change? Give --add, --remove, --set, --description, --pin or --unpin.")
    meant = _meant(which, everything, selection)
    around = surroundings()
    opened = repository("write", around)
    with progress() as view:
        found = meant([*snapshots(opened, view, around.workers)])
    changed = []
    for each in found:
        now = amend(opened, each, change, around)
        if now is not None:
            changed.append(now)
        if not settings().json and not settings().quiet:
            click.echo(_said(each, now))
    if settings().json:
        write_json({"changed": [as_json(each) for each in changed], "unchanged": len(found) - len(changed)})


def _meant(
    which: Sequence[str], everything: bool, selection: SnapshotFilter
) -> Callable[[Collection[Snapshot]], list[Snapshot]]:
    """What picks the snapshots to be changed, each once."""
    if everything and which:
        raise click.UsageError("Give SNAPSHOT, or --all.")
    if not everything and not which and not selection:
        raise click.UsageError(
            "Which snapshot? Give latest or the first digits of an id, choose with --time, or --all."
        )

    def pick_all(among: Collection[Snapshot]) -> list[Snapshot]:
        if everything:
            return all_that_fit(among, selection)
        found = [pick(among, name, selection) for name in which or (LATEST,)]
        return list({each.record.id: each for each in found}.values())

    return pick_all


def _said(before: Snapshot, now: Snapshot | None) -> str:
    """What changed, in a line."""
    if now is None:
        return f"{before.record.id[:8]}  nothing to change"
    parts = [f"+{shown_text(tag)}" for tag in now.tags if tag not in before.tags]
    parts += [f"-{shown_text(tag)}" for tag in before.tags if tag not in now.tags]
    if now.pinned != before.pinned:
        parts.append("pinned" if now.pinned else "unpinned")
    if now.description != before.description:
        parts.append(f"description: {shown_text(now.description)}" if now.description else "no description")
    return f"{before.record.id[:8]}  {'  '.join(parts)}"
