"""`verify`: every kind of difference once, and none where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command import Machine
from tests.conftest import Keys
from tests.trees import IS_ROOT, age, noise, plant

DIFFERENT = 4


@pytest.fixture(scope="module")
def stored(initialised: Machine, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A snapshot of a small tree; to be read, not changed."""
    root = tmp_path_factory.mktemp("stored")
    _plant(root / "source")
    machine = initialised.copy_to(root / "machine")
    machine.snapshot(root / "source")
    return SimpleNamespace(machine=Machine(machine.root, keys.private), source=root / "source")


def _plant(root: Path) -> None:
    plant(
        root,
        {
            b"big": noise(200_000),
            b"small": b"small",
            b"empty file": b"",
            b"link": "small",
            b"full": {b"one": b"1", b"two": {b"three": b"3"}},
            b"empty": {b"emptier": {}},
            b"last": {},
        },
    )
    age(root)


def test_the_last_line_where_all_is_well(stored: SimpleNamespace, tmp_path: Path) -> None:
    here = stored.machine.done("verify", "latest")
    assert here.text == "Verify complete: 5 files compared, 0 differences found.\n"
    _plant(tmp_path / "copy")
    copy = stored.machine.done("verify", "latest", tmp_path / "copy", "--json").json
    assert copy == {"version": 1, "files": 5, "bytes": 200_007, "damaged": 0, "differences": []}


def _keeping_time(path: Path, change: Callable[[], object]) -> None:
    """Change what is in `path`, so that its times do not tell."""
    before = path.parent.stat(), path.lstat()
    change()
    for which, status in zip((path, path.parent), reversed(before), strict=True):
        if os.path.lexists(which):
            os.utime(which, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _replace(path: Path, make: Callable[[], object]) -> Callable[[], None]:
    def change() -> None:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        make()

    return change


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[150_000] ^= 1
    path.write_bytes(data)


def _extra(path: Path) -> None:
    before = path.parent.stat()
    path.write_bytes(b"extra")
    os.utime(path.parent, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "content of the same size": ("big", "content differs", lambda p: _keeping_time(p, lambda: _flip(p))),
    "longer": ("big", "size differs: 200000 stored, 200001", lambda p: _keeping_time(p, lambda: p.write_bytes(noise(200_001)))),
    "shorter": ("small", "size differs: 5 stored, 0 on disk", lambda p: _keeping_time(p, lambda: p.write_bytes(b""))),
    "missing file": ("empty file", "is missing", lambda p: _keeping_time(p, p.unlink)),
    "missing directory": ("last", "is missing", lambda p: _keeping_time(p, p.rmdir)),
    "missing link": ("link", "is missing", lambda p: _keeping_time(p, p.unlink)),
    "extra file": ("full/extra", "not in the snapshot", _extra),
    "extra in an empty directory": ("empty/emptier/extra", "not in the snapshot", _extra),
    "extra in the last, empty directory": ("last/extra", "not in the snapshot", _extra),
    "extra at the top": ("zzz", "not in the snapshot", _extra),
    "mode of a file": ("small", "mode 0644 stored, 0600 on disk", lambda p: p.chmod(0o600)),
    "mode of a directory": ("empty", "mode 0755 stored, 0711 on disk", lambda p: p.chmod(0o711)),
    "time of a file": ("big", "modification time differs", lambda p: os.utime(p, ns=(1, p.stat().st_mtime_ns + 1))),
    "time of a directory": ("full", "modification time differs", lambda p: os.utime(p, ns=(1, 1))),
    "time of a link": ("link", "modification time differs", lambda p: os.utime(p, ns=(1, 1), follow_symlinks=False)),
    "target of a link": (
        "link",
        "link points elsewhere",
        lambda p: _keeping_time(p, _replace(p, lambda: p.symlink_to("big"))),
    ),
    "file for a link": ("link", "is of another kind", lambda p: _keeping_time(p, _replace(p, lambda: p.write_bytes(b"small")))),
    "link for a file": ("small", "is of another kind", lambda p: _keeping_time(p, _replace(p, lambda: p.symlink_to("big")))),
    "directory for a file": ("small", "is of another kind", lambda p: _keeping_time(p, _replace(p, p.mkdir))),
    "file for a directory": ("last", "is of another kind", lambda p: _keeping_time(p, _replace(p, p.touch))),
    "pipe for a file": ("small", "is of another kind", lambda p: _keeping_time(p, _replace(p, lambda: os.mkfifo(p)))),
    **({"owner": ("full", "owner root:root stored, ", lambda p: os.chown(p, 12, 34))} if IS_ROOT else {}),
}  # fmt: skip


def test_each_kind_of_difference_is_found_once(machine: Machine, owner: Machine, tmp_path: Path) -> None:
    """All in one run: the source has a copy of the small tree for each of them."""
    source = tmp_path / "source"
    places = {what: source / f"{number:02d}" for number, what in enumerate(CHANGES)}
    for place in places.values():
        _plant(place)
    age(source)
    machine.snapshot(source)
    expected = []
    for what, (path, said, change) in CHANGES.items():
        change(places[what] / path)
        expected.append(f"{places[what] / path}: {said}")
    result = owner.run("verify", "latest")
    assert result.code == DIFFERENT
    *found, last = sorted(result.text.splitlines(), key=lambda line: line.startswith("Verify complete"))
    for line, beginning in zip(sorted(found), sorted(expected), strict=True):
        assert line.startswith(beginning)
    assert last == f"Verify complete: {5 * len(CHANGES)} files compared, {len(CHANGES)} differences found."
    assert result.text.endswith(last + "\n")


def test_all_that_is_missing_is_listed(stored: SimpleNamespace, tmp_path: Path) -> None:
    place = tmp_path / "place"
    _plant(place)
    _keeping_time(place / "full", lambda: shutil.rmtree(place / "full"))
    result = stored.machine.run("verify", "--json", "latest", place)
    assert result.code == DIFFERENT
    missing = ("full", "full/one", "full/two", "full/two/three")
    assert set(result.json["differences"]) == {f"{place / name}: is missing" for name in missing}


def test_differences_are_written_when_they_are_found(stored: SimpleNamespace, tmp_path: Path) -> None:
    place = tmp_path / "place"
    _plant(place)
    _keeping_time(place / "full", lambda: shutil.rmtree(place / "full"))
    quiet = stored.machine.run("verify", "--quiet", "latest", place)
    assert (quiet.code, len(quiet.text.splitlines()), "complete" in quiet.text) == (DIFFERENT, 4, False)
    found = stored.machine.run("verify", "--json", "latest", place).json
    assert list(found) == ["version", "differences", "files", "bytes", "damaged"]
    assert (len(found["differences"]), found["files"], found["damaged"]) == (4, 5, 0)


def test_a_part_of_a_snapshot(stored: SimpleNamespace, tmp_path: Path) -> None:
    place = tmp_path / "place"
    _plant(place)
    for arguments in (
        ["latest", stored.source / "full"],
        [f"latest:{stored.source}/full"],
        [f"latest:{stored.source}/full", place / "full"],
    ):
        found = stored.machine.done("verify", *arguments)
        assert found.text == "Verify complete: 2 files compared, 0 differences found.\n", arguments
    (place / "full" / "two" / "three").write_bytes(b"4")
    assert stored.machine.run("verify", f"latest:{stored.source}/full", place / "full").code == DIFFERENT


def test_a_path_that_the_snapshot_does_not_have(stored: SimpleNamespace) -> None:
    result = stored.machine.run("verify", f"latest:{stored.source}/nowhere")
    assert (result.code, result.stdout) == (1, b"")
    assert f"{stored.source}/nowhere is not in the snapshot" in result.stderr
    relative = stored.machine.run("verify", "latest:nowhere")
    assert relative.code == 2
    assert "must be absolute" in relative.stderr


def test_the_neighbours_of_a_single_file_are_no_differences(machine: Machine, owner: Machine, source: Path) -> None:
    machine.snapshot(source / "notes.txt")
    assert owner.done("verify", "latest").text == "Verify complete: 1 file compared, 0 differences found.\n"


def test_the_neighbours_of_a_part_are_no_differences(stored: SimpleNamespace) -> None:
    for part in (["latest", stored.source / "small"], [f"latest:{stored.source}/small"]):
        found = stored.machine.done("verify", *part)
        assert found.text == "Verify complete: 1 file compared, 0 differences found.\n"


def test_the_neighbours_of_two_roots_are_no_differences(machine: Machine, owner: Machine, source: Path) -> None:
    machine.snapshot(source / "sub", source / "nothing")
    assert owner.done("verify", "latest").text == "Verify complete: 3 files compared, 0 differences found.\n"


def test_what_is_restored_of_two_roots_is_without_differences(
    machine: Machine, owner: Machine, source: Path, tmp_path: Path
) -> None:
    machine.snapshot(source / "sub", source / "notes.txt")
    out = owner.restore("latest", tmp_path / "out")
    assert owner.done("verify", "latest", out).text == "Verify complete: 4 files compared, 0 differences found.\n"
