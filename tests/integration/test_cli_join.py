"""What a machine keeps for itself: its cache deleted, its whole state deleted, `join`."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.command import Machine
from tests.conftest import Keys
from tests.gnupg_home import gnupg_home
from tests.trees import look

FAILED, USAGE, NO_KEY = 1, 2, 12


def fingerprint_of(machine: Machine) -> str:
    """The repository fingerprint, from where the state is kept."""
    return next((machine.state / "chunkstore").iterdir()).name


def test_init_prints_the_fingerprint_that_the_state_is_kept_under(keys: Keys, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", keys.public)
    printed = machine.done("init", "-e", keys.mail, "--json").json["fingerprint"]
    assert printed == fingerprint_of(machine)


def test_the_cache_deleted_costs_no_upload_and_no_passphrase(machine: Machine, source: Path, keys: Keys) -> None:
    machine.snapshot(source)
    before = machine.names()
    machine.forget_cache()
    machine.snapshot(source)
    added = machine.names() - before
    assert machine.names("packs/") == {name for name in before if name.startswith("packs/")}
    assert [name.split("/")[0] for name in added] == ["snapshots"]
    assert not keys.asked.exists()


def test_what_changes_beside_the_source_costs_no_upload(machine: Machine, source: Path) -> None:
    machine.snapshot(source)
    before = machine.names("packs/")
    (source.parent / "something else").mkdir()
    machine.snapshot(source)
    assert machine.names("packs/") == before


@pytest.mark.parametrize("how", ["cut off", "garbage"])
def test_a_damaged_cache_costs_no_upload_and_is_replaced(
    machine: Machine, owner: Machine, source: Path, tmp_path: Path, how: str
) -> None:
    machine.snapshot(source)
    before = machine.names("packs/")
    for what in ("*.manifest", "*.ids", "index.sqlite"):
        (path,) = machine.cache.rglob(what)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if how == "cut off" else bytes(reversed(data)))
        machine.snapshot(source)
        assert machine.names("packs/") == before, what
    assert look(owner.restore("latest", tmp_path / "out")) == look(source)


def test_the_whole_state_deleted_and_joined_again(
    machine: Machine, owner: Machine, source: Path, tmp_path: Path
) -> None:
    machine.snapshot(source)
    before = machine.names()
    fingerprint = fingerprint_of(machine)
    machine.forget_everything()
    refused = machine.run("snapshot", source)
    assert (refused.code, refused.stdout) == (NO_KEY, b"")
    assert "chunkstore join" in refused.stderr
    assert machine.names() == before

    spaced = " ".join(fingerprint[at : at + 8] for at in range(0, 64, 8)).upper()
    joined = owner.done("join", "--fingerprint", spaced, "--json").json
    assert joined["fingerprint"] == fingerprint
    machine.snapshot(source)
    assert machine.names("packs/") == {name for name in before if name.startswith("packs/")}
    assert len(machine.names("snapshots/")) == 2
    assert look(owner.restore("latest", tmp_path / "out")) == look(source)


def test_a_second_machine_joins_and_both_make_snapshots(
    machine: Machine, source: Path, keys: Keys, tmp_path: Path
) -> None:
    machine.snapshot(source)
    packs = machine.names("packs/")
    other = Machine(tmp_path / "other", keys.private, machine.repository)
    other.done("join", "--fingerprint", fingerprint_of(machine))
    other.snapshot(source)
    assert machine.names("packs/") == packs
    machine.snapshot(source)
    assert len(machine.done("snapshots", "--json").json["snapshots"]) == 3


def test_whom_join_refuses(machine: Machine, owner: Machine, keys: Keys) -> None:
    fingerprint = fingerprint_of(machine)
    machine.forget_everything()

    wrong = owner.run("join", "--fingerprint", f"{int(fingerprint, 16) ^ 1:064x}")
    assert wrong.code == FAILED
    assert fingerprint in wrong.stderr
    nobody_to_ask = owner.run("join")
    assert nobody_to_ask.code == USAGE
    assert "--fingerprint" in nobody_to_ask.stderr
    no_fingerprint = owner.run("join", "--fingerprint", "abc")
    assert no_fingerprint.code == USAGE
    assert "64 hex digits" in no_fingerprint.stderr
    public_only = machine.run("join", "--fingerprint", fingerprint)
    assert public_only.code == NO_KEY
    assert not keys.asked.exists()
    with gnupg_home() as stranger:
        stranger.make_key("Stranger <stranger@example.org>")
        assert Machine(machine.root, stranger).run("join", "--fingerprint", fingerprint).code == NO_KEY
    assert not machine.state.exists()
    assert not machine.cache.exists()


def test_join_where_no_repository_is(keys: Keys, tmp_path: Path) -> None:
    result = Machine(tmp_path / "machine", keys.private).run("join", "--fingerprint", "0" * 64)
    assert result.code == 10
    assert "there is no repository at" in result.stderr


def test_join_once_more_keeps_who_the_client_is(machine: Machine, owner: Machine, source: Path) -> None:
    machine.snapshot(source)
    (client,) = machine.state.rglob("client")
    before = client.read_bytes()
    owner.done("join", "--fingerprint", fingerprint_of(machine))
    assert client.read_bytes() == before


def test_a_damaged_state_says_to_join(machine: Machine, owner: Machine, source: Path) -> None:
    (client,) = machine.state.rglob("client")
    client.write_bytes(client.read_bytes()[:100])
    result = machine.run("snapshot", source)
    assert (result.code, result.stdout) == (FAILED, b"")
    assert str(client) in result.stderr
    assert "chunkstore join" in result.stderr
    owner.done("join", "--fingerprint", client.parent.name)
    machine.snapshot(source)


def test_state_and_cache_are_for_their_owner_alone(machine: Machine, owner: Machine, source: Path) -> None:
    fingerprint = fingerprint_of(machine)
    machine.forget_everything()
    owner.done("join", "--fingerprint", fingerprint, umask=0)
    machine.snapshot(source, umask=0)
    owner.done("ls", "latest", umask=0)
    checked = 0
    for top in (machine.state, machine.cache):
        for path in [top, *top.rglob("*")]:
            expected = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == expected, path
            checked += path.is_file()
    assert checked >= 5
