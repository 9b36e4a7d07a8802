"""Options that every command has, before or after its name: they mean the same in both places."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import click

from .storage_options import storage_options, take

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Settings:
    """What was said by the common options."""

    repository: str | None = None
    json: bool = False
    quiet: bool = False
    storage: dict[str, object] = field(default_factory=dict)


def common_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add -r, --json, --quiet and the options of storages; they are found with `settings()`."""

    @click.option(
        "-r",
        "--repository",
        metavar="URL",
        help="The repository: a path, s3://BUCKET/PREFIX or sftp://[USER@]HOST[:PORT]/PATH.",
    )
    @click.option("--json", is_flag=True, help="Write the result as one JSON object.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress, no messages but errors.")
    @storage_options
    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        said = settings()
        repository, json, quiet = kwargs.pop("repository"), kwargs.pop("json"), kwargs.pop("quiet")
        said.repository = str(repository) if repository is not None else said.repository
        said.json = said.json or bool(json)
        said.quiet = said.quiet or bool(quiet)
        take(said.storage, kwargs)
        return function(*args, **kwargs)

    return wrapped


def settings() -> Settings:
    """The settings of this run."""
    return click.get_current_context().ensure_object(Settings)
