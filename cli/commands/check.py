"""chunkstore check"""

from __future__ import annotations

from collections.abc import Sequence

import click

from chunkstore.errors import InvalidArgument
from chunkstore.operations.check.checking import check
from chunkstore.operations.check.findings import Finding, Severity
from chunkstore.operations.check.subset import parse_subset
from chunkstore.operations.check.values import Checked, Everything, Share, Subset
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_size

from .. import environment
from ..failures import DIFFERENT, DONE
from ..options import common_options, settings
from ..output import JsonList, json_path, write_table
from ..progress_view import Warnings, progress

_SHOWN = 10


def _subset(context: click.Context, parameter: click.Parameter, value: str | None) -> Subset | None:
    try:
        return None if value is None else parse_subset(value)
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e


@click.command()
@click.option("--read-data", is_flag=True, help="Read every pack and compare its bytes with its name.")
@click.option(
    "--read-data-subset",
    "subset",
    callback=_subset,
    metavar="PART",
    help="Read a part of the packs: 1/7 (in turn), 5% or 10G (at random).",
)
@click.option("--open", "opened", is_flag=True, help="Open every chunk too. Needs the GPG private key.")
@common_options
def command(read_data: bool, subset: Subset | None, opened: bool) -> int:
    """Check the repository: whether everything that snapshots need is there and whole.

    Needs no private key and starts no gpg, but with --open. Writes nothing. Exit code 4: there is damage; each damaged
    object is listed with the snapshots that it hits.
    """
    if read_data and subset is not None:
        raise click.UsageError("Give --read-data or --read-data-subset, not both.")
    around = environment.surroundings()
    repository = environment.repository("check", around)
    keys = None
    if opened:
        from chunkstore.operations.check.open import content_keys  # what a check without keys does not need

        keys = content_keys(repository, environment.unseal)
    found = JsonList("findings") if settings().json else None
    with progress() as view:

        def report(finding: Finding) -> None:
            if found:
                found.add(_as_json(finding))
            elif finding.severity is Severity.DAMAGE or not settings().quiet:
                _tell(finding, view)

        done = check(repository, around, view, report, Everything() if read_data else subset, keys)
    if found:
        found.end(_totals(done))
    elif not settings().quiet:
        _write_totals(done)
    return DIFFERENT if done.damaged else DONE


def _tell(finding: Finding, view: Warnings) -> None:
    """A finding for people, in a few lines."""
    name = f"{finding.object}: " if finding.object else ""
    view.result(f"{finding.severity}: {name}{_safe(finding.message)}")
    if finding.snapshots:
        view.result(f"  snapshots: {_some([each[:8] for each in finding.snapshots], 0)}")
    if finding.files:
        view.result(f"  files: {_some([display_path(each) for each in finding.files], finding.more_files)}")
    if finding.remedy:
        view.result(f"  what to do: {finding.remedy}")


def _some(items: Sequence[str], more: int) -> str:
    left = len(items) + more - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {format_count(left)} more" if left > 0 else "")


def _safe(text: str) -> str:
    """A message may hold what somebody made up."""
    return display_path(text.encode("utf-8", "surrogateescape"))


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "severity": finding.severity,
        "kind": finding.kind,
        "object": finding.object,
        "message": finding.message,
        "remedy": finding.remedy,
        "snapshots": list(finding.snapshots),
        "files": [json_path(each) for each in finding.files],
        "more_files": finding.more_files,
    }


def _totals(done: Checked) -> dict[str, object]:
    return {
        "damaged": done.damaged,
        "notes": done.notes,
        "foreign": done.foreign,
        "snapshots": done.snapshots,
        "snapshots_hit": done.hit,
        "objects": [
            {"kind": kind, "count": share.count, "bytes": share.size} for kind, share in sorted(done.objects.items())
        ],
        "packs": _share(done.packs),
        "orphans": _share(done.orphans),
        "read": _share(done.read),
        "chunks": {
            "needed": done.chunks,
            "bytes": done.raw,
            "copies": done.copies.count,
            "bytes_copies": done.copies.size,
            "unused": done.unused,
            "opened": done.opened,
        },
    }


def _share(share: Share) -> dict[str, int]:
    return {"count": share.count, "bytes": share.size}


def _write_totals(done: Checked) -> None:
    objects = sorted(done.objects.items())
    rows = [(str(kind), format_count(share.count), format_size(share.size)) for kind, share in objects]
    rows += [
        ("chunks that snapshots need", format_count(done.chunks), format_size(done.raw)),
        ("  stored again", format_count(done.copies.count), format_size(done.copies.size)),
        ("chunks that nobody needs", format_count(done.unused), ""),
        ("packs read", format_count(done.read.count), format_size(done.read.size)),
    ]
    if done.opened:
        rows.append(("chunks opened", format_count(done.opened), ""))
    write_table(("What", "Count", "Size"), rows, right=frozenset({1, 2}))
    click.echo(_summary(done))


def _summary(done: Checked) -> str:
    snapshots = f"{format_count(done.snapshots)} snapshot{'s' * (done.snapshots != 1)}"
    if not done.damaged:
        return f"No damage found. {snapshots} checked."
    objects = f"{format_count(done.damaged)} time{'s' * (done.damaged != 1)}"
    return f"Damage found {objects}; {format_count(done.hit)} of {snapshots} hit by it."
