"""What a prune found and what it did: for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from chunkstore.operations.prune.values import Findings, LivingSession, PruneResult, Share
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_duration, format_size

from .output import iso_time, local_time

_S = 10**9
_SHOWN = 10


def show_findings(found: Findings) -> None:
    """A table of what is used, what is not, and what a prune would do about it."""
    rows = [
        ("Snapshots", format_count(found.snapshots), ""),
        ("Packs", format_count(found.stored.packs), format_size(found.stored.size)),
        ("  in use", "", format_size(found.used)),
        ("  unused", "", format_size(found.unused)),
        ("Chunks stored once more", format_count(found.copies), ""),
        ("To be deleted", format_count(found.dead.packs), format_size(found.dead.size)),
        ("  left by runs that broke off", format_count(found.orphans.packs), format_size(found.orphans.size)),
        ("To be repacked", format_count(found.repack.packs), format_size(found.repack.size)),
        ("  of that copied", "", format_size(found.repack_used)),
        ("Reclaimable now", "", format_size(found.reclaimable)),
        ("Index objects", format_count(found.index_objects), ""),
    ]
    width = max(len(row[0]) for row in rows)
    for name, number, size in rows:
        click.echo(f"{name.ljust(width)}  {number.rjust(9)}  {size.rjust(11)}".rstrip())
    if found.open_plan is not None:
        click.echo(f"Prune {found.open_plan} is under way, or broke off: the next prune finishes it first.")
    for session in found.sessions:
        click.echo(f"Would wait for {_described(session)}.")


def findings_json(found: Findings) -> dict[str, Any]:
    return {
        "snapshots": found.snapshots,
        "packs": found.stored.packs,
        "stored": found.stored.size,
        "used": found.used,
        "unused": found.unused,
        "copies": found.copies,
        "dead": _share(found.dead),
        "orphans": _share(found.orphans),
        "repack": {**_share(found.repack), "copied": found.repack_used},
        "reclaimable": found.reclaimable,
        "index_objects": found.index_objects,
        "open_plan": found.open_plan,
        "sessions": [_session(each) for each in found.sessions],
    }


def show_result(done: PruneResult) -> None:
    """A few lines on what was done."""
    if done.number is None:
        click.echo("Nothing to prune.")
    else:
        freed, written = format_size(done.deleted.size), format_size(done.written.size)
        click.echo(
            f"Prune {done.number}: deleted {_packs(done.deleted.packs)} ({freed}), wrote {_packs(done.written.packs)} ({written})."
        )
    if done.fenced:
        click.echo(f"Runs without a sign of life that were ended: {done.fenced}.")
    _show_locked(done.locked)


def _show_locked(locked: Sequence[tuple[str, float]]) -> None:
    if not locked:
        return
    times = [until for _, until in locked]
    click.echo(
        f"Locked against deletion, so still there: {format_count(len(locked))} objects, until "
        f"{local_time(int(min(times) * _S))} to {local_time(int(max(times) * _S))}. A prune after that deletes them."
    )


def unfinished(done: PruneResult) -> str:
    """The message for a prune that did not wait any longer."""
    waiting = "; ".join(map(_described, done.waiting[:_SHOWN]))
    return (
        f"prune {done.number} is not finished: {waiting}. What it names is not used by new snapshots; the next prune goes on "
        "with it. Nothing is lost either way"
    )


def result_json(done: PruneResult) -> dict[str, Any]:
    return {
        "prune": done.number,
        "finished": done.finished,
        "deleted": _share(done.deleted),
        "written": _share(done.written),
        "spared": done.spared,
        "fenced": done.fenced,
        "index_objects_deleted": done.index_objects_deleted,
        "locked": [{"object": name, "until": iso_time(int(until * _S))} for name, until in done.locked],
        "damaged": done.damaged,
        "waiting": [_session(each) for each in done.waiting],
    }


def _described(session: LivingSession) -> str:
    if session.host is None or session.started is None:
        return f"the run {session.id[:8]}, whose session can not be read"
    host = display_path(session.host.encode("utf-8", "replace"))
    quiet = "" if session.quiet_ns is None else f", last sign of life {format_duration(abs(session.quiet_ns) / _S)} ago"
    return f"a snapshot of {host}, under way since {local_time(session.started)}{quiet}"


def _session(session: LivingSession) -> dict[str, Any]:
    quiet = None if session.quiet_ns is None else session.quiet_ns / _S
    started = None if session.started is None else iso_time(session.started)
    return {"id": session.id, "host": session.host, "started": started, "quiet_seconds": quiet}


def _share(share: Share) -> dict[str, int]:
    return {"packs": share.packs, "bytes": share.size}


def _packs(number: int) -> str:
    return f"{format_count(number)} pack{'s' * (number != 1)}"
