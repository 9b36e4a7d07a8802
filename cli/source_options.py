"""What `snapshot` is to store: paths, lists of paths, standard input, or what a command writes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, ParamSpec, TypeVar

import click

from chunkstore.errors import InvalidArgument
from chunkstore.tree.display import display_path

from .standard_input import opened

P = ParamSpec("P")
R = TypeVar("R")

_BLOCK = 1 << 20
_LONGEST = 1 << 20
"""Bytes of one path: more is no list of paths."""
_STREAM_NAME = b"/stdin"


@dataclass(frozen=True, slots=True)
class Source:
    """Paths; or, where there is a `name`, the one file of a stream: what `command` writes, or standard input."""

    paths: tuple[bytes, ...]
    name: bytes = b""
    command: tuple[bytes, ...] = ()


def source_options(function: Callable[P, R]) -> Callable[..., R]:
    """Add the arguments and options; the function gets them as `source: Source`."""
    raw = click.Path(path_type=bytes)

    @click.argument("paths", nargs=-1, type=raw, metavar="PATH...")
    @click.option("--files-from", multiple=True, type=raw, metavar="FILE", help="Store the paths in FILE, one a line.")
    @click.option(
        "--files-from0", multiple=True, type=raw, metavar="FILE", help="As --files-from, with a NUL after each path."
    )
    @click.option("--stdin", is_flag=True, help="Store standard input as one file.")
    @click.option("--from-command", is_flag=True, help="Store what the command PATH... writes, if its exit code is 0.")
    @click.option("--stdin-name", type=raw, metavar="NAME", help="The name of that file. Default /stdin.")
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        paths, lists = kwargs.pop("paths"), (kwargs.pop("files_from"), kwargs.pop("files_from0"))
        stdin, from_command, name = kwargs.pop("stdin"), kwargs.pop("from_command"), kwargs.pop("stdin_name")
        if stdin or from_command:
            kwargs["source"] = _stream(stdin, from_command, name, paths, any(lists))
        elif name is not None:
            raise click.UsageError("--stdin-name is for --stdin and --from-command.")
        else:
            kwargs["source"] = Source((*paths, *_listed(*lists)))
            if not kwargs["source"].paths:
                raise click.UsageError(
                    "the lists hold no paths." if any(lists) else "Missing argument 'PATH...': what is to be stored?"
                )
        return function(*args, **kwargs)

    return wrapped


def _stream(stdin: bool, from_command: bool, name: bytes | None, paths: tuple[bytes, ...], lists: bool) -> Source:
    option = "--stdin" if stdin else "--from-command"
    if stdin and from_command:
        raise click.UsageError("--stdin and --from-command: one of them.")
    if lists or (stdin and paths):
        raise click.UsageError(f"{option} stores nothing else: make another snapshot of files.")
    if from_command and not paths:
        raise click.UsageError("--from-command needs a command: --from-command -- COMMAND ARGUMENT...")
    return Source((), _stream_name(_STREAM_NAME if name is None else name), paths if from_command else ())


def _stream_name(name: bytes) -> bytes:
    parts = name.removeprefix(b"/").split(b"/")
    if not all(parts) or b"." in parts or b".." in parts:
        raise click.UsageError(
            f"--stdin-name {display_path(name)}: the path of a file is needed, without . and .. in it."
        )
    return b"/" + b"/".join(parts)


def _listed(files_from: tuple[bytes, ...], files_from0: tuple[bytes, ...]) -> Iterator[bytes]:
    for file in files_from:
        yield from (path for path in _paths(file, b"\n") if path.strip())
    for file in files_from0:
        yield from (path for path in _paths(file, b"\0") if path)


def _paths(path: bytes, end: bytes) -> Iterator[bytes]:
    with opened(path) as file:
        yield from _split(file, path, end)


def _split(file: BinaryIO, path: bytes, end: bytes) -> Iterator[bytes]:
    rest = b""
    while block := file.read(_BLOCK):
        *whole, rest = (rest + block).split(end)
        yield from whole
        if len(rest) > _LONGEST:
            raise InvalidArgument(f"{display_path(path)} is no list of paths: one of them is longer than 1 MiB")
    yield rest
