"""Rules about paths: what is included and what is excluded, the last rule that matches decides.

As in gitignore nothing below an excluded directory is looked at: who walks does not go in, and who has paths alone asks
`Rules.takes`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from chunkstore.errors import InvalidArgument
from chunkstore.tree.display import display_path
from chunkstore.tree.globs import Glob, translate

_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Rule:
    """A gitignore glob without `!`. With a slash at its beginning or within it is a path from where the rules begin.

    A slash at its end means directories only. `source` says to people what was written where.
    """

    pattern: bytes
    include: bool
    ignore_case: bool = False
    source: str = ""

    def __str__(self) -> str:
        return self.source or display_path(self.pattern)

    @property
    def directories_only(self) -> bool:
        return self.pattern.endswith(b"/")

    def glob(self) -> Glob:
        """The rule translated; `InvalidArgument` where it can match nothing."""
        return translate(self.pattern.removesuffix(b"/"), ignore_case=self.ignore_case)


class Rules:
    """Ordered rules, compiled; raises `InvalidArgument` for one that can match nothing."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._of_directories: list[tuple[bool, _Matcher]] = []
        self._of_others: list[tuple[bool, _Matcher]] = []
        for group in reversed(list(_folded(self._rules))):
            globs = [(rule, _glob(rule)) for rule in group]
            self._of_directories.append((group[0].include, _Matcher([glob for _, glob in globs])))
            others = [glob for rule, glob in globs if not rule.directories_only]
            if others:
                self._of_others.append((group[0].include, _Matcher(others)))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def included(self, path: bytes, directory: bool, start: int = 1) -> bool | None:
        """What the last matching rule says; None where none matches. What is said of the directories above is not asked.

        `path` is absolute; the rules begin at its byte `start`, which follows a slash.
        """
        name = path[path.rfind(b"/") + 1 :]
        for include, matcher in self._of_directories if directory else self._of_others:
            if matcher.matches(path, start, name):
                return include
        return None

    def takes(self, path: bytes, directory: bool, *, otherwise: bool = True) -> bool:
        """Whether `path` is included, and no directory above it is excluded; `otherwise`: where no rule matches."""
        if self._excluded_above(path[: path.rfind(b"/")]):
            return False
        said = self.included(path, directory)
        return otherwise if said is None else said

    @functools.cached_property
    def _excluded_above(self) -> _Above:
        return _Above(self)

    def reason(self, path: bytes, directory: bool, start: int = 1) -> Rule | None:
        """The rule that decides. Slow: for people who want to know."""
        name = path[path.rfind(b"/") + 1 :]
        for rule in reversed(self._rules):
            if (directory or not rule.directories_only) and _Matcher([_glob(rule)]).matches(path, start, name):
                return rule
        return None


def _folded(rules: Sequence[Rule]) -> Iterator[list[Rule]]:
    """Neighbours that say the same: their order does not matter."""
    return (list(group) for _, group in groupby(rules, key=lambda rule: rule.include))


class _Above:
    """Whether a directory, or one above it, is excluded; remembers the last path, as paths come sorted."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._path, self._excluded = b"", False

    def __call__(self, path: bytes) -> bool:
        if path != self._path:
            self._path, self._excluded = (
                path,
                any(self._rules.included(path[:end], directory=True) is False for end in _ends(path)),
            )
        return self._excluded


def _ends(path: bytes) -> Iterator[int]:
    """Where the directories above `path` end, and `path` itself."""
    at = path.find(b"/", 1)
    while at >= 0:
        yield at
        at = path.find(b"/", at + 1)
    if path:
        yield len(path)


class _Matcher:
    """Globs of which any may match. Names and paths without wildcards are looked up, the others are one expression."""

    __slots__ = ("_name", "_names", "_path", "_paths")

    def __init__(self, globs: Sequence[Glob]) -> None:
        self._names = frozenset(glob.literal for glob in globs if glob.on_name and glob.literal is not None)
        self._paths = frozenset(glob.literal for glob in globs if not glob.on_name and glob.literal is not None)
        self._name = _any([glob.regex for glob in globs if glob.on_name and glob.literal is None])
        self._path = _any([glob.regex for glob in globs if not glob.on_name and glob.literal is None])

    def matches(self, path: bytes, start: int, name: bytes) -> bool:
        return bool(
            name in self._names
            or (self._name and self._name.match(name))
            or (self._paths and path[start:] in self._paths)
            or (self._path and self._path.match(path, start))
        )


def _any(regexes: Sequence[bytes]) -> re.Pattern[bytes] | None:
    return re.compile(b"|".join(regexes)) if regexes else None


def _glob(rule: Rule) -> Glob:
    try:
        return rule.glob()
    except InvalidArgument as e:
        raise InvalidArgument(f"{rule} is not a pattern: {e}") from e


# -- as they are written


@dataclass(frozen=True, slots=True)
class Line:
    """A pattern in a file of them: its number from 1, the pattern, and whether `!` stood before it."""

    number: int
    pattern: bytes
    negated: bool

    def __str__(self) -> str:
        return f"line {self.number}: {'!' * self.negated}{display_path(self.pattern)}"


def pattern_lines(data: bytes) -> Iterator[Line]:
    """The patterns of a file in the form of gitignore: blank lines and comments are none."""
    for number, line in enumerate(data.removeprefix(_UTF8_MARK).split(b"\n"), 1):
        pattern = _without_trailing_spaces(line.removesuffix(b"\r"))
        if pattern and not pattern.startswith(b"#"):
            yield Line(number, pattern.removeprefix(b"!"), pattern.startswith(b"!"))


def _without_trailing_spaces(line: bytes) -> bytes:
    """A space after a backslash is meant."""
    kept = line.rstrip(b" ")
    backslashes = len(kept) - len(kept.rstrip(b"\\"))
    return kept + b" " if backslashes % 2 and len(kept) < len(line) else kept


def parse_rules(data: bytes, source: str) -> tuple[Rule, ...]:
    """The rules of an ignore file, which begin at its directory. As with git a line that is no pattern matches nothing."""
    rules = (Rule(line.pattern, line.negated, source=f"{source}, {line}") for line in pattern_lines(data))
    return tuple(rule for rule in rules if _is_valid(rule))


def _is_valid(rule: Rule) -> bool:
    try:
        rule.glob()
    except InvalidArgument:
        return False
    return True


def command_rules(data: bytes, cwd: bytes, source: str) -> tuple[Rule, ...]:
    """The rules of a file that was named on the command line, each as `command_rule` has it; `!` includes."""
    return tuple(
        command_rule(line.pattern, line.negated, cwd, source=f"{source}, {line}") for line in pattern_lines(data)
    )


def command_rule(pattern: bytes, include: bool, cwd: bytes, *, ignore_case: bool = False, source: str = "") -> Rule:
    """A pattern as people give it on the command line: `/x` is a path, `./x` and `../x` are paths from `cwd`.

    All others match at any depth, also with a slash within. Raises `InvalidArgument` for what can match nothing.
    """
    first = pattern.split(b"/", 1)[0]
    if first in (b".", b"..") and pattern != first:
        pattern = _below(cwd, pattern)
    elif pattern and not pattern.startswith(b"/"):
        pattern = b"**/" + pattern
    rule = Rule(pattern, include, ignore_case, source)
    _glob(rule)
    return rule


def _below(cwd: bytes, pattern: bytes) -> bytes:
    """A pattern that begins with `./` or `../` as a path, in which the working directory has no wildcards."""
    rest = pattern
    while rest.startswith((b"./", b"../")):
        step, _, rest = rest.partition(b"/")
        if step == b"..":
            cwd = os.path.dirname(cwd)
    return re.sub(rb"([*?\[\\])", rb"\\\1", cwd.rstrip(b"/")) + b"/" + rest.lstrip(b"/")
