"""chunkstore forget"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from chunkstore.errors import ChunkstoreError
from chunkstore.operations.forget.forgetting import forget
from chunkstore.operations.forget.found import Found, find_all
from chunkstore.operations.forget.plan import ForgetPlan, Limits, plan_by_names, plan_by_rules
from chunkstore.operations.forget.policy import Policy
from chunkstore.operations.prune.values import PruneOptions
from chunkstore.operations.snapshot_choice import SnapshotFilter, pick
from chunkstore.repository.repository import Repository, Surroundings

from ..environment import Stop, repository, surroundings
from ..failures import DONE, FAILED, exit_code, explain, say
from ..forget_options import limit_options, rule_options
from ..forget_output import NOTHING, as_json, doubts, summary, write_plan
from ..options import common_options, settings
from ..output import write_json
from ..progress_view import progress
from ..prune_options import prune_options
from ..selecting import selection_options
from .snapshots import group_keys


@click.command()
@click.argument("which", nargs=-1, metavar="[SNAPSHOT...]")
@rule_options
@click.option(
    "--group-by",
    default="host,paths",
    show_default=True,
    callback=group_keys,
    metavar="KEY[,KEY...]",
    help='Apply the rules to each host, paths or tags apart; "" for all together.',
)
@limit_options
@click.option("-n", "--dry-run", is_flag=True, help="Change nothing; list what would go, and why.")
@click.option("--prune", "then_prune", is_flag=True, help="Free the space afterwards, as `chunkstore prune` does.")
@prune_options
@selection_options
@common_options
def command(
    which: tuple[str, ...],
    policy: Policy,
    group_by: frozenset[str],
    limits: Limits,
    dry_run: bool,
    then_prune: bool,
    pruning: PruneOptions,
    selection: SnapshotFilter,
) -> int:
    """Remove snapshots: those that no rule keeps, or just those that are named. Needs no private key.

    What is pinned stays. The space is freed by a prune.
    """
    _check(which, policy, limits)
    stop = Stop()
    around = surroundings(stop)
    opened = repository("prune", around)
    with stop.listening(), progress() as view:
        found = find_all(opened, around, view, pruning.stale_after_ns)
        view.clear()
        plan = _plan(found, which, policy, group_by, limits, selection)
        if not settings().quiet and not settings().json:
            write_plan(plan)
        done = NOTHING if dry_run or plan.refused else forget(opened, found, plan.going, around)
    _warn(plan, done.left)
    if not settings().quiet and not settings().json:
        more = " `chunkstore prune` frees the space." if done.gone and not then_prune else ""
        click.echo(summary(plan, None if dry_run or plan.refused else done) + more)
    code = FAILED if plan.refused or (which and plan.staying + len(done.left)) else DONE
    then: dict[str, Any] = {"prune": None, "prune_error": None}
    if then_prune and not dry_run and not plan.refused:
        end, then = _prune(opened, pruning, around)
        code = code or end
    if settings().json:
        write_json({**as_json(plan, done, dry_run), **then})
    return code


def _check(which: Sequence[str], policy: Policy, limits: Limits) -> None:
    if which and policy:
        raise click.UsageError("Give rules (--keep-...), or the snapshots themselves.")
    if not which and not policy:
        raise click.UsageError("Which are to stay? Give a rule, such as --keep-daily 7; or name the snapshots that go.")
    if which and limits != Limits():
        raise click.UsageError("--max-removed, --remove-whole-groups and --believe-times are about rules.")


def _plan(
    found: Found,
    which: Sequence[str],
    policy: Policy,
    group_by: frozenset[str],
    limits: Limits,
    selection: SnapshotFilter,
) -> ForgetPlan:
    everything = found.candidates
    if which:
        by_id = {each.id: each for each in everything}
        among = [each.snapshot for each in everything]
        named = {pick(among, name, selection).record.id for name in which}
        return plan_by_names(everything, [by_id[each] for each in named])
    chosen = [each for each in everything if selection.fits(each.snapshot)]
    return plan_by_rules(everything, chosen, policy, group_by, datetime.astimezone, limits, found.unreadable)


def _warn(plan: ForgetPlan, left: Sequence[tuple[str, str]]) -> None:
    """What a person should know, on stderr."""
    for text in doubts(plan):
        say(text)
    for snapshot_id, why in left:
        say(f"{snapshot_id[:8]} stays: {why}")
    for reason in plan.refused:
        say(f"nothing is forgotten. {reason}")


def _prune(opened: Repository, pruning: PruneOptions, around: Surroundings) -> tuple[int, dict[str, Any]]:
    """What `chunkstore prune` does: the exit code, and fields for JSON. What was forgotten is told, whatever becomes of it."""
    from ..prune_output import result_json, show_result, unfinished  # not everybody prunes
    from .prune import run

    try:
        done = run(opened, pruning, around)
    except (ChunkstoreError, OSError) as e:
        explain(e)
        return exit_code(e), {"prune": None, "prune_error": str(e)}
    if not settings().quiet and not settings().json:
        show_result(done)
    if not done.finished:
        say(unfinished(done))
    return DONE if done.finished and not done.damaged else FAILED, {"prune": result_json(done), "prune_error": None}
