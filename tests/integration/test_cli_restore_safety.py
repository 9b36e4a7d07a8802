"""`restore` is careful: with what is in the target already, and with a repository that is damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command import Machine
from tests.conftest import Keys
from tests.trees import IS_ROOT, Seen, age, below, look, noise, plant

FAILED, DIFFERENT = 1, 4


@pytest.fixture(scope="module")
def stored(initialised: Machine, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A snapshot in several packs; to be read, not changed."""
    root = tmp_path_factory.mktemp("stored")
    source = root / "source"
    plant(
        source,
        {
            b"big": noise(1_500_000),
            b"files": {b"%d" % number: noise(90_000, number) for number in range(2, 22)},
            b"empty": b"",
            b"link": "big",
            b"directory": {},
        },
    )
    age(source)
    machine = initialised.copy_to(root / "machine")
    machine.snapshot(source)
    return SimpleNamespace(machine=Machine(machine.root, keys.private), source=source, seen=look(source))


# -- what is in the target


def test_a_target_that_is_not_empty_is_refused(stored: SimpleNamespace, tmp_path: Path) -> None:
    plant(tmp_path / "target", {b"mine": b"mine"})
    before = look(tmp_path / "target")
    result = stored.machine.run("restore", "latest", tmp_path / "target")
    assert (result.code, result.stdout) == (FAILED, b"")
    assert "is not empty" in result.stderr
    assert "--overwrite" in result.stderr
    assert look(tmp_path / "target") == before


@pytest.mark.parametrize("how", ["always", "never"])
def test_what_is_in_the_way_is_replaced_or_kept(stored: SimpleNamespace, tmp_path: Path, how: str) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    outside.write_bytes(b"outside")
    plant(target, {b"mine": b"mine", b"big": str(outside), b"files": {b"2": b"other"}, b"link": b"a file"})
    told = stored.machine.done("restore", "--overwrite", how, "latest", target, "--json").json
    assert outside.read_bytes() == b"outside"
    assert (target / "mine").read_bytes() == b"mine"
    restored = below(target)
    del restored[b"mine"]
    expected = {path: seen for path, seen in stored.seen.items() if path}
    if how == "always":
        assert told["kept"] == 0
        assert restored == expected
    else:
        assert told["kept"] == 3
        assert os.readlink(target / "big") == str(outside)
        assert (target / "files" / "2").read_bytes() == b"other"
        assert (target / "link").read_bytes() == b"a file"
        for path in (b"big", b"files/2", b"link"):
            del restored[path], expected[path]
        assert restored == expected


def test_a_directory_in_the_way_of_a_file_is_not_removed(stored: SimpleNamespace, tmp_path: Path) -> None:
    plant(tmp_path / "target", {b"empty": {b"precious": b"precious"}})
    result = stored.machine.run("restore", "--overwrite", "always", "latest", tmp_path / "target")
    assert result.code == FAILED
    assert "empty: a directory is in the way" in result.stderr
    assert (tmp_path / "target" / "empty" / "precious").read_bytes() == b"precious"
    assert look(tmp_path / "target" / "files") == look(stored.source / "files")


def test_a_link_to_a_directory_does_not_lead_a_restore_out_of_its_target(
    stored: SimpleNamespace, tmp_path: Path
) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    outside.mkdir()
    plant(target, {b"files": str(outside)})
    result = stored.machine.run("restore", "--overwrite", "never", "latest", target)
    assert result.code == FAILED
    assert list(outside.iterdir()) == []


def test_targets_that_are_no_directory(stored: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a file")
    for target in (file, file / "below it"):
        result = stored.machine.run("restore", "latest", target)
        assert (result.code, result.stdout) == (FAILED, b"")
        assert str(file) in result.stderr
    assert file.read_bytes() == b"a file"


@pytest.mark.skipif(IS_ROOT and not Path("/proc").is_dir(), reason="root may write everywhere")
def test_a_target_where_nothing_can_be_written(stored: SimpleNamespace, tmp_path: Path) -> None:
    """/proc takes no new directory, not even root's."""
    parent = Path("/proc") if IS_ROOT else tmp_path / "locked"
    if not IS_ROOT:
        parent.mkdir(mode=0o500)
    result = stored.machine.run("restore", "latest", parent / "target")
    assert (result.code, result.stdout) == (FAILED, b"")
    assert f"{parent / 'target'}: " in result.stderr
    assert "internal error" not in result.stderr


def test_a_new_target_is_made_with_its_parents(stored: SimpleNamespace, tmp_path: Path) -> None:
    out = stored.machine.restore("latest", tmp_path / "some" / "new" / "place")
    assert look(out) == stored.seen


# -- damage


def _content_packs(machine: Machine) -> list[Path]:
    """Content packs, by the kind in their tenth byte, the largest first."""
    packs = [path for path in (machine.repository / "packs").rglob("*") if path.is_file()]
    return sorted((path for path in packs if path.read_bytes()[9] == 4), key=lambda p: p.stat().st_size, reverse=True)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [_flip, _cut, Path.unlink])
def test_a_damaged_pack_costs_its_files_and_no_other(
    stored: SimpleNamespace, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    machine = Machine(stored.machine.copy_to(tmp_path / "copy").root, stored.machine.gnupg)
    pack = _content_packs(machine)[1]
    damage(pack)
    out = tmp_path / "out"
    result = machine.run("restore", "latest", out, "--json")
    assert result.code == FAILED
    restored, expected = below(out), _files(stored.seen)
    lost = expected.keys() - restored.keys()
    assert 0 < len(lost) < len(expected)
    assert {path: restored[path] for path in restored} == {path: expected[path] for path in expected.keys() - lost}
    problems = result.json["problems"]
    assert sorted(each.split(": ")[0] for each in problems) == sorted(path.decode() for path in lost)
    assert all(pack.name in each or "pack is missing" in each for each in problems)
    for path in lost:
        assert f"{path.decode()}: " in result.stderr
    assert f"{len(lost)} entries" in machine.run("restore", "latest", tmp_path / "for people").stderr

    verified = machine.run("verify", "latest", "--json")
    assert verified.code == DIFFERENT
    found = {each.split(": ")[0] for each in verified.json["differences"]}
    assert found == {f"{stored.source}/{path.decode()}" for path in lost}
    assert verified.json["damaged"] >= 1


def _files(seen: dict[bytes, Seen]) -> dict[bytes, Seen]:
    return {path: each for path, each in seen.items() if path}


def test_a_file_whose_pack_is_damaged_is_not_written_by_cat(stored: SimpleNamespace, tmp_path: Path) -> None:
    machine = Machine(stored.machine.copy_to(tmp_path / "copy").root, stored.machine.gnupg)
    for pack in _content_packs(machine):
        _flip(pack)
        _cut(pack)
    result = machine.run("cat", f"latest:{stored.source}/files/21")
    assert (result.code, result.stdout) == (FAILED, b"")
    assert "packs/" in result.stderr


def test_damaged_manifests_are_an_error_that_names_the_pack(stored: SimpleNamespace, tmp_path: Path) -> None:
    machine = Machine(stored.machine.copy_to(tmp_path / "copy").root, stored.machine.gnupg)
    trees = [path for path in (machine.repository / "packs").rglob("*") if path.is_file() and path.read_bytes()[9] == 5]
    for pack in trees:
        data = bytearray(pack.read_bytes())
        data[1500:] = bytes(len(data) - 1500)
        pack.write_bytes(data)
    for command in (("restore", "latest", tmp_path / "out"), ("ls", "latest"), ("verify", "latest")):
        result = machine.run(*command)
        assert result.code == (DIFFERENT if command[0] == "verify" else FAILED), result
        assert f"packs/{trees[0].parent.name}/{trees[0].name}" in result.stderr


@pytest.mark.parametrize("prefix", ["snapshots", "index"])
def test_a_damaged_ledger_object_is_reported_and_not_believed(
    stored: SimpleNamespace, machine: Machine, tmp_path: Path, prefix: str
) -> None:
    copy = Machine(stored.machine.copy_to(tmp_path / "copy").root, stored.machine.gnupg)
    copy.snapshot(stored.source / "files")
    damaged = sorted((copy.repository / prefix).iterdir(), key=lambda path: path.stat().st_mtime_ns)[0]
    _flip(damaged)
    shutil.rmtree(copy.cache)
    listed = copy.run("snapshots", "--json")
    assert listed.code == 0
    assert len(listed.json["snapshots"]) == (1 if prefix == "snapshots" else 2)
    if prefix == "snapshots":
        assert damaged.name in listed.stderr
    made = copy.run("snapshot", "--json", stored.source)
    assert made.code == 0
    if prefix == "index":
        assert damaged.name in made.stderr
        assert made.json["statistics"]["bytes_new"] > 1_000_000
    read = copy.run("restore", "latest", tmp_path / "out")
    assert read.code == 0
    assert look(tmp_path / "out") == stored.seen
