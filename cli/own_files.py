"""The directories of chunkstore itself, which are never part of a snapshot."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from chunkstore.errors import InvalidArgument
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.tree.display import display_path
from chunkstore.tree.roots import normalise

Inodes = frozenset[tuple[int, int]]
"""(device, inode)"""


def own_files(repository: Repository, around: Surroundings) -> Inodes:
    """The directories of state and cache, as far as they are there, and that of a local repository."""
    found = set()
    for path in _paths(repository, around):
        with contextlib.suppress(FileNotFoundError):
            found.add(_inode(os.stat(path)))
    return frozenset(found)


def own_below(repository: Repository, around: Surroundings, target: bytes) -> tuple[bytes, ...]:
    """Those that are below `target`, relative to it. `InvalidArgument` if it is, or is in, one of them."""
    top = os.path.realpath(target).rstrip(b"/") + b"/"
    below = []
    for path in _paths(repository, around):
        own = os.fsencode(os.path.realpath(path))
        if top.startswith(own + b"/"):
            raise InvalidArgument(f"{display_path(target)} is of chunkstore itself: nothing is deleted there")
        if own.startswith(top):
            below.append(own[len(top) :])
    return tuple(below)


def _paths(repository: Repository, around: Surroundings) -> list[Path]:
    paths = [around.places.state, around.places.cache]
    if os.path.isabs(repository.storage.location):
        paths.append(Path(repository.storage.location))
    return paths


def refuse_own(paths: Sequence[bytes], own: Inodes) -> None:
    """`InvalidArgument` for a path that is or is in one of them: of roots the walk does not ask."""
    cwd = os.getcwdb()
    inside = lru_cache(1024)(lambda directory: any(_inode(status) in own for status in _at_and_above(directory)))
    for path in paths:
        root = normalise(path, cwd)
        if inside(os.path.dirname(root)) or _is_own(root, own):
            raise InvalidArgument(
                f"{display_path(root)} is of chunkstore itself: its state, its cache and the repository "
                "are never part of a snapshot"
            )


def _is_own(root: bytes, own: Inodes) -> bool:
    with contextlib.suppress(OSError):
        return _inode(os.lstat(root)) in own
    return False


def _at_and_above(directory: bytes) -> Iterator[os.stat_result]:
    """The status of the real directory and of those above it, as far as they are there."""
    above = os.path.realpath(directory)
    while True:
        with contextlib.suppress(OSError):
            yield os.stat(above)
        if above == b"/":
            return
        above = os.path.dirname(above)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
