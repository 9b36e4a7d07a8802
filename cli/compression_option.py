"""--compression, which commands that store share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from chunkstore.compression import AUTO, OFF

P = ParamSpec("P")
R = TypeVar("R")
_WORDS = {"auto": AUTO, "off": OFF}


def compression_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add --compression; the command gets a level of `WriteOptions`."""
    return click.option(
        "--compression",
        default="auto",
        show_default=True,
        callback=_level,
        metavar="LEVEL",
        help="zstd, 1 to 19; auto: 3, but no effort where nothing can be gained; off: none.",
    )(function)


def _level(context: click.Context, parameter: click.Parameter, value: str) -> int:
    if value in _WORDS:
        return _WORDS[value]
    if value.isascii() and value.isdigit() and 1 <= int(value) <= 19:
        return int(value)
    raise click.BadParameter(f"{value[:20]!r} is none of 1 to 19, auto and off")
