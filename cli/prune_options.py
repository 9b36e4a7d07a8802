"""How much a prune does and how long it waits: options of `prune` and of `forget --prune`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import click

from chunkstore.errors import InvalidArgument
from chunkstore.operations.prune.values import PruneOptions
from chunkstore.units import parse_age, parse_size

P = ParamSpec("P")
R = TypeVar("R")

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%")
_S = 10**9


def prune_options(function: Callable[P, R]) -> Callable[..., R]:
    """Add the options; the function gets them as `pruning: PruneOptions`."""

    @click.option(
        "--max-unused",
        default="5%",
        show_default=True,
        callback=_unused,
        metavar="AMOUNT",
        help="So much that nobody needs may stay stored: a part, as in 5%, or a size. Less means that more is copied.",
    )
    @click.option("--max-repack", callback=_size, metavar="SIZE", help="Copy at most so much.")
    @click.option(
        "--stale-after",
        default="1h",
        show_default=True,
        callback=_age,
        metavar="AGE",
        help="A snapshot run without a sign of life for so long is taken for dead. If it is not, it starts again by itself.",
    )
    @click.option("--wait", callback=_age, metavar="AGE", help="Wait at most so long for runs that are under way.")
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        share, size = kwargs.pop("max_unused")
        wait = kwargs.pop("wait")
        kwargs["pruning"] = PruneOptions(
            max_unused=share,
            max_unused_size=size,
            max_repack=kwargs.pop("max_repack"),
            stale_after_ns=kwargs.pop("stale_after") * _S,
            patience_ns=None if wait is None else wait * _S,
        )
        return function(*args, **kwargs)

    return wrapped


def _unused(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, int | None]:
    if match := _PERCENT.fullmatch(value.strip()):
        return float(match[1]) / 100, None
    try:
        return 0.0, parse_size(value)
    except InvalidArgument as e:
        raise click.BadParameter(f"{value[:40]!r} is neither a part, as in 5%, nor a size, as in 10G") from e


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    return _parsed(parse_size, value)


def _age(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    return _parsed(parse_age, value)


def _parsed(parse: Callable[[str], int], value: str | None) -> int | None:
    try:
        return None if value is None else parse(value)
    except InvalidArgument as e:
        raise click.BadParameter(str(e)) from e
