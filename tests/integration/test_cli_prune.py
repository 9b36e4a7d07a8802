"""`chunkstore prune` and what it says: tables, JSON, who is waited for, and that no key is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.command import Machine

FAILED = 1
_SESSION = "0123456789abcdef" * 2


@pytest.fixture
def wasteful(machine: Machine, tmp_path: Path) -> Machine:
    """One of two snapshots was forgotten, with content of its own."""
    source = tmp_path / "source"
    source.mkdir()
    for _ in range(2):
        (source / "file").write_bytes(os.urandom(300_000))
        last = machine.snapshot(source)
    machine.done("forget", "latest~1")
    assert last in machine.done("snapshots", "--json").text
    return machine


def rows(text: str) -> dict[str, str]:
    """What stands behind the name of each row."""
    return {line[:29].strip(): line[29:].strip() for line in text.splitlines()}


def test_a_dry_run_says_what_the_prune_then_does(wasteful: Machine) -> None:
    before = wasteful.objects()
    found = wasteful.done("prune", "--dry-run", "--json").json
    shown = rows(wasteful.done("prune", "-n").text)
    assert wasteful.objects() == before
    assert found["dead"]["packs"] == int(shown["To be deleted"].split()[0]) > 0
    assert found["reclaimable"] > 300_000
    assert found["snapshots"] == int(shown["Snapshots"]) == 1
    assert (found["open_plan"], found["sessions"]) == (None, [])
    done = wasteful.done("prune", "--json").json
    assert (done["prune"], done["finished"], done["waiting"]) == (1, True, [])
    assert done["deleted"] == found["dead"]
    assert len(wasteful.names("packs/")) == found["packs"] - found["dead"]["packs"]
    assert wasteful.done("prune").text == "Nothing to prune.\n"
    assert wasteful.done("prune", "--quiet").stdout == b""


@pytest.mark.parametrize("how", ["text", "json"])
def test_explain_says_all_that_first_and_then_prunes(wasteful: Machine, how: str) -> None:
    found = wasteful.done("prune", "--dry-run", "--json").json
    del found["version"]
    if how == "json":
        done = wasteful.done("prune", "--explain", "--json").json
        assert done["found"] == found
        assert done["deleted"] == found["dead"]
    else:
        text = wasteful.done("prune", "--explain").text
        assert "Reclaimable now" in text
        assert "\nPrune 1: deleted " in text
    assert len(wasteful.names("packs/")) == found["packs"] - found["dead"]["packs"]


def test_no_key_and_no_gpg_home_is_needed(wasteful: Machine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o700)
    for home in (str(tmp_path / "empty"), str(tmp_path / "not there"), None):
        environment = {"GNUPGHOME": home}
        wasteful.done("prune", environment=environment)
        wasteful.done("check", "--read-data", environment=environment)
        wasteful.done("stats", environment=environment)


def test_who_is_waited_for_is_said_and_the_next_prune_goes_on(wasteful: Machine) -> None:
    """A session that nobody can read is waited for like any other, until it is old."""
    session = wasteful.repository / "sessions" / _SESSION
    session.parent.mkdir(exist_ok=True)
    session.write_bytes(b"rubbish")
    waiting = f"the run {_SESSION[:8]}, whose session can not be read"
    assert f"Would wait for {waiting}." in wasteful.done("prune", "-n").text
    packs = wasteful.names("packs/")
    for options in ((), ("--json",)):
        result = wasteful.run("prune", "--wait", "0s", *options)
        assert result.code == FAILED
        assert waiting in result.stderr
        assert wasteful.names("packs/") == packs
    assert [each["id"] for each in result.json["waiting"]] == [_SESSION]
    assert result.json["waiting"][0]["started"] is None
    assert "Prune 1 is under way, or broke off" in wasteful.done("prune", "-n").text
    done = wasteful.done("prune", "--stale-after", "0s", "--json").json
    assert (done["fenced"], done["finished"]) == (1, True)
    assert wasteful.names("packs/") < packs
    assert not wasteful.names("sessions/")


def test_where_nothing_may_be_deleted_only_the_index_is_compacted(wasteful: Machine) -> None:
    before = wasteful.objects()
    done = wasteful.done("prune", "--no-delete", "--json").json
    after = wasteful.objects()
    assert (done["prune"], done["deleted"]["packs"], done["index_objects_deleted"]) == (1, 0, 0)
    assert before.items() <= after.items()
    assert any(name.startswith("index/generation-") for name in after)
