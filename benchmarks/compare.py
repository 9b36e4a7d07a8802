"""Compares a restored tree with its source: names, types, modes, times, contents, link targets."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """What must come back of one file, directory or link; `content` is a SHA-256 or a link's target."""

    kind: int
    mode: int
    mtime_ns: int
    size: int
    content: bytes


def listing(root: Path) -> dict[bytes, Entry]:
    """Every entry below `root` (not `root` itself) by its relative path."""
    prefix = len(os.fsencode(root)) + 1
    return {path[prefix:]: _entry(path) for path in _paths(os.fsencode(root))}


def differences(
    source: dict[bytes, Entry], restored: dict[bytes, Entry], mtime_unit_ns: int = 1, link_times: bool = True
) -> list[str]:
    """One line for each entry that is missing, unexpected or different.

    Times are compared in units of `mtime_unit_ns`, those of symbolic links only with `link_times`.
    """
    found = [f"missing: {os.fsdecode(path)}" for path in sorted(source.keys() - restored.keys())]
    found += [f"unexpected: {os.fsdecode(path)}" for path in sorted(restored.keys() - source.keys())]
    for path in sorted(source.keys() & restored.keys()):
        changed = _changed(source[path], restored[path])
        if link_times or source[path].kind != stat.S_IFLNK:
            changed += _moved_in_time(source[path], restored[path], mtime_unit_ns)
        if changed:
            found.append(f"{', '.join(changed)}: {os.fsdecode(path)}")
    return found


def one_file(source: Path, target: Path, mtime_unit_ns: int = 1) -> str:
    """What is wrong with the only file below `target`, which should equal `source` in content and time; "" if nothing."""
    files = [path for path, entry in listing(target).items() if entry.kind == stat.S_IFREG]
    if len(files) != 1:
        return f"{len(files)} files came back instead of one"
    was, came_back = _entry(os.fsencode(source)), _entry(os.path.join(os.fsencode(target), files[0]))
    changed = _changed(was, came_back)
    return ", ".join(changed if mtime_unit_ns == 0 else changed + _moved_in_time(was, came_back, mtime_unit_ns))


def _changed(was: Entry, came_back: Entry) -> list[str]:
    names = ("kind", "mode", "size", "content")
    return [name for name in names if getattr(was, name) != getattr(came_back, name)]


def _moved_in_time(was: Entry, came_back: Entry, unit_ns: int) -> list[str]:
    return [] if was.mtime_ns // unit_ns == came_back.mtime_ns // unit_ns else ["mtime"]


def _paths(root: bytes) -> Iterator[bytes]:
    for folder, directories, names in os.walk(root):
        for name in (*directories, *names):
            yield os.path.join(folder, name)


def _entry(path: bytes) -> Entry:
    found = os.lstat(path)
    kind, size, content = stat.S_IFMT(found.st_mode), 0, b""
    if kind == stat.S_IFREG:
        size = found.st_size
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
    elif kind == stat.S_IFLNK:
        content = os.readlink(path)
    return Entry(kind, stat.S_IMODE(found.st_mode), found.st_mtime_ns, size, content)
