"""What a snapshot would store. Reads no file, and writes nothing anywhere."""

from __future__ import annotations

import contextlib
import enum
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chunkstore.errors import Interrupted
from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, join
from chunkstore.operations.snapshot.last_entries import LastEntries
from chunkstore.operations.snapshot.run import cache_name
from chunkstore.operations.snapshot.taking import source_of
from chunkstore.operations.snapshot.values import SnapshotOptions
from chunkstore.repository.manifest_cache import open_manifest_cache
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.tree.choosing import Chooser, OnLeftOut
from chunkstore.tree.display import display_path
from chunkstore.tree.reading import kind_of
from chunkstore.tree.roots import ancestors, recorded_roots
from chunkstore.tree.walk import walk


class State(enum.Enum):
    """What a file is compared with this machine's last snapshot of the same paths."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class PreviewedFile:
    """A file that would be read: all that are new or changed, or with `force` every one."""

    path: bytes
    size: int
    state: State


@dataclass(slots=True)
class Preview:
    """Files and their bytes by state, everything else that would be recorded, and what would not."""

    paths: Sequence[bytes]
    files: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    bytes: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    files_deleted: int = 0
    directories: int = 0
    links: int = 0
    specials: int = 0
    left_out: int = 0
    problems: list[str] = field(default_factory=list)


class Previewing:
    """One look ahead: `files()` is to be read to its end, then `result` is complete."""

    def __init__(
        self,
        repository: Repository,
        paths: Sequence[bytes],
        cwd: bytes,
        options: SnapshotOptions,
        around: Surroundings,
        on_left_out: OnLeftOut | None = None,
    ) -> None:
        """Raises what `snapshot` raises for its arguments."""
        self._repository = repository
        self._options = options
        self._around = around
        self._roots, missing = source_of(paths, cwd)
        self._chooser = Chooser(options.choosing, self._problem, on_left_out)
        self.result = Preview(recorded_roots(self._roots))
        for path in missing:
            self.result.problems.append(f"{display_path(path)}: No such file or directory")

    def files(self) -> Iterator[PreviewedFile]:
        """Each file that would be read, in the order of the walk. Raises `Interrupted`."""
        key, around = self._repository.key, self._around
        name = cache_name(around.host, self.result.paths)
        cache = open_manifest_cache(around.places.cache_path(key.repository_id), name)
        above = ancestors(self._roots)
        with contextlib.closing(cache) if cache else contextlib.nullcontext():
            last = LastEntries(cache, key)
            for parent, children in walk(self._roots, on_error=self._problem, choice=self._chooser):
                if around.stop():
                    raise Interrupted("interrupted")
                for child, status in children:
                    match = last.find(parent, child)
                    path = join(parent, child)
                    if not stat.S_ISREG(status.st_mode):
                        self._count(status, path in above)
                        continue
                    before = match.row if match and match.row[1] == FILE else None
                    same = before is not None and last.unchanged(before, status)
                    state = State.UNCHANGED if same else State.CHANGED if before else State.NEW
                    self.result.files[state] += 1
                    self.result.bytes[state] += status.st_size
                    if not same or self._options.force:
                        yield PreviewedFile(path, status.st_size, state)
            last.finish()
            self.result.files_deleted = last.files_gone
        self.result.left_out = self._chooser.left_out

    def _count(self, status: os.stat_result, above: bool) -> None:
        result, kind = self.result, kind_of(status.st_mode)
        if kind == DIRECTORY:
            result.directories += not above
        elif kind == SYMLINK:
            result.links += 1
        else:
            result.specials += 1

    def _problem(self, path: bytes, error: OSError) -> None:
        self.result.problems.append(f"{display_path(path)}: {error.strerror or error}")
