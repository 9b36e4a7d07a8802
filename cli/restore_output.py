"""What `restore` writes: the paths it is asked to name, and the sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import click

from chunkstore.operations.restore.values import Action, Restored, Step
from chunkstore.operations.tar_export import Exported
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_size

from .options import settings
from .output import JsonList, json_path, write_json
from .progress_view import Warnings
from .tar_output import STANDARD_OUTPUT

_ALWAYS = frozenset({Action.CREATE, Action.UPDATE, Action.ATTRIBUTES, Action.KEEP, Action.SKIP, Action.DELETE})
_MISSING_DEVICES = "device nodes"


class RestoreOutput:
    """Names paths while the run goes on, where that is asked for, and says in the end what was done."""

    def __init__(self, view: Warnings, target: bytes, dry_run: bool, verbose: bool) -> None:
        self._view = view
        self._target = target
        self._dry_run = dry_run
        self._named = frozenset(Action) if verbose else _ALWAYS if dry_run else frozenset()
        self._json = JsonList("paths") if settings().json else None

    @property
    def told(self) -> Callable[[Step], None] | None:
        """Who is to hear of each path."""
        return self._step if self._named and (self._json or not settings().quiet) else None

    def _step(self, step: Step) -> None:
        if step.action not in self._named:
            return
        if self._json:
            named = {"path": json_path(step.relative), "action": step.action.value, "fetched": step.fetched}
            self._json.add(named)
            return
        size = format_size(step.fetched) if step.fetched else ""
        self._view.result(
            f"{step.action.value:10}  {size:>10}  {display_path(step.relative) if step.relative else '.'}"
        )

    def end(self, done: Restored) -> None:
        """Say what was done."""
        self._view.clear()
        if self._json:
            self._json.end(_as_json(done, self._target, self._dry_run))
            return
        if not settings().quiet:
            _summary(done, self._dry_run)
        for attribute, count in sorted(done.not_set.items()):
            if attribute == _MISSING_DEVICES:
                click.echo(f"chunkstore: could not make {format_count(count)} devices", err=True)
            else:
                click.echo(f"chunkstore: could not set the {attribute} of {format_count(count)} entries", err=True)
        if done.problems:
            what = "can not" if self._dry_run else "could not"
            click.echo(f"chunkstore: {len(done.problems)} entries {what} be restored", err=True)


def archive_end(done: Exported, where: bytes) -> None:
    """Say what is in an archive. Where that is standard output, it is not the place to say so."""
    if settings().json:
        counts = {name: count for name, count in asdict(done).items() if name != "skipped_sockets"}
        write_json({"archive": json_path(where), **counts, "skipped": done.skipped_sockets})
    elif where != STANDARD_OUTPUT and not settings().quiet:
        click.echo(
            f"Archived {format_count(done.files)} files ({format_size(done.bytes)}), "
            f"{format_count(done.directories)} directories, {format_count(done.links)} links."
        )
    if done.problems:
        click.echo(f"chunkstore: {format_count(done.problems)} entries could not be archived as they were", err=True)


def _summary(done: Restored, dry_run: bool) -> None:
    what = "Would restore" if dry_run else "Restored"
    click.echo(
        f"{what} {format_count(done.files)} files ({format_size(done.bytes)}), "
        f"{format_count(done.directories)} directories, {format_count(done.links)} links."
    )
    lines = [
        ("Changed in place", done.updated),
        ("Unchanged", done.unchanged),
        ("Kept as they were", done.kept),
        ("Hard links", done.hard_links),
        ("Pipes and devices", done.specials),
        ("Not restored: devices or sockets", done.skipped),
        ("Would be deleted" if dry_run else "Deleted", done.deleted),
        ("Read again and found whole", done.verified),
    ]
    for name, count in lines:
        if count:
            click.echo(f"{name}: {format_count(count)}.")
    if dry_run:
        click.echo("Nothing was changed.")


def _as_json(done: Restored, target: bytes, dry_run: bool) -> dict[str, object]:
    return {
        "target": json_path(target),
        "dry_run": dry_run,
        "files": done.files,
        "updated": done.updated,
        "unchanged": done.unchanged,
        "kept": done.kept,
        "directories": done.directories,
        "links": done.links,
        "hard_links": done.hard_links,
        "specials": done.specials,
        "skipped": done.skipped,
        "deleted": done.deleted,
        "verified": done.verified,
        "bytes": done.bytes,
        "fetched": done.fetched,
        "not_set": dict(done.not_set),
        "problems": done.problems,
    }
