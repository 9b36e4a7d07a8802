"""Two repositories in one command: one that is read, and the one that -r names."""

from __future__ import annotations

import os

import click

from chunkstore.errors import NotAClient
from chunkstore.repository.repository import Repository, Surroundings, open_repository
from chunkstore.storage.location import is_s3

from . import environment
from .options import settings
from .storage_options import without_s3


def open_both(source: str | None, operation: str, around: Surroundings) -> tuple[Repository, Repository]:
    """(source, destination), the latter opened for `operation`.

    Options of storages are about both; those for S3 about whichever is there, and refused where neither is.
    """
    there, here = _source_location(source), environment.storage_location()
    return _open(there, here, "read", around, "source"), _open(here, there, operation, around, "destination")


def _source_location(given: str | None) -> str:
    location = given or os.environ.get("CHUNKSTORE_FROM_REPOSITORY")
    if not location:
        raise click.UsageError("Copy from which repository? Say it with --from URL, or set CHUNKSTORE_FROM_REPOSITORY.")
    return location


def _open(location: str, other: str, operation: str, around: Surroundings, role: str) -> Repository:
    said = settings().storage
    if is_s3(other) and not is_s3(location):
        said = without_s3(said)
    try:
        return open_repository(environment.storage_at(location, said), around.places, operation)
    except NotAClient as e:
        raise NotAClient(f"the {role}, {location}: {e}") from e
