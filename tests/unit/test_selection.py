"""Which entries rules take: against a model that looks at one path at a time."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from chunkstore.format.entries import DIRECTORY, FILE, Entry, components, sort_key
from chunkstore.format.tree_nodes import SegmentRef
from chunkstore.ids import ChunkId
from chunkstore.operations import selection
from chunkstore.operations.selection import Placed, Taking, taken
from chunkstore.repository.manifest_reader import ManifestEntry
from chunkstore.tree.patterns import Rule, Rules, command_rule

NAMES = (b"a", b"b", b"c.txt", b"d.jpg", b"a-b", b"b.d")
PATTERNS = ("a", "b/", "*.txt", "*.jpg", "/root/a", "/root/b/**", "a-b", "**/a/b", "*", "b.d/", "/root", "/")


def rules(*patterns: str) -> list[Rule]:
    """`-x` excludes x, `+x` includes it."""
    return [command_rule(os.fsencode(each[1:]), each[0] == "+", b"/") for each in patterns]


def placed(path: bytes, kind: int, base: bytes) -> Placed:
    parent, _, name = path.rpartition(b"/")
    entry = Entry(name, kind, 0, 0, 0, 0, 0, 0, 0, 0, None)
    found = ManifestEntry(parent or b"/", entry, SegmentRef(ChunkId(b""), 0, ()), 0)
    return Placed(path[len(base) :].lstrip(b"/"), found)


class Manifest:
    """Finds entries again; counts how often."""

    def __init__(self, entries: list[Placed]) -> None:
        self._entries = {each.found.path: each.found for each in entries}
        self.found = 0

    def find(self, path: bytes) -> ManifestEntry | None:
        self.found += 1
        return self._entries.get(path)


def take(entries: list[Placed], chosen: list[Rule], base: bytes | None) -> list[bytes]:
    return [each.found.path for each in taken(entries, Taking(chosen, base), Manifest(entries))]  # type: ignore[arg-type]


def expected(entries: list[Placed], chosen: list[Rule], base: bytes) -> set[bytes]:
    """From the definition: the last rule that matches, below directories that are not excluded."""
    compiled = Rules(chosen)
    kinds = {each.found.path: each.found.entry.kind for each in entries}

    def state(path: bytes) -> str:
        above = state(os.path.dirname(path)) if path != b"/" else ("some" if chosen[0].include else "all")
        if path == b"/" or above == "nothing":
            return above
        said = compiled.included(path, kinds.get(path, DIRECTORY) == DIRECTORY)
        if said is None or (said is False and (base + b"/").startswith(path + b"/")):
            return above
        return "all" if said else "nothing"

    wanted = {path for path in kinds if state(path) == "all"}
    return wanted | {path for path in kinds if any(each.startswith(path + b"/") for each in wanted)}


def make(random: Random) -> list[Placed]:
    paths = {b"/root": DIRECTORY}
    directories = [b"/root"]
    for _ in range(40):
        path = random.choice(directories) + b"/" + random.choice(NAMES)
        if path not in paths:
            paths[path] = random.choice((FILE, FILE, DIRECTORY))
            if paths[path] == DIRECTORY:
                directories.append(path)
    ordered = sorted(paths, key=lambda path: sort_key(os.path.dirname(path), os.path.basename(path)))
    return [placed(path, paths[path], b"/root") for path in ordered]


@pytest.mark.parametrize("waiting", [0, 2, 10_000])
@pytest.mark.parametrize("seed", range(150))
def test_what_is_taken(monkeypatch: pytest.MonkeyPatch, seed: int, waiting: int) -> None:
    monkeypatch.setattr(selection, "_WAITING", waiting)
    random = Random(seed)
    entries = make(random)
    chosen = rules(*(random.choice("+-") + random.choice(PATTERNS[:-1]) for _ in range(random.randrange(1, 5))))
    found = take(entries, chosen, b"/root")
    assert len(found) == len(set(found))
    assert set(found) == expected(entries, chosen, b"/root")
    for at, path in enumerate(found):  # a directory comes before what is in it
        parent = os.path.dirname(path)
        assert parent == b"/" or parent in found[:at]


@pytest.mark.parametrize("seed", range(20))
def test_without_includes_the_order_is_that_of_the_manifest(seed: int) -> None:
    random = Random(seed)
    entries = make(random)
    found = take(entries, rules("-a", "-*.txt", "-b.d/"), b"/root")
    assert found == sorted(found, key=lambda path: sort_key(os.path.dirname(path), os.path.basename(path)))


def test_directories_that_wait_are_not_looked_up_again() -> None:
    entries = [placed(b"/root", DIRECTORY, b"/root")]
    entries += [placed(b"/root/%05d" % number, DIRECTORY, b"/root") for number in range(1000)]
    entries += [placed(b"/root/%05d/x" % number, FILE, b"/root") for number in range(1000)]
    manifest = Manifest(entries)
    chosen = Taking(rules("+x"), b"/root")
    assert len([*taken(entries, chosen, manifest)]) == 2001  # type: ignore[arg-type]
    assert manifest.found == 0


def test_what_was_asked_for_by_name_is_not_excluded() -> None:
    entries = [placed(b"/a/b", DIRECTORY, b"/a/b"), placed(b"/a/b/c", FILE, b"/a/b")]
    assert take(entries, rules("-a", "-b"), b"/a/b") == [b"/a/b", b"/a/b/c"]
    assert take(entries, rules("-a", "-b"), None) == []
    file = [placed(b"/a/b", FILE, b"/a")]
    assert take(file, rules("-b"), b"/a/b") == [b"/a/b"]


def test_an_include_above_what_was_asked_for_takes_all_of_it() -> None:
    entries = [placed(b"/a/b", DIRECTORY, b"/a/b"), placed(b"/a/b/c", FILE, b"/a/b")]
    assert take(entries, rules("+/a"), b"/a/b") == [b"/a/b", b"/a/b/c"]


def test_nothing_is_taken_where_nothing_is_included() -> None:
    entries = [placed(b"/root", DIRECTORY, b"/root"), placed(b"/root/a", FILE, b"/root")]
    assert take(entries, rules("+b"), b"/root") == []


def test_components_are_not_mistaken_for_one_another() -> None:
    """`a-b` comes before what is in `a`, and is not in it."""
    paths = [(b"/root", DIRECTORY), (b"/root/a", DIRECTORY), (b"/root/a-b", DIRECTORY), (b"/root/a/x", FILE)]
    entries = [placed(path, kind, b"/root") for path, kind in [*paths, (b"/root/a-b/x", FILE)]]
    assert [components(each) for each in take(entries, rules("+x"), b"/root")] == [
        (b"root",), (b"root", b"a"), (b"root", b"a", b"x"), (b"root", b"a-b"), (b"root", b"a-b", b"x"),
    ]  # fmt: skip


def test_rules_of_the_command_line_are_meant(tmp_path: Path) -> None:
    entries = [placed(b"/root/a", DIRECTORY, b"/root"), placed(b"/root/a/b", FILE, b"/root")]
    anywhere = [command_rule(b"a/b", True, os.fsencode(tmp_path))]
    assert take(entries, anywhere, b"/root") == [b"/root/a", b"/root/a/b"]
