"""`chunkstore check` as people and cron run it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command import Machine
from tests.conftest import Keys
from tests.integration.test_cli_keys import _NO_PROCESSES

DAMAGE, NO_REPOSITORY, NO_KEY = 4, 10, 12


@pytest.fixture(scope="module")
def stored_once(initialised: Machine, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    from tests.trees import age, noise, plant, prose

    root = tmp_path_factory.mktemp("checked")
    source = root / "source"
    plant(source, {b"notes.txt": prose(20_000), b"image": noise(120_000), b"sub": {b"\xff.bin": noise(50_000, 2)}})
    age(source)
    machine = initialised.copy_to(root / "machine")
    return SimpleNamespace(machine=machine, source=source, ids=[machine.snapshot(source), machine.snapshot(source)])


@pytest.fixture
def stored(stored_once: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    machine = stored_once.machine.copy_to(tmp_path / "copy")
    return SimpleNamespace(machine=machine, source=stored_once.source, ids=stored_once.ids)


def packs(machine: Machine, plane: int) -> list[Path]:
    """Packs of content (4) or of trees (5)."""
    found = [path for path in (machine.repository / "packs").rglob("*") if path.is_file()]
    return sorted(path for path in found if path.read_bytes()[9] == plane)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_whole_repository_is_said_to_be_whole(stored: SimpleNamespace) -> None:
    text = stored.machine.done("check").text
    assert text.endswith("No damage found. 2 snapshots checked.\n")
    assert re.search(r"^pack +[0-9]+ +", text, re.M)
    assert re.search(r"^packs read +0 ", text, re.M)


def test_quiet_says_nothing_unless_there_is_damage(stored: SimpleNamespace) -> None:
    assert stored.machine.done("check", "--quiet", "--read-data").stdout == b""
    (pack,) = packs(stored.machine, 4)
    flip(pack)
    result = stored.machine.run("check", "--quiet", "--read-data")
    assert result.code == DAMAGE
    assert result.stderr == ""
    assert result.text.startswith(f"damage: packs/{pack.name[:2]}/{pack.name}: ")
    assert "what to do: " in result.text
    assert "note:" not in result.text


def test_no_process_is_started_and_no_gnupghome_is_needed(stored: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_NO_PROCESSES)
    assert shutil.which("gpg", path=str(tmp_path)) is None
    environment = {"PYTHONPATH": str(tmp_path), "GNUPGHOME": None, "PATH": str(tmp_path)}
    stored.machine.done("check", environment=environment)
    stored.machine.done("check", "--read-data", environment=environment)
    flip(packs(stored.machine, 4)[0])
    assert stored.machine.run("check", "--read-data", environment=environment).code == DAMAGE


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_the_system_sees_a_check_start_no_process(stored: SimpleNamespace, tmp_path: Path) -> None:
    log = tmp_path / "log"
    tracing = ("strace", "-f", "-qq", "-o", str(log), "-e", "trace=execve,fork,vfork,clone,clone3")
    stored.machine.done("check", "--read-data", before=tracing, environment={"GNUPGHOME": None})
    calls = [line.split(None, 1)[1] for line in log.read_text().splitlines()]
    assert [call for call in calls if call.startswith("execve")] == [calls[0]]
    made = [call for call in calls[1:] if re.match(r"(fork|vfork|clone)", call)]
    assert all("CLONE_THREAD" in call for call in made), made


def test_it_needs_no_right_to_write_and_changes_nothing(stored: SimpleNamespace) -> None:
    repository = stored.machine.repository
    before = stored.machine.objects()
    every = [repository, *repository.rglob("*")]
    for path in every:
        path.chmod(path.stat().st_mode & 0o555)
    try:
        stored.machine.done("check", "--read-data")
    finally:
        for path in every:
            path.chmod(path.stat().st_mode | 0o200)
    assert stored.machine.objects() == before


def test_json_has_every_finding(stored: SimpleNamespace) -> None:
    (pack,) = packs(stored.machine, 4)
    pack.unlink()
    (stored.machine.repository / "notes.txt").write_text("not ours")
    result = stored.machine.run("check", "--json")
    assert (result.code, result.stderr) == (DAMAGE, "")
    told = result.json
    by_severity = {each["severity"]: each for each in told["findings"]}
    assert set(by_severity) == {"damage", "foreign"}
    assert by_severity["damage"]["object"] == f"packs/{pack.name[:2]}/{pack.name}"
    assert by_severity["damage"]["kind"] == "pack"
    assert sorted(by_severity["damage"]["snapshots"]) == sorted(stored.ids)
    assert by_severity["damage"]["files"] == []
    assert by_severity["foreign"]["object"] == "notes.txt"
    assert (told["damaged"], told["foreign"], told["snapshots"], told["snapshots_hit"]) == (1, 1, 2, 2)


def test_open_names_the_files_and_needs_the_private_key(stored: SimpleNamespace, keys: Keys) -> None:
    assert stored.machine.run("check", "--open").code == NO_KEY
    owner = Machine(stored.machine.root, keys.private)
    assert owner.done("check", "--open", "--json").json["chunks"]["opened"] > 10
    (pack,) = packs(stored.machine, 4)
    pack.unlink()
    result = owner.run("check", "--open", "--json")
    assert result.code == DAMAGE
    files = {name.encode("utf-8", "surrogateescape") for each in result.json["findings"] for name in each["files"]}
    source = str(stored.source).encode()
    assert files == {source + b"/notes.txt", source + b"/image", source + b"/sub/\xff.bin"}
    text = owner.run("check", "--open").text
    assert "/sub/\\xff.bin" in text


def test_open_reads_the_part_that_is_asked_for(stored: SimpleNamespace, keys: Keys) -> None:
    owner = Machine(stored.machine.root, keys.private)
    parts = [owner.done("check", "--open", "--read-data-subset", f"{n}/3", "--json").json for n in (1, 2, 3)]
    whole = owner.done("check", "--open", "--json").json
    assert sum(each["read"]["count"] for each in parts) == whole["packs"]["count"]
    assert sum(each["chunks"]["opened"] for each in parts) == whole["chunks"]["opened"]


@pytest.mark.parametrize("part", ["0/7", "8/7", "0%", "lots", ""])
def test_a_part_that_is_none_is_a_usage_error(stored: SimpleNamespace, part: str) -> None:
    result = stored.machine.run("check", "--read-data-subset", part)
    assert result.code == 2
    assert "5%" in result.stderr


def test_everything_and_a_part_contradict_each_other(stored: SimpleNamespace) -> None:
    assert stored.machine.run("check", "--read-data", "--read-data-subset", "1/7").code == 2


def test_no_repository_there_and_no_client_here(stored: SimpleNamespace, tmp_path: Path) -> None:
    empty = Machine(stored.machine.root, None, repository=tmp_path / "nothing")
    assert empty.run("check").code == NO_REPOSITORY
    stored.machine.forget_everything()
    assert stored.machine.run("check").code == NO_KEY


def test_it_works_on_a_machine_without_caches(stored: SimpleNamespace) -> None:
    stored.machine.forget_cache()
    stored.machine.done("check", "--read-data")


def test_temporary_files_go_away(stored: SimpleNamespace) -> None:
    flip(packs(stored.machine, 4)[0])
    stored.machine.run("check", "--read-data")
    assert not [*stored.machine.cache.rglob("check-*")]
