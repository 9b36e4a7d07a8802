"""`chunkstore tag`: what is said about a snapshot later is seen everywhere, and the snapshot stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Machine
from tests.conftest import Keys

FAILED, USAGE, NO_KEY = 1, 2, 12


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small").write_text("small")
    return tmp_path / "small"


def only(machine: Machine) -> dict[str, object]:
    (each,) = machine.done("snapshots", "--json").json["snapshots"]
    assert isinstance(each, dict)
    return each


def test_tags_change_and_the_record_does_not(machine: Machine, small: Path, keys: Keys) -> None:
    machine.snapshot("--tag", "daily", "--tag", "old", "--description", "first", small)
    records, packs = machine.objects("snapshots/"), machine.objects("packs/")
    before = only(machine)
    assert (before["pinned"], before["amended"]) == (False, None)

    said = machine.done("tag", "latest", "--add", "kept", "--add", "for ever", "--remove", "old", "--pin")
    assert said.text == f"{str(before['id'])[:8]}  +kept  +for ever  -old  pinned\n"
    after = only(machine)
    assert after == {
        **before,
        "tags": ["daily", "kept", "for ever"],
        "pinned": True,
        "amended": after["amended"],
    }
    assert isinstance(after["amended"], str)

    machine.done("tag", str(before["id"])[:8], "--set", "x", "--unpin", "--description", "second")
    assert only(machine)["tags"] == ["x"]
    assert (only(machine)["description"], only(machine)["pinned"]) == ("second", False)
    machine.done("tag", "latest", "--set", "", "--description", "")
    assert (only(machine)["tags"], only(machine)["description"]) == ([], "")

    assert machine.objects("snapshots/") == records
    assert machine.objects("packs/") == packs
    assert len(machine.names("amendments/")) == 3
    assert not keys.asked.exists()


def test_where_nothing_changes_nothing_is_written(machine: Machine, small: Path) -> None:
    machine.snapshot("--tag", "daily", small)
    before = machine.names()
    said = machine.done("tag", "latest", "--add", "daily", "--remove", "monthly", "--unpin", "--description", "")
    assert "nothing to change" in said.text
    assert machine.done("tag", "--json", "latest", "--add", "daily").json["changed"] == []
    assert machine.names() == before


def test_json_and_quiet(machine: Machine, small: Path) -> None:
    first, second = machine.snapshot("--tag", "a", small), machine.snapshot(small)
    done = machine.done("tag", "--json", "--all", "--add", "a").json
    assert done["unchanged"] == 1
    (changed,) = done["changed"]
    assert changed["id"] == second
    listed = {each["id"]: each for each in machine.done("snapshots", "--json").json["snapshots"]}
    assert changed == listed[second]
    assert listed[first]["amended"] is None
    assert machine.done("tag", "--quiet", "latest", "--add", "b").stdout == b""


def test_which_snapshots_are_changed(machine: Machine, small: Path) -> None:
    ids = [machine.snapshot("--host", host, small) for host in ("a", "b", "a")]

    def tagged(tag: str) -> list[int]:
        listed = machine.done("snapshots", "--json", "--tag", tag).json["snapshots"]
        return [ids.index(each["id"]) for each in listed]

    machine.done("tag", "latest~1", ids[0][:8], "--add", "two")
    assert tagged("two") == [0, 1]
    machine.done("tag", "--host", "b", "--add", "of b")
    assert tagged("of b") == [1]
    machine.done("tag", "--all", "--host", "a", "--add", "of a")
    assert tagged("of a") == [0, 2]
    machine.done("tag", "--all", "--tag", "two", "--remove", "two", "--add", "was two")
    assert (tagged("two"), tagged("was two")) == ([], [0, 1])
    once = machine.done("tag", "latest", "latest", ids[2], "--add", "once", "--json").json
    assert len(once["changed"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("latest",), USAGE, "What is to change?"),
        (("--add", "x"), USAGE, "Which snapshot?"),
        (("--all", "latest", "--add", "x"), USAGE, "--all"),
        (("latest", "--add", "x", "--remove", "x"), USAGE, "both added and removed"),
        (("latest", "--add", "x", "--set", "y"), USAGE, "either set, or added and removed"),
        (("latest", "--add", "a,b"), USAGE, "comma"),
        (("latest", "--add", ""), USAGE, "empty"),
        (("latest", "--add", "a\x1b[2J"), USAGE, "control character"),
        (("latest", "--add", b"\xff"), USAGE, "UTF-8"),
        (("latest", "--description", b"\xff"), USAGE, "UTF-8"),
        (("latest", "--set", "x" * 201), USAGE, "200 bytes"),
        (("latest~1", "--add", "x"), FAILED, "the only snapshot"),
        (("ffffffff", "--add", "x"), FAILED, "no snapshot has an id"),
        (("latest", "ffffffff", "--add", "x"), FAILED, "no snapshot has an id"),
        (("--all", "--host", "nobody", "--add", "x"), FAILED, "no snapshot fits"),
    ],
)
def test_what_is_refused_changes_nothing(
    initialised: Machine, tmp_path: Path, small: Path, arguments: tuple[str | bytes, ...], code: int, said: str
) -> None:
    machine = initialised.copy_to(tmp_path / "machine")
    machine.snapshot(small)
    before = machine.names()
    result = machine.run("tag", *arguments)
    assert (result.code, result.stdout) == (code, b"")
    assert said in " ".join(result.stderr.split())
    assert "\x1b" not in result.stderr
    assert machine.names() == before


def test_what_one_client_says_another_one_sees(machine: Machine, small: Path, keys: Keys, tmp_path: Path) -> None:
    snapshot_id = machine.snapshot("--tag", "a", small)
    other = Machine(tmp_path / "other", keys.private, machine.repository)
    fingerprint = next((machine.state / "chunkstore").iterdir()).name
    other.done("join", "--fingerprint", fingerprint)
    machine.done("tag", snapshot_id, "--add", "b", "--pin")
    assert only(other) == only(machine)
    other.done("tag", snapshot_id, "--remove", "a", "--description", "by the other")
    assert only(machine)["tags"] == ["b"]
    assert only(machine)["description"] == "by the other"
    assert other.done("ls", "--tag", "b", "--json").json["snapshot"] == only(machine)
    stranger = Machine(tmp_path / "stranger", keys.private, machine.repository)
    assert stranger.run("tag", "latest", "--add", "x").code == NO_KEY


def test_a_signature_still_verifies(owner: Machine, small: Path, keys: Keys) -> None:
    owner.snapshot("--sign-with", keys.mail, "--tag", "a", small)
    owner.done("tag", "latest", "--set", "b", "--description", "text", "--pin")
    owner.done("verify", "latest", "--signed-by", keys.mail)
    owner.done("verify", "--tag", "b", "--signed-by", keys.mail)
    owner.snapshot(small)
    assert owner.run("verify", "latest", "--signed-by", keys.mail).code == FAILED


def test_a_damaged_amendment_is_said_and_the_rest_counts(machine: Machine, small: Path) -> None:
    machine.snapshot(small)
    machine.done("tag", "latest", "--add", "lost")
    (name,) = machine.names("amendments/")
    machine.done("tag", "latest", "--add", "found")
    path = machine.repository / name
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    machine.forget_cache()  # it has a good copy
    result = machine.run("snapshots", "--json")
    assert result.code == 0
    assert result.json["snapshots"][0]["tags"] == ["found"]
    assert result.stderr.count(name) == 1


def test_tags_and_descriptions_are_listed_and_can_not_talk_to_the_terminal(machine: Machine, small: Path) -> None:
    machine.snapshot("--tag", "daily", "--host", "\x1b[31mred", "--description", "one\ntwo\x1b[2J", small)
    machine.done("tag", "latest", "--pin")
    text = machine.done("snapshots").text
    assert "\x1b" not in text
    assert len(text.splitlines()) == 4
    assert "daily (pinned)" in text
    assert "one\\ntwo\\x1b[2J" in text
    assert "\\x1b[31mred" in text
    machine.done("tag", "latest", "--description", "")
    assert "Description" not in machine.done("snapshots").text


def test_nothing_that_is_said_can_be_read_in_the_storage(machine: Machine, small: Path) -> None:
    machine.snapshot(small)
    machine.done("tag", "latest", "--add", "a-secret-tag", "--description", "a secret remark")
    for data in machine.objects("amendments/").values():
        assert b"secret" not in data


@pytest.mark.parametrize(
    "options", [("--tag", "a,b"), ("--tag", ""), ("--tag", b"\xff"), ("--description", b"\xff"), ("--host", b"\xff")]
)
def test_a_snapshot_is_refused_what_could_not_be_stored_or_looked_for(
    machine: Machine, small: Path, options: tuple[str | bytes, ...]
) -> None:
    result = machine.run("snapshot", *options, small)
    assert (result.code, result.stdout) == (USAGE, b"")
    assert "not a t" in result.stderr
    assert machine.names("snapshots/") == machine.names("packs/") == set()
