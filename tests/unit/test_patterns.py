"""tree/globs.py and tree/patterns.py: what a pattern means is what git means by it."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from chunkstore.errors import InvalidArgument
from chunkstore.tree.globs import translate
from chunkstore.tree.patterns import Rule, Rules, command_rule, command_rules, parse_rules, pattern_lines
from tests.engine import temporary_directory

FILES = [
    b"a", b"b", b"foo", b"foo.o", b"bar.O", b"x/a", b"x/foo", b"x/y/a", b"x/y/foo.o", b"x/y/z/foo", b"x/y/z/a/b",
    b"foo.d/bar", b"foo.d/foo.d/b", b"d/foo/bar/baz", b"d/foo/x/bar", b"d/e/foo", b"new\nline", b"foo\n", b"sp ace",
    b"tail ", b"tab\t", b"#hash", b"!bang", b"back\\slash", b"star*", b"[a]", b"a]", b"-", b"a-b", b"abc", b"aXc",
    "voil\N{LATIN SMALL LETTER A WITH GRAVE}".encode(), b"\xff\xfe", b"q?", b"$", b"x$", b"^", b"(", b"deep/1/2/3/4",
    b".hidden", b".d/.e", b"A", b"5", b"a.b.c.d", b"aaaaab", b"x|y",
]  # fmt: skip

PATTERNS = [
    b"a", b"/a", b"a/", b"foo", b"/foo", b"foo*", b"*foo", b"*.o", b"*.[oO]", b"*.[!o]", b"*.[^o]", b"x/a", b"/x/a",
    b"x/", b"x/*", b"x/**", b"x/**/", b"**", b"**/", b"*", b"*/", b"/*", b"/**", b"**/a", b"**/foo/", b"**/x/a",
    b"x/**/a", b"x/**/foo*", b"d/**/bar", b"**/foo/**", b"**/foo/**/bar", b"foo/bar", b"d/foo/bar", b"foo.d",
    b"foo.d/", b"/foo.d/foo.d", b"x/*/a", b"x/*/*/a", b"*/foo", b"*/*/foo", b"?", b"??", b"???", b"a?c", b"[a]",
    b"\\[a]", b"[]a]", b"a[]]", b"[!a]", b"[a-c]", b"[c-a]", b"[a-]", b"[-a]", b"[]-a]", b"[[:alpha:]]", b"[[:digit:]]",
    b"[![:alpha:]]", b"[[:nope:]]", b"[[:alpha:]", b"[a", b"[", b"a\\", b"\\a", b"\\#hash", b"#hash", b"\\!bang",
    b"star\\*", b"star[*]", b"q\\?", b"back\\\\slash", b"back[\\\\]slash", b"new*", b"foo\\\n", b"sp ace", b"tail\\ ",
    b"tail ", b"tab\t", b"x/y/", b"x//y", b"x/y//", b"/", b"//", b"///a", b"***", b"a**", b"**a", b"a**c", b"x/**a",
    b"x/a**", b"**/**", b"**/**/a", b"x/**/**/a", b"*a*a*a*b", b"a*.*.*d", b"*.*.*", b"[a-c]*[a-c]", b"$", b"x$", b"^",
    b"[\\^]", b"[^^]", b"(", b"x|y", b"[x/]a", b"x[/]a", b"x?a", b"x[!q]a", "voil\N{LATIN SMALL LETTER A WITH GRAVE}".encode(),
    b"voil??", b"\xff*", b"[\xff]\xfe", b"[\x80-\xff]*", b".*", b".d/.*", b"deep/**", b"deep/**/4", b"deep/*/*/*/4",
    b"deep/*/4", b"**/2/**", b"**/2/*", b"/**/3/4", b"a/**", b"a/**/b", b"x/y/z/**/b", b"[[]a[]]", b"[a\\]", b"[\\a]",
    b"[a\\-c]", b"[--a]", b"[[:space:][:punct:]]*", b"[[:alpha:]-z]", b"[[.a.]]", b"[[:]", b"foo.d/**/b", b"\xef\xbb\xbfa",
    b"!a", b"!", b"\\", b" ", b"\\ ", b"a ", b" a",
]  # fmt: skip

SETS = [
    [b"*", b"!foo"], [b"*", b"!*/", b"!foo"], [b"x", b"!x/a"], [b"x/*", b"!x/y", b"x/y/*", b"!x/y/z"],
    [b"*.o", b"!foo.o"], [b"!foo.o", b"*.o"], [b"foo", b"!/foo"], [b"d/**", b"!d/e"], [b"/*", b"!/d", b"/d/*", b"!/d/foo"],
    [b"a", b"!a", b"a"], [b"foo.d/", b"!foo.d"], [b"**/foo/**", b"!**/foo/**/bar"], [b"*", b"!x/", b"!x/**"],
]  # fmt: skip


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    with temporary_directory() as base:
        top = os.fsencode(base)
        for file in FILES:
            os.makedirs(os.path.dirname(os.path.join(top, file)), exist_ok=True)
            Path(os.fsdecode(os.path.join(top, file))).touch()
        if shutil.which("git"):
            subprocess.run(["git", "init", "-q", base], check=True)
        yield base


def everything(tree: Path) -> list[tuple[bytes, bool]]:
    """Relative paths, and whether they are directories."""
    top = os.fsencode(tree)
    found = []
    for directory, directories, files in os.walk(top):
        if b".git" in directories:
            directories.remove(b".git")
        for names, is_directory in ((directories, True), (files, False)):
            found += [(os.path.relpath(os.path.join(directory, name), top), is_directory) for name in names]
    return sorted(found)


def ignored_by_git(tree: Path, lines: bytes, paths: Sequence[bytes]) -> set[bytes]:
    rules = tree / ".git" / "rules"
    rules.write_bytes(lines)
    command = ["git", "-c", f"core.excludesFile={rules}", "check-ignore", "-z", "--no-index", "--stdin"]
    done = subprocess.run(command, input=b"\0".join(paths) + b"\0", cwd=tree, capture_output=True, check=False)
    assert done.returncode in (0, 1), done
    return set(done.stdout.split(b"\0")) - {b""}


def ignored_by_us(lines: bytes, paths: Sequence[tuple[bytes, bool]]) -> set[bytes]:
    rules = Rules(parse_rules(lines, "rules"))
    return {path for path, directory in paths if not rules.takes(b"/" + path, directory)}


def compare(tree: Path, lines: bytes) -> None:
    paths = everything(tree)
    assert ignored_by_us(lines, paths) == ignored_by_git(tree, lines, [path for path, _ in paths]), lines


@pytest.mark.skipif(not shutil.which("git"), reason="git is not here")
class TestAsGit:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_one_pattern(self, tree: Path, pattern: bytes) -> None:
        compare(tree, pattern + b"\n")

    @pytest.mark.parametrize("rules", SETS)
    def test_several_rules(self, tree: Path, rules: list[bytes]) -> None:
        compare(tree, b"\n".join(rules) + b"\n")

    @pytest.mark.parametrize("lines", [b"a\r\nfoo \r\n", b"\xef\xbb\xbffoo\n", b"foo", b"", b"\n\n", b"# x\n\n  \n!a"])
    def test_lines(self, tree: Path, lines: bytes) -> None:
        compare(tree, lines)

    def test_random_rules(self, tree: Path) -> None:
        dice = random.Random(5)
        pieces = [
            b"a",
            b"b",
            b"foo",
            b"x",
            b"y",
            b"d",
            b"*",
            b"**",
            b"?",
            b"/",
            b"/",
            b"[a-f]",
            b"[!a]",
            b".",
            b"o",
            b"\\",
        ]
        for _ in range(200):
            lines = []
            for _ in range(dice.randrange(1, 6)):
                pattern = b"".join(dice.choice(pieces) for _ in range(dice.randrange(1, 6)))
                if not re.search(rb"[^/]\*\*/", pattern):  # git compares pointers into two texts there
                    lines.append(dice.choice((b"", b"", b"!")) + pattern)
            compare(tree, b"\n".join(lines))


class TestRules:
    @pytest.mark.parametrize(
        ("pattern", "literal", "on_name"),
        [
            (b"a.o", b"a.o", True),
            (b"**/a", b"a", True),
            (b"/a", b"a", False),
            (b"a/b", b"a/b", False),
            (b"a\\*\\b", b"a*b", True),
            (b"a*", None, True),
            (b"[a]", None, True),
            (b"a/**", None, False),
            (b"**", None, False),
            (b"\n \xff", b"\n \xff", True),
        ],
    )
    def test_what_has_no_wildcards_is_looked_up(self, pattern: bytes, literal: bytes | None, on_name: bool) -> None:
        glob = translate(pattern)
        assert (glob.literal, glob.on_name) == (literal, on_name)
        assert translate(pattern, ignore_case=True).literal is None

    def test_no_rule_says_nothing(self) -> None:
        assert Rules([]).included(b"/a", directory=False) is None
        assert not Rules([])
        rules = Rules([Rule(b"a", include=False), Rule(b"b/", include=True)])
        assert rules.included(b"/x/a", directory=True) is False
        assert rules.included(b"/x/b", directory=True) is True
        assert rules.included(b"/x/b", directory=False) is None
        assert rules.reason(b"/x/b", directory=True) == Rule(b"b/", include=True)
        assert rules.reason(b"/x/b", directory=False) is None

    def test_rules_can_begin_anywhere(self) -> None:
        rules = Rules([Rule(b"/x/a", include=False), Rule(b"y/*", include=False)])
        assert rules.included(b"/base/x/a", directory=False, start=6) is False
        assert rules.included(b"/base/y/a", directory=False, start=6) is False
        assert rules.included(b"/base/x/a", directory=False) is None

    def test_whole_paths_ask_for_every_directory_above(self) -> None:
        rules = Rules([command_rule(b"cache", False, b"/"), command_rule(b"keep", True, b"/")])
        assert not rules.takes(b"/cache/keep", directory=False)
        assert not rules.takes(b"/a/cache/b/c", directory=False)
        assert not rules.takes(b"/cache", directory=True)
        assert rules.takes(b"/a/b", directory=False)
        assert rules.takes(b"/a/keep", directory=False, otherwise=False)
        assert not rules.takes(b"/a/b", directory=False, otherwise=False)
        assert rules.takes(b"/", directory=True)

    def test_letters_in_either_case(self) -> None:
        rules = Rules([Rule(b"[!a]x", include=False, ignore_case=True), Rule(b"*.Jpg", False, ignore_case=True)])
        said = {name: rules.included(b"/" + name, directory=False) for name in (b"bX", b"Ax", b"aX", b"BX", b"1.JPG")}
        assert said == {b"bX": False, b"Ax": None, b"aX": None, b"BX": False, b"1.JPG": False}

    def test_many_literal_rules_are_one_look_up(self) -> None:
        rules = Rules([Rule(b"/data/%d" % n, include=False) for n in range(10_000)])
        assert sum(rules.included(b"/data/%d" % n, directory=False) is None for n in range(12_000)) == 2_000

    def test_an_error_says_where_the_pattern_stands(self) -> None:
        with pytest.raises(InvalidArgument, match=r"line 3: \[a is not a pattern: a bracket is not closed"):
            command_rules(b"#\n\n[a\n", b"/", "the file")
        with pytest.raises(InvalidArgument, match="nothing is between two slashes"):
            command_rule(b"a//b", False, b"/")

    def test_lines(self) -> None:
        lines = [(line.number, line.pattern, line.negated) for line in pattern_lines(b"a\n\n#\n!b \r\n\\ \n \n\\!c")]
        assert lines == [(1, b"a", False), (4, b"b", True), (5, b"\\ ", False), (7, b"\\!c", False)]
