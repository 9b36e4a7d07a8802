"""Options that every command has, before or after its name: they mean the same in both places."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Settings:
    """What was said by the common options."""

    repository: str | None = None
    json: bool = False
    quiet: bool = False


def common_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add -r, --json and --quiet; they are found with `settings()`."""

    @click.option("-r", "--repository", metavar="URL", help="The repository: a path or file:// URL.")
    @click.option("--json", is_flag=True, help="Write the result as one JSON object.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress, no messages but errors.")
    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        said = settings()
        repository, json, quiet = kwargs.pop("repository"), kwargs.pop("json"), kwargs.pop("quiet")
        said.repository = str(repository) if repository is not None else said.repository
        said.json = said.json or bool(json)
        said.quiet = said.quiet or bool(quiet)
        return function(*args, **kwargs)

    return wrapped


def settings() -> Settings:
    """The settings of this run."""
    return click.get_current_context().ensure_object(Settings)
