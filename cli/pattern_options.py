"""--include, --exclude, --iinclude, --iexclude and --exclude-from, in the order in which they are given."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import click

from chunkstore.errors import InvalidArgument
from chunkstore.tree.display import display_path
from chunkstore.tree.patterns import Rule, command_rule, command_rules

from .standard_input import STANDARD_INPUT, read_all

P = ParamSpec("P")
R = TypeVar("R")

_ORDER = f"{__name__}.order"


class _Ordered(click.Option):
    """Options that keep in `ctx.meta` in which order they, all together, were given."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> tuple[Any, Any, list[click.Parameter]]:
            options, rest, order = parse(args)
            ctx.meta[_ORDER] = [param.name for param in order if isinstance(param, _Ordered)]
            return options, rest, order

        parser.parse_args = parse_args


def _option(name: str, metavar: str, text: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    raw = click.Path(path_type=bytes)  # for the bytes of it
    return click.option(name, cls=_Ordered, multiple=True, type=raw, metavar=metavar, help=text)


def pattern_options(function: Callable[P, R]) -> Callable[..., R]:
    """Add the five options; the function gets them as `rules: tuple[Rule, ...]`, the first one given first."""

    @_option(
        "--exclude", "PATTERN", "Leave out what matches this gitignore glob. The last pattern that matches counts."
    )
    @_option("--include", "PATTERN", "Take back what an --exclude before it left out.")
    @_option("--iexclude", "PATTERN", "As --exclude, in upper and lower case.")
    @_option("--iinclude", "PATTERN", "As --include, in upper and lower case.")
    @_option("--exclude-from", "FILE", "Read patterns from this file, one a line; !PATTERN includes. - is stdin.")
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        given = {name: iter(kwargs.pop(name)) for name in _KINDS}
        order = click.get_current_context().meta.get(_ORDER, [])
        rules = [rule for name in order for rule in _KINDS[name](next(given[name]))]
        kwargs["rules"] = tuple(rules)
        return function(*args, **kwargs)

    return wrapped


def _pattern(pattern: bytes, *, include: bool, ignore_case: bool, option: str) -> Iterator[Rule]:
    source = f"{option} {display_path(pattern)}"
    if pattern.startswith(b"!"):
        raise InvalidArgument(rf"{source}: ! is for files of patterns; --include takes back, and \! is meant literally")
    yield command_rule(pattern, include, os.getcwdb(), ignore_case=ignore_case, source=source)


def _patterns_from(path: bytes) -> Iterator[Rule]:
    source = "standard input" if path == STANDARD_INPUT else display_path(path)
    yield from command_rules(read_all(path), os.getcwdb(), source)


_KINDS: dict[str, Callable[[bytes], Iterator[Rule]]] = {
    "exclude": functools.partial(_pattern, include=False, ignore_case=False, option="--exclude"),
    "include": functools.partial(_pattern, include=True, ignore_case=False, option="--include"),
    "iexclude": functools.partial(_pattern, include=False, ignore_case=True, option="--iexclude"),
    "iinclude": functools.partial(_pattern, include=True, ignore_case=True, option="--iinclude"),
    "exclude_from": _patterns_from,
}
