"""Which entries of a snapshot are meant by a path and by rules, and where they land in a target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from chunkstore.errors import PathNotFound
from chunkstore.format.entries import DIRECTORY, join
from chunkstore.format.records import SnapshotRecord
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.tree.display import display_path
from chunkstore.tree.patterns import Rule, Rules

_WAITING = 10_000
"""Directories that are held until something below them is taken; others are looked up again."""


class Placed(NamedTuple):
    """An entry and its place below the target, empty for the target itself."""

    relative: bytes
    found: ManifestEntry


def require(manifest: ManifestReader, path: bytes) -> ManifestEntry:
    """The entry of this path; `PathNotFound` with what to look at."""
    found = manifest.find(path)
    if found is None:
        raise PathNotFound(f"{display_path(path)} is not in the snapshot; `chunkstore ls` shows what is")
    return found


def base_of(record: SnapshotRecord, path: bytes | None) -> bytes | None:
    """The original path whose contents land directly in the target: `path`, or the one root; None of several roots."""
    return path if path is not None else record.roots[0] if len(record.roots) == 1 else None


def select(
    manifest: ManifestReader, record: SnapshotRecord, path: bytes | None, rules: Sequence[Rule] = ()
) -> Iterator[Placed]:
    """The entries below `path`, an original absolute path, or all of them, with their places; of these what `Taking`
    takes by `rules`.

    The contents of the one root, or of a directory `path`, land directly in the target; a file lands under its name;
    several roots land at their absolute paths.
    """
    base = base_of(record, path)
    entries = _placed(manifest, base)
    return taken(entries, Taking(rules, base), manifest) if rules else entries


def _placed(manifest: ManifestReader, base: bytes | None) -> Iterator[Placed]:
    if base is None:
        for found in manifest.entries():
            yield Placed(found.path[1:], found)
        return
    top = require(manifest, base)
    if top.entry.kind != DIRECTORY:
        yield Placed(top.entry.name, top)
        return
    yield Placed(b"", top)
    skip = len(base) if base == b"/" else len(base) + 1
    for found in manifest.below(base):
        yield Placed(found.path[skip:], found)


# -- rules


class Inside(Enum):
    """What is taken of what is in a directory."""

    ALL = "all"
    """Everything that no rule excludes."""
    SOME = "some"
    """What a rule includes."""
    NOTHING = "nothing"


class Taking:
    """What ordered rules take, by original absolute paths, which come sorted as in a manifest.

    The last rule that matches decides. What none matches goes with the directory it is in; at the top it is taken
    unless the first rule is an include. Nothing below an excluded directory is taken. Excludes do not count for
    `base`, which was asked for by name, and the directories above it.
    """

    def __init__(self, rules: Sequence[Rule], base: bytes | None) -> None:
        self._rules = Rules(rules)
        self._base = base
        self._path: list[tuple[bytes, Inside]] = [(b"/", Inside.SOME if rules and rules[0].include else Inside.ALL)]

    def inside(self, directory: bytes) -> Inside:
        """What is taken of the contents of a directory."""
        stack = self._path
        while not _holds(stack[-1][0], directory):
            stack.pop()
        path, state = stack[-1]
        if path != directory:
            for name in directory[len(path) :].split(b"/"):
                if name:
                    path = join(path, name)
                    state = self._step(state, path)
                    stack.append((path, state))
        return state

    def directory(self, parent: bytes, name: bytes) -> Inside:
        """`inside` of a directory in `parent`, without going there."""
        return self._step(self.inside(parent), join(parent, name)) if name else self.inside(parent)

    def takes(self, parent: bytes, name: bytes) -> bool:
        """Whether something that is no directory is taken."""
        above = self.inside(parent)
        if above is Inside.NOTHING:
            return False
        said = self._rules.included(join(parent, name), directory=False)
        if said is None:
            return above is Inside.ALL
        return said or self._asked_for(join(parent, name))

    def _step(self, above: Inside, path: bytes) -> Inside:
        if above is Inside.NOTHING:
            return above
        said = self._rules.included(path, directory=True)
        if said is None or (not said and self._asked_for(path)):
            return above
        return Inside.ALL if said else Inside.NOTHING

    def _asked_for(self, path: bytes) -> bool:
        return self._base is not None and _holds(path, self._base)


def _holds(directory: bytes, path: bytes) -> bool:
    """Whether `path` is `directory` or below it."""
    return path == directory or path.startswith(directory if directory == b"/" else directory + b"/")


def taken(entries: Iterable[Placed], taking: Taking, manifest: ManifestReader) -> Iterator[Placed]:
    """Of `entries`, in manifest order, what is taken, and before it the directories on the way to it."""
    waiting = _Waiting(manifest)
    for placed in entries:
        parent, entry = placed.found.parent, placed.found.entry
        if entry.kind != DIRECTORY:
            is_taken = taking.takes(parent, entry.name)
        else:
            state = taking.directory(parent, entry.name)
            is_taken = state is Inside.ALL
            if state is Inside.SOME:
                waiting.add(placed)
        if is_taken:
            if taking.inside(parent) is Inside.SOME:
                yield from waiting.leading_to(placed)
            yield placed


@dataclass(slots=True)
class _Level:
    """Directories in `parent` that wait. `left`: the last one that does not any more. `full`: some are not held."""

    parent: bytes
    held: dict[bytes, Placed] = field(default_factory=dict)
    left: bytes | None = None
    full: bool = False


class _Waiting:
    """Directories that are restored only when something below them is."""

    def __init__(self, manifest: ManifestReader) -> None:
        self._manifest = manifest
        self._top: Placed | None = None
        self._levels: list[_Level] = []
        self._count = 0

    def add(self, placed: Placed) -> None:
        if not placed.relative:
            self._top = placed
            return
        self._leave(placed.found.parent)
        if not self._levels or self._levels[-1].parent != placed.found.parent:
            self._levels.append(_Level(placed.found.parent))
        level = self._levels[-1]
        if self._count < _WAITING:
            level.held[placed.found.entry.name] = placed
            self._count += 1
        else:
            level.full = True

    def leading_to(self, placed: Placed) -> Iterator[Placed]:
        """The directories above `placed` that wait, the topmost first; they do not wait any more."""
        if self._top and placed.relative:
            yield self._top
            self._top = None
        parent = placed.found.parent
        self._leave(parent)
        skip = len(placed.found.path) - len(placed.relative)
        for level in self._levels:
            if level.parent == parent:
                return
            name = parent[len(level.parent) :].lstrip(b"/").split(b"/", 1)[0]
            if name == level.left:
                continue
            level.left = name
            if (held := level.held.pop(name, None)) is not None:
                self._count -= 1
                yield held
            elif level.full and (found := self._manifest.find(join(level.parent, name))) is not None:
                yield Placed(found.path[skip:], found)

    def _leave(self, parent: bytes) -> None:
        """Forget what waits in directories that `parent` is not in, and siblings that it is past."""
        while self._levels and not _holds(self._levels[-1].parent, parent):
            self._count -= len(self._levels.pop().held)
        for level in self._levels:
            name = parent[len(level.parent) :].lstrip(b"/").split(b"/", 1)[0]
            while name and level.held and (first := next(iter(level.held))) < name:
                del level.held[first]
                self._count -= 1
