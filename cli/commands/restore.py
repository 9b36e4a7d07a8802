"""chunkstore restore"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import click

from chunkstore.errors import Interrupted
from chunkstore.operations.restore.plan import plan
from chunkstore.operations.restore.restoring import restore
from chunkstore.operations.restore.values import Restored, RestoreOptions
from chunkstore.operations.selection import select
from chunkstore.operations.snapshot_choice import SnapshotFilter
from chunkstore.operations.statistics import Statistics
from chunkstore.operations.tar_export import write_tar
from chunkstore.tree.looking import LookedAt
from chunkstore.tree.patterns import Rule
from chunkstore.tree.problems import TargetFull, WriterEnded
from chunkstore.tree.target import Overwrite, Ownership, Target

from .. import environment
from ..arguments import Chosen, parse_chosen, signed_by
from ..failures import DONE, FAILED
from ..opened import OpenSnapshot, open_snapshot
from ..options import common_options, settings
from ..own_files import own_below
from ..pattern_options import pattern_options
from ..progress_view import Warnings, progress
from ..restore_output import RestoreOutput, archive_end
from ..selecting import selection_options, snapshot_and_target
from ..tar_output import STANDARD_OUTPUT, tar_output

_GOES_ON = "the same command with `--overwrite if-changed` goes on where this one ended"


@dataclass(frozen=True, slots=True)
class _How:
    """What the options say about writing."""

    overwrite: Overwrite
    ownership: Ownership | None
    delete: bool
    verify: bool
    dry_run: bool
    verbose: bool
    rules: tuple[Rule, ...]


@click.command()
@click.argument("words", nargs=-1, type=click.Path(path_type=bytes), metavar="[SNAPSHOT[:PATH]] TARGET")
@click.option(
    "--overwrite",
    type=click.Choice([each.value for each in Overwrite]),
    default="refuse",
    show_default=True,
    help="A TARGET that is not empty: refuse it; or compare and replace files always, or if size or time differ, or if "
    "the snapshot's are newer; or never touch them.",
)
@click.option("--delete", is_flag=True, help="Remove what the snapshot does not have from the folders restored.")
@pattern_options
@click.option("--no-owner", is_flag=True, help="Do not restore users and groups.")
@click.option("--numeric-owner", is_flag=True, help="Restore users and groups by number, not by name.")
@click.option("--verify", is_flag=True, help="Read again what was written and compare it.")
@click.option("-n", "--dry-run", is_flag=True, help="Change nothing; list what would be done.")
@click.option("-v", "--verbose", is_flag=True, help="List each path.")
@click.option("--to-tar", type=click.Path(path_type=bytes), metavar="FILE", help="Write a tar archive; - is stdout.")
@selection_options
@signed_by
@common_options
@click.pass_context
def command(
    context: click.Context,
    /,
    words: tuple[bytes, ...],
    to_tar: bytes | None,
    selection: SnapshotFilter,
    signed_by: tuple[str, ...],
    **said: Any,
) -> int:
    """Write a snapshot, or a part of it, to the folder TARGET.

    SNAPSHOT is `latest` or the first digits of an id, PATH an absolute path in it. Patterns are matched with the paths
    that files had. Needs the GPG private key.
    """  # fmt: skip
    if to_tar is not None:
        chosen = _chosen_for_tar(context, words, to_tar)
        with progress() as view, open_snapshot(chosen, view, signed_by, selection) as opened:
            return _to_tar(opened, chosen, said["rules"], to_tar, view)
    how = _how(**said)
    if not words:
        raise click.UsageError("Missing argument 'TARGET'.")
    chosen, target = snapshot_and_target(words, selection)
    target = os.path.abspath(target)
    with progress() as view, _may_go_on(how), open_snapshot(chosen, view, signed_by, selection) as opened:
        output = RestoreOutput(view, target, how.dry_run, how.verbose)
        with tempfile.TemporaryDirectory(prefix="chunkstore-") as scratch:
            done = _restore(opened, chosen, target, how, scratch, output, view)
        output.end(done)
    return FAILED if done.problems else DONE


def _how(
    overwrite: str,
    no_owner: bool,
    numeric_owner: bool,
    delete: bool,
    verify: bool,
    dry_run: bool,
    verbose: bool,
    rules: tuple[Rule, ...],
) -> _How:
    if no_owner and numeric_owner:
        raise click.UsageError("--no-owner and --numeric-owner exclude each other.")
    if delete and overwrite == Overwrite.REFUSE.value:
        raise click.UsageError("--delete is for a TARGET that is not empty: say with --overwrite what else happens.")
    if verify and dry_run:
        raise click.UsageError("--dry-run writes nothing that --verify could read.")
    ownership = Ownership.NONE if no_owner else Ownership.NUMBERS if numeric_owner else None
    return _How(Overwrite(overwrite), ownership, delete, verify, dry_run, verbose, rules)


def _restore(
    opened: OpenSnapshot,
    chosen: Chosen,
    target: bytes,
    how: _How,
    scratch: str,
    output: RestoreOutput,
    view: Warnings,
) -> Restored:
    options = RestoreOptions(how.rules, how.delete, (), how.verify, scratch, output.told)
    if how.delete:
        spared = own_below(opened.reader.repository, environment.surroundings(), target)
        options = replace(options, spared=spared)
        if opened.record.errors:
            view.warn(
                f"the snapshot lacks {opened.record.errors} files or folders that could not be read: they go, too"
            )
    if chosen.path is None and not how.rules:
        counted = Statistics.from_record(opened.record.statistics)
        view.total(counted.files, counted.bytes)
    if how.dry_run:
        with LookedAt.open(target, overwrite=how.overwrite, ownership=how.ownership) as there:
            return plan(opened.reader, opened.manifest, opened.record, chosen.path, there, view, options)
    with Target.prepare(
        target,
        overwrite=how.overwrite,
        ownership=how.ownership,
        scratch=scratch,
        delete=how.delete and not how.rules,
        write_behind=opened.workers > 0,
    ) as place:
        return restore(opened.reader, opened.manifest, opened.record, chosen.path, place, opened.workers, view, options)


@contextmanager
def _may_go_on(how: _How) -> Iterator[None]:
    """Say how a restore that ended too early is completed."""
    try:
        yield
    except WriterEnded as e:
        raise WriterEnded(f"{e}; {_GOES_ON}") from e
    except TargetFull as e:
        raise TargetFull(f"{e}. Once there is room, {_GOES_ON}") from e
    except KeyboardInterrupt as e:
        if how.dry_run:
            raise
        raise Interrupted(f"interrupted; {_GOES_ON}") from e


# -- as an archive


def _chosen_for_tar(context: click.Context, words: tuple[bytes, ...], to_tar: bytes) -> Chosen:
    """The snapshot; all that is about a TARGET is refused."""
    if len(words) > 1:
        raise click.UsageError("--to-tar takes no TARGET.")
    about_target = ("overwrite", "delete", "no_owner", "numeric_owner", "verify", "dry_run", "verbose")
    for name in about_target:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} is not for --to-tar.")
    if to_tar == STANDARD_OUTPUT and settings().json:
        raise click.UsageError("Standard output can not take both the archive and --json.")
    return parse_chosen(os.fsdecode(words[0]) if words else "")


def _to_tar(opened: OpenSnapshot, chosen: Chosen, rules: tuple[Rule, ...], where: bytes, view: Warnings) -> int:
    record = opened.record
    entries = select(opened.manifest, record, chosen.path, rules)
    with tempfile.TemporaryDirectory(prefix="chunkstore-") as scratch, tar_output(where) as stream:
        done = write_tar(
            opened.reader,
            opened.manifest,
            entries,
            stream,
            opened.workers,
            view,
            ancestor_mtime_ns=record.time,
            scratch=scratch,
        )
    view.clear()
    archive_end(done, where)
    return FAILED if done.problems else DONE
