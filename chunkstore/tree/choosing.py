"""What of a source is chosen: patterns, ignore files, tags, sizes and file systems.

A `Choosing` is what was asked for. A `Chooser` follows one walk with it: it knows the ignore files of the directories
above, and asks nothing of the files where nothing was asked for.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chunkstore.format.entries import join
from chunkstore.tree.display import display_path
from chunkstore.tree.patterns import Rule, Rules, parse_rules
from chunkstore.tree.reading import open_inside
from chunkstore.tree.walk import Directories, Here, OnError
from chunkstore.units import format_size

IGNORE_FILE = b".chunkstoreignore"
_LARGEST_IGNORE_FILE = 64 << 10
"""Bytes: every pattern costs time for every file below, and whoever owns a directory may put such a file into it."""
CACHE_TAG = b"CACHEDIR.TAG"
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""How the tag begins (https://bford.info/cachedir/)."""

OnLeftOut = Callable[[bytes, str], None]
"""Is told what is left out, a directory with a slash at its end, and why."""


@dataclass(frozen=True, slots=True)
class Choosing:
    """What is left out of a walk.

    `rules` begin at `/` and win over ignore files. `if_present`: of a directory with an entry of such a name only this
    entry is taken. `caches`: the same for directories that are tagged as caches. `larger_than`: bytes of a regular
    file. `leave_out`: (device, inode) of directories.
    """

    rules: tuple[Rule, ...] = ()
    ignore_files: bool = True
    if_present: tuple[bytes, ...] = ()
    caches: bool = False
    larger_than: int | None = None
    one_file_system: bool = False
    leave_out: frozenset[tuple[int, int]] = frozenset()


class _IgnoreFile(NamedTuple):
    """The rules of an ignore file `depth` levels below the root, which begin at byte `start` of a path."""

    depth: int
    start: int
    rules: Rules


class Chooser:
    """The choice of one walk. `left_out` counts what it left out, a directory with all below it as one."""

    def __init__(self, choosing: Choosing, on_error: OnError, on_left_out: OnLeftOut | None = None) -> None:
        """Raises `InvalidArgument` for a rule that can match nothing."""
        self._choosing = choosing
        self._on_error = on_error
        self._on_left_out = on_left_out
        self._rules = Rules(choosing.rules)
        self._ignore_files: list[_IgnoreFile] = []
        self._asks = bool(choosing.rules) or choosing.larger_than is not None or choosing.one_file_system
        self._tags = frozenset(choosing.if_present)
        self._looks = bool(self._tags) or choosing.caches or choosing.one_file_system
        self._everything = Here(None, self._takes if self._asks else None)
        self._device: int | None = None
        self._tagged = False
        self.left_out = 0

    # -- what the walk asks

    def listed(self, depth: int, path: bytes, fd: int, names: Sequence[bytes] | None) -> Here:
        """Reads the ignore file of the directory, and looks for tags in it."""
        choosing = self._choosing
        ignoring = self._ignore_files or (choosing.ignore_files and _has(IGNORE_FILE, names, fd))
        if not ignoring and not self._looks:  # most directories
            return self._everything
        if depth == 0 and choosing.one_file_system:
            self._device = os.fstat(fd).st_dev
        while self._ignore_files and self._ignore_files[-1].depth >= depth:
            self._ignore_files.pop()
        if choosing.ignore_files and _has(IGNORE_FILE, names, fd):
            self._read_ignore_file(depth, path, fd)
        takes = self._takes if self._asks or self._ignore_files else None
        tags = frozenset(name for name in self._tags if _has(name, names, fd))
        if choosing.caches and _has(CACHE_TAG, names, fd) and self._is_cache(path, fd):
            tags |= {CACHE_TAG}
        self._tagged = bool(tags)
        if not tags:
            return Here(None, takes)
        self._leave_out(path + b"/", f"it has {display_path(min(tags))}; nothing else of it is taken")
        return Here(tags, takes)

    def directory(self, path: bytes, status: os.stat_result) -> Directories:
        """Asks for the file system, and whether the directory is one of chunkstore's own or a tag itself."""
        if (status.st_dev, status.st_ino) in self._choosing.leave_out:
            self._leave_out(path + b"/", "it is of chunkstore itself")
            return Directories.LEFT_OUT
        if self._device is not None and status.st_dev != self._device:
            self._leave_out(path + b"/", "it is another file system and not entered")
            return Directories.CLOSED
        return Directories.CLOSED if self._tagged else Directories.ENTERED

    def _takes(self, path: bytes, status: os.stat_result) -> bool:
        directory = status[0] & 0o170000 == 0o040000
        if self._included(path, directory) is False:
            self._leave_out(path + b"/" if directory else path, self._reason(path, directory))
            return False
        if directory:
            return True
        larger_than = self._choosing.larger_than
        if larger_than is not None and status.st_size > larger_than and stat.S_ISREG(status.st_mode):
            self._leave_out(path, f"it is larger than {format_size(larger_than)}")
            return False
        if self._device is not None and status.st_dev != self._device:
            self._leave_out(path, "it is of another file system")
            return False
        return True

    def _leave_out(self, path: bytes, reason: str) -> None:
        self.left_out += 1
        if self._on_left_out:
            self._on_left_out(path.replace(b"//", b"/"), reason)

    # -- rules

    def _included(self, path: bytes, directory: bool) -> bool | None:
        """The rules of the command line first, then the ignore files from the deepest on."""
        said = self._rules.included(path, directory)
        if said is None:
            for _, start, rules in reversed(self._ignore_files):
                said = rules.included(path, directory, start)
                if said is not None:
                    break
        return said

    def _reason(self, path: bytes, directory: bool) -> str:
        if not self._on_left_out:
            return ""
        rule = self._rules.reason(path, directory)
        for _, start, rules in reversed(self._ignore_files):
            rule = rule or rules.reason(path, directory, start)
        return str(rule)

    def _read_ignore_file(self, depth: int, path: bytes, fd: int) -> None:
        try:
            data = _read(IGNORE_FILE, fd, _LARGEST_IGNORE_FILE + 1)
            if len(data) > _LARGEST_IGNORE_FILE:
                raise OSError(errno.EFBIG, f"not used: longer than {format_size(_LARGEST_IGNORE_FILE)}")
        except OSError as e:
            self._not_read(path, IGNORE_FILE, e)
            return
        rules = parse_rules(data, display_path(join(path, IGNORE_FILE)))
        if rules:
            start = len(path) + (path != b"/")
            self._ignore_files.append(_IgnoreFile(depth, start, Rules(rules)))

    # -- tags

    def _is_cache(self, path: bytes, fd: int) -> bool:
        try:
            return _read(CACHE_TAG, fd, len(CACHE_SIGNATURE)) == CACHE_SIGNATURE
        except OSError as e:
            self._not_read(path, CACHE_TAG, e)
            return False

    def _not_read(self, directory: bytes, name: bytes, error: OSError) -> None:
        if error.errno != errno.ENOENT:
            self._on_error(join(directory, name), error)


def _has(name: bytes, names: Sequence[bytes] | None, fd: int) -> bool:
    """Whether the directory has an entry of this name: the list says so, or where there is none the directory itself."""
    if names is not None:
        at = bisect_left(names, name)
        return at < len(names) and names[at] == name
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def _read(name: bytes, directory: int, size: int) -> bytes:
    """The first `size` bytes of a regular file; `OSError` where it is something else."""
    fd = open_inside(name, directory)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not used: not a regular file")
        data = b""
        while len(data) < size and (more := os.read(fd, size - len(data))):
            data += more
        return data
    finally:
        os.close(fd)
