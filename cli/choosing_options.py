"""What of a source is chosen: the options of `snapshot`, as one value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import click

from chunkstore.tree.choosing import Choosing
from chunkstore.tree.patterns import Rule
from chunkstore.units import parse_size

from .pattern_options import pattern_options

P = ParamSpec("P")
R = TypeVar("R")


def choosing_options(function: Callable[P, R]) -> Callable[..., R]:
    """Add the options; the function gets them as `choosing: Choosing`."""

    @pattern_options
    @click.option(
        "--exclude-if-present",
        multiple=True,
        type=click.Path(path_type=bytes),
        callback=_names,
        metavar="NAME",
        help="Of a folder that has an entry NAME store nothing but that.",
    )
    @click.option("--exclude-caches", is_flag=True, help="Leave out what is in folders with a valid CACHEDIR.TAG.")
    @click.option("--exclude-larger-than", metavar="SIZE", help="Leave out larger files: 500M, 2GiB.")
    @click.option("-x", "--one-file-system", is_flag=True, help="Do not enter other file systems.")
    @click.option("--no-ignore-files", is_flag=True, help="Take no notice of .chunkstoreignore files.")
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        larger_than = kwargs.pop("exclude_larger_than")
        kwargs["choosing"] = Choosing(
            rules=_useful(kwargs.pop("rules")),
            ignore_files=not kwargs.pop("no_ignore_files"),
            if_present=tuple(dict.fromkeys(kwargs.pop("exclude_if_present"))),
            caches=kwargs.pop("exclude_caches"),
            larger_than=None if larger_than is None else parse_size(larger_than),
            one_file_system=kwargs.pop("one_file_system"),
        )
        return function(*args, **kwargs)

    return wrapped


def _useful(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """People who begin with --include expect that all else is left out, which is not what it does."""
    if rules and rules[0].source.startswith(("--include ", "--iinclude ")):
        raise click.UsageError(
            f"{rules[0]}: an --include takes back what an --exclude before it left out, and there is none before it."
        )
    return rules


def _names(context: click.Context, parameter: click.Parameter, value: tuple[bytes, ...]) -> tuple[bytes, ...]:
    for name in value:
        if not name or b"/" in name or name in (b".", b".."):
            raise click.BadParameter("a name without slashes is needed")
    return value
