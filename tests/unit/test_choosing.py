"""tree/choosing.py on real directories: what of them a walk takes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.errors import InvalidArgument
from chunkstore.operations.snapshot.estimate import count
from chunkstore.tree.choosing import CACHE_SIGNATURE, Chooser, Choosing
from chunkstore.tree.patterns import Rule, command_rule, command_rules
from chunkstore.tree.walk import walk
from tests.engine import temporary_directory


@pytest.fixture
def base() -> Iterator[Path]:
    with temporary_directory() as path:
        yield path


def plant(base: Path, *names: str) -> None:
    """Files of one byte, and directories where a name ends with a slash."""
    for name in names:
        path = base / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")


class Taken:
    """What a walk takes with a choosing, relative to the directory, and what it says."""

    def __init__(self, base: Path, choosing: Choosing, spill_after: int = 1000, roots: tuple[str, ...] = ("",)) -> None:
        top = os.fsencode(base)
        self.errors: list[tuple[bytes, int]] = []
        self.left_out: dict[str, str] = {}
        self.paths: list[str] = []

        def on_error(path: bytes, error: OSError) -> None:
            self.errors.append((path.removeprefix(top + b"/"), error.errno or 0))

        def on_left_out(path: bytes, reason: str) -> None:
            self.left_out[os.fsdecode(path.removeprefix(top).lstrip(b"/"))] = reason

        chooser = Chooser(choosing, on_error, on_left_out)
        absolute = [os.path.normpath(os.path.join(top, os.fsencode(root))) for root in roots]
        for parent, children in walk(
            absolute, on_error=on_error, choice=chooser, spill_after=spill_after, scratch=str(base.parent)
        ):
            for name, _ in children:
                path = os.path.join(parent, name)
                if path.startswith(top + b"/"):
                    self.paths.append(os.fsdecode(path.removeprefix(top + b"/")))
        assert chooser.left_out >= len(self.left_out)


def take(base: Path, choosing: Choosing, **options: int) -> list[str]:
    """As `Taken`, where nothing goes wrong."""
    taken = Taken(base, choosing, **options)  # type: ignore[arg-type]
    assert not taken.errors
    return taken.paths


def rules(base: Path, *patterns: str) -> tuple[Rule, ...]:
    """As if given on the command line in the directory `base`; with `!` an --include."""
    return tuple(
        command_rule(os.fsencode(pattern.removeprefix("!")), pattern.startswith("!"), os.fsencode(base), source=pattern)
        for pattern in patterns
    )


class TestRules:
    @pytest.mark.parametrize(
        ("patterns", "expected"),
        [
            ((), ["a", "b.o", "d", "d/a", "d/b.o", "d/e", "d/e/a", "d/e/c.O"]),
            (("*.o",), ["a", "d", "d/a", "d/e", "d/e/a", "d/e/c.O"]),
            (("a",), ["b.o", "d", "d/b.o", "d/e", "d/e/c.O"]),
            (("./a",), ["b.o", "d", "d/a", "d/b.o", "d/e", "d/e/a", "d/e/c.O"]),
            (("e/a",), ["a", "b.o", "d", "d/a", "d/b.o", "d/e", "d/e/c.O"]),
            (("d/a",), ["a", "b.o", "d", "d/b.o", "d/e", "d/e/a", "d/e/c.O"]),
            (("a/", "e/"), ["a", "b.o", "d", "d/a", "d/b.o"]),
            (("d", "!d/a"), ["a", "b.o"]),
            (("./d/*", "!d/a"), ["a", "b.o", "d", "d/a"]),
            (("a", "!./d/a"), ["b.o", "d", "d/a", "d/b.o", "d/e", "d/e/c.O"]),
            (("a", "!a", "e/a"), ["a", "b.o", "d", "d/a", "d/b.o", "d/e", "d/e/c.O"]),
            (("*",), []),
        ],
    )
    def test_the_last_one_that_matches_counts(self, base: Path, patterns: tuple[str, ...], expected: list[str]) -> None:
        plant(base, "a", "b.o", "d/a", "d/b.o", "d/e/a", "d/e/c.O")
        assert take(base, Choosing(rules=rules(base, *patterns))) == expected

    def test_an_absolute_pattern_and_one_from_the_directory_above(self, base: Path) -> None:
        plant(base, "a", "d/a", "d/e/a")
        assert take(base, Choosing(rules=rules(base, f"{base}/d/a"))) == ["a", "d", "d/e", "d/e/a"]
        assert take(base, Choosing(rules=rules(base / "d" / "e", "../a", "./a"))) == ["a", "d", "d/e"]

    def test_wildcards_in_the_name_of_the_working_directory_are_none(self, base: Path) -> None:
        plant(base, "[d]*/a", "d/a")
        assert take(base, Choosing(rules=rules(base / "[d]*", "./a"))) == ["[d]*", "d", "d/a"]

    def test_letters_in_either_case(self, base: Path) -> None:
        plant(base, "a.JPG", "a.jpg", "B/x", "b/x", "\xe4", "\xc4")
        either = [command_rule(p, False, b"/", ignore_case=True) for p in (b"*.jpg", b"b", b"[\xc4]")]
        assert sorted(take(base, Choosing(rules=tuple(either)))) == ["\xc4", "\xe4"]

    def test_roots_are_never_excluded(self, base: Path) -> None:
        plant(base, "a", "d/a", "d/b")
        choosing = Choosing(rules=rules(base, "a", "d", "b"))
        assert Taken(base, choosing, roots=("a", "d")).paths == ["a", "d"]

    def test_the_first_excluded_directory_hides_all_below(self, base: Path) -> None:
        plant(base, "d/keep", "d/e/keep")
        assert take(base, Choosing(rules=rules(base, "d", "!keep"))) == []

    def test_a_file_of_patterns(self, base: Path) -> None:
        plant(base, "a", "#b", "d/a", "d/c ")
        lines = b"# a remark\n\na\r\n!./d/a\n\\#b\nc\\ \n"
        assert take(base, Choosing(rules=command_rules(lines, os.fsencode(base), "x"))) == ["d", "d/a"]

    @pytest.mark.parametrize("pattern", ["", "/", "[a", "a\\", "a//b", "./", "[[:nope:]]"])
    def test_what_can_match_nothing_is_refused(self, pattern: str) -> None:
        with pytest.raises(InvalidArgument):
            command_rule(pattern.encode(), False, b"/")
        if pattern:
            with pytest.raises(InvalidArgument, match="line 2"):
                command_rules(b"a\n" + pattern.encode(), b"/", "a file")

    def test_any_bytes(self, base: Path) -> None:
        for name in (b"\xff\xfe", b"new\nline", b"line", b"voil\xc3\xa0", b"\xa0"):
            Path(os.fsdecode(os.fsencode(base) + b"/" + name)).touch()
        excluded = tuple(command_rule(p, False, b"/") for p in (b"\xff?", b"line", b"voil\xc3\xa0"))
        assert [os.fsencode(p) for p in take(base, Choosing(rules=excluded))] == [b"new\nline", b"\xa0"]

    def test_the_reason_is_the_rule(self, base: Path) -> None:
        plant(base, "a", "d/b", "e/", "f.o")
        (base / ".chunkstoreignore").write_text("\n*.o\n")
        taken = Taken(base, Choosing(rules=rules(base, "a", "b", "!nothing", "e/")))
        assert taken.left_out == {
            "a": "a",
            "d/b": "b",
            "e/": "e/",
            "f.o": f"{base}/.chunkstoreignore, line 2: *.o",
        }


class TestIgnoreFiles:
    def test_deeper_ones_win_and_the_command_line_wins_over_all(self, base: Path) -> None:
        plant(base, "a", "b", "c", "d/a", "d/b", "d/c", "d/e/a", "d/e/b", "d/e/c", "f/a", "f/b")
        (base / ".chunkstoreignore").write_text("a\nb\n")
        (base / "d" / ".chunkstoreignore").write_text("!a\nc\n")
        (base / "d" / "e" / ".chunkstoreignore").write_text("a\n!c\n")
        found = [path for path in take(base, Choosing()) if "ignore" not in path]
        assert found == ["c", "d", "f", "d/a", "d/e", "d/e/c"]
        found = [path for path in take(base, Choosing(rules=rules(base, "c", "!b"))) if "ignore" not in path]
        assert found == ["b", "d", "f", "d/a", "d/b", "d/e", "d/e/b", "f/b"]

    def test_they_can_be_switched_off(self, base: Path) -> None:
        plant(base, "a")
        (base / ".chunkstoreignore").write_text("*\n")
        assert take(base, Choosing()) == []
        assert take(base, Choosing(ignore_files=False)) == [".chunkstoreignore", "a"]

    def test_a_slash_within_ties_a_pattern_to_the_directory(self, base: Path) -> None:
        plant(base, "x/d/e", "x/f/d/e", "x/g")
        (base / "x" / ".chunkstoreignore").write_text("d/e\n/g\n")
        assert take(base, Choosing()) == ["x", "x/.chunkstoreignore", "x/d", "x/f", "x/f/d", "x/f/d/e"]

    @pytest.mark.parametrize("spill_after", [1, 3, 1000])
    def test_in_huge_directories_too(self, base: Path, spill_after: int) -> None:
        plant(base, *(f"{n}.o" for n in range(9)), "keep", "d/a.o", "d/b")
        (base / ".chunkstoreignore").write_text("*.o\n")
        assert take(base, Choosing(), spill_after=spill_after) == [".chunkstoreignore", "d", "keep", "d/b"]

    @pytest.mark.parametrize("kind", ["link", "fifo", "directory", "large"])
    def test_what_is_no_ignore_file_is_reported_and_everything_is_stored(self, base: Path, kind: str) -> None:
        plant(base, "d/a", "rules")
        (base / "rules").write_text("a\n")
        path = base / "d" / ".chunkstoreignore"
        if kind == "link":
            path.symlink_to("../rules")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        else:
            path.write_bytes(b"a\n" + b"#" * 70_000)
        taken = Taken(base, Choosing())
        assert taken.paths == ["d", "rules", "d/.chunkstoreignore", "d/a"]
        expected = {"link": errno.ELOOP, "large": errno.EFBIG}.get(kind, errno.EINVAL)
        assert taken.errors == [(b"d/.chunkstoreignore", expected)]

    def test_a_hostile_pattern_costs_little(self, base: Path) -> None:
        plant(base, *("a" * 200 + str(n) for n in range(20)), "/".join(["a"] * 300))
        lines = ["*a" * 40 + "b", "**/a/" * 40 + "b", "*" * 5000 + "b", "a/**/" * 50 + "c", "[a-z]*" * 60 + "_"]
        (base / ".chunkstoreignore").write_text("\n".join(lines))
        assert len(take(base, Choosing())) == 321

    @pytest.mark.skipif(not shutil.which("git"), reason="git is not here")
    def test_nested_ones_mean_what_nested_gitignore_files_mean(self, base: Path) -> None:
        names = ["a", "b.o", "c.d/e", "x/a", "x/b.o", "x/c.d/e", "x/y/a", "x/y/b.o", "x/y/c.d/e", "x/y/z/a"]
        files = {"": "*.o\n/a\nc.d/\n", "x": "!b.o\ny/a\n", "x/y": "!c.d\n/z/*\n!a\n", "x/y/z": "!a\n"}
        plant(base, *names)
        for where, text in files.items():
            (base / where / ".chunkstoreignore").write_text(text)
            (base / where / ".gitignore").write_text(text)
        subprocess.run(["git", "init", "-q", base], check=True)
        ignored = subprocess.run(
            ["git", "check-ignore", "-z", "--no-index", "--stdin"],
            input="\0".join(names).encode(), cwd=base, capture_output=True, check=True,
        ).stdout.decode().split("\0")  # fmt: skip
        shutil.rmtree(base / ".git")
        assert [name for name in names if name not in take(base, Choosing())] == [n for n in names if n in ignored]


class TestTags:
    @pytest.mark.parametrize("spill_after", [1, 1000])
    def test_of_a_tagged_directory_only_the_tag_is_taken(self, base: Path, spill_after: int) -> None:
        plant(base, "d/.nobackup", "d/a", "d/e/f", "g/.nobackup/h", "g/a", "i/a", ".other")
        choosing = Choosing(if_present=(b".nobackup", b".never"))
        expected = [".other", "d", "g", "i", "d/.nobackup", "g/.nobackup", "i/a"]
        assert take(base, choosing, spill_after=spill_after) == expected

    def test_roots_can_be_tagged(self, base: Path) -> None:
        plant(base, "tag", "a")
        assert take(base, Choosing(if_present=(b"tag",))) == ["tag"]

    def test_several_tags_are_all_taken_and_rules_count_for_them(self, base: Path) -> None:
        plant(base, "d/one", "d/two", "d/a")
        assert take(base, Choosing(if_present=(b"one", b"two"))) == ["d", "d/one", "d/two"]
        assert take(base, Choosing(if_present=(b"one", b"two"), rules=rules(base, "two"))) == ["d", "d/one"]

    def test_caches_need_the_signature(self, base: Path) -> None:
        plant(base, "cache/a", "fake/a", "short/a", "fifo/a")
        (base / "cache" / "CACHEDIR.TAG").write_bytes(CACHE_SIGNATURE + b"\n# made by a test\n")
        (base / "fake" / "CACHEDIR.TAG").write_bytes(b"Signature: 0a477f597d28d172789f06886806bc55")
        (base / "short" / "CACHEDIR.TAG").write_bytes(CACHE_SIGNATURE[:-1])
        os.mkfifo(base / "fifo" / "CACHEDIR.TAG")
        taken = Taken(base, Choosing(caches=True))
        assert [path for path in taken.paths if path.endswith("/a")] == ["fake/a", "fifo/a", "short/a"]
        assert "cache/CACHEDIR.TAG" in taken.paths
        assert taken.errors == [(b"fifo/CACHEDIR.TAG", errno.EINVAL)]
        assert list(taken.left_out) == ["cache/"]
        assert "cache/a" in take_all(base)

    def test_the_tag_is_what_the_specification_says(self) -> None:
        assert len(CACHE_SIGNATURE) == 43


def take_all(base: Path) -> list[str]:
    return take(base, Choosing())


class TestLimits:
    def test_size_is_of_regular_files_alone(self, base: Path) -> None:
        plant(base, "d/small", "e/")
        (base / "d" / "exact").write_bytes(b"x" * 100)
        (base / "d" / "large").write_bytes(b"x" * 101)
        (base / "d" / "link").symlink_to("x" * 150)
        assert take(base, Choosing(larger_than=100)) == ["d", "e", "d/exact", "d/link", "d/small"]
        assert take(base, Choosing(larger_than=0)) == ["d", "e", "d/link"]

    def test_directories_of_our_own(self, base: Path) -> None:
        plant(base, "cache/a", "cache/b/c", "d/a")
        status = (base / "cache").stat()
        assert take(base, Choosing(leave_out=frozenset({(status.st_dev, status.st_ino)}))) == ["d", "d/a"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
    def test_one_file_system(self, base: Path) -> None:
        plant(base, "d/here/", "d/a", "file", "other")
        mounts = [["-t", "tmpfs", "none", base / "d" / "here"], ["--bind", "/proc/version", base / "file"]]
        done = 0
        try:
            for mount in mounts:
                if subprocess.run(["mount", *mount], capture_output=True, check=False).returncode:
                    pytest.skip("nothing can be mounted here")
                done += 1
            plant(base, "d/here/inside")
            choosing = Choosing(one_file_system=True)
            assert Taken(base, choosing).paths == ["d", "other", "d/a", "d/here"]
            assert Taken(base, Choosing()).paths == ["d", "file", "other", "d/a", "d/here", "d/here/inside"]
            assert Taken(base, choosing, roots=("d/here", "other")).paths == ["d", "other", "d/here", "d/here/inside"]
        finally:
            for mount in reversed(mounts[:done]):
                subprocess.run(["umount", mount[-1]], check=True)


def test_the_estimate_counts_what_is_chosen(base: Path) -> None:
    plant(base, "a", "b.o", "d/c.o", "d/e")
    (base / "d" / ".chunkstoreignore").write_text("e\n")
    root = [os.path.realpath(os.fsencode(base))]
    assert count(root, Choosing(rules=rules(base, "*.o")), lambda: False) == (2, 3)
    assert count(root, Choosing(ignore_files=False), lambda: False) == (5, 6)
    assert count(root, Choosing(), lambda: True) is None


def test_an_unreadable_directory_unsettles_nothing(base: Path) -> None:
    """Its ignore files are not read, and those beside it do not count for what comes later."""
    plant(base, "a/x", "b/x", "c/x")
    for name in "abc":
        (base / name / ".chunkstoreignore").write_text("y\n" if name == "c" else "x\n")
    assert take(base, Choosing()) == [
        "a", "b", "c", "a/.chunkstoreignore", "b/.chunkstoreignore", "c/.chunkstoreignore", "c/x",
    ]  # fmt: skip
