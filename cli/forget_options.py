"""The options of `forget` that make its rules and its limits."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import ParamSpec, TypeVar

import click

from chunkstore.errors import InvalidArgument
from chunkstore.operations.forget.plan import Limits
from chunkstore.operations.forget.policy import PERIODS, Policy
from chunkstore.times import parse_time
from chunkstore.units import parse_age

from .selecting import tag_sets

P = ParamSpec("P")
R = TypeVar("R")

_PERCENT = re.compile(r"([0-9]{1,3})%")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SPANS = {"hourly": "hours", "daily": "days", "weekly": "weeks", "monthly": "months", "yearly": "years"}


def rule_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add --keep-last and so on; the command gets `policy: Policy`."""
    names = ("last", *PERIODS, "within", "tags")

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        said = {name: kwargs.pop(f"keep_{name}") for name in names}
        said = {name: value for name, value in said.items() if value is not None}
        kwargs["policy"] = Policy(**said)  # type: ignore[arg-type]
        return function(*args, **kwargs)

    options = [click.option("--keep-last", type=click.IntRange(1), metavar="N", help="Keep the newest N.")]
    options += [
        click.option(
            f"--keep-{period}",
            type=click.IntRange(1),
            metavar="N",
            help=f"Keep the newest of each of the last N {_SPANS[period]} that have a snapshot.",
        )
        for period in PERIODS
    ]
    options += [
        click.option(
            "--keep-within",
            callback=_age,
            metavar="AGE",
            help="Keep what is up to AGE older than the newest: 30D, 1Y6M.",
        ),
        click.option(
            "--keep-tag",
            "keep_tags",
            multiple=True,
            callback=tag_sets,
            metavar="TAG[,TAG...]",
            help="Keep what has all these tags. Give it again for others.",
        ),
    ]
    decorated: Callable[P, R] = wrapped
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def limit_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add --max-removed, --remove-whole-groups and --believe-times; the command gets `limits: Limits`."""

    @click.option(
        "--max-removed",
        default="50%",
        show_default=True,
        callback=_most,
        metavar="N|N%",
        help="Refuse to take more than this from a group at once.",
    )
    @click.option("--remove-whole-groups", "whole", is_flag=True, help="Groups of which no rule keeps anything may go.")
    @click.option(
        "--believe-times",
        "believed",
        callback=_believed,
        metavar="TIME",
        help="Believe the dates of snapshots that the storage has from before TIME: after the repository was copied.",
    )
    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        percent, count = kwargs.pop("max_removed")  # type: ignore[misc]
        kwargs["limits"] = Limits(percent, count, bool(kwargs.pop("whole")), kwargs.pop("believed"))  # type: ignore[has-type, arg-type]
        return function(*args, **kwargs)

    return wrapped


def _age(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        seconds = parse_age(value)
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e
    if "m" in value:  # others write months so: 1y6m; it would be a year and six minutes
        raise click.BadParameter(f"{value[:40]!r}: a small m means minutes; write M for months: 1Y6M")
    return seconds


def _most(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int | None, int | None]:
    if match := _PERCENT.fullmatch(value):
        if int(match[1]) <= 100:
            return int(match[1]), None
    elif _NUMBER.fullmatch(value):
        return None, int(value)
    raise click.BadParameter(f"{value[:40]!r} is neither a number of snapshots nor a part of a group, as in 50%")


def _believed(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parse_time(value, time.time_ns(), datetime.astimezone) / 1e9
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e
