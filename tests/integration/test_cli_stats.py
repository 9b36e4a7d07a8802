"""`chunkstore stats` as people and programs see it: no private key, nothing written, what is wrong is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.command import Machine
from tests.conftest import Keys
from tests.trees import noise, plant
from tests.unit.test_docs import code, json_fields, without_parentheses

FAILED, USAGE, DAMAGED = 1, 2, 4
AMOUNT = {"chunks", "raw", "stored"}


@pytest.fixture
def used(machine: Machine, source: Path) -> Machine:
    """Snapshots of two hosts: one file is only in the second, the third has the small part of the first."""
    machine.snapshot("--host", "one", source)
    plant(source, {b"more": noise(150_000, 3)})
    machine.snapshot("--host", "one", source)
    machine.snapshot("--host", "two", source / "sub")
    return machine


def test_json(used: Machine, source: Path, keys: Keys) -> None:
    before = used.names()
    found = used.done("stats", "--snapshots", "--json").json
    assert used.names() == before
    assert not keys.asked.exists()
    fields = json_fields("stats")
    assert set(found) == set(fields)

    def inner(name: str) -> set[str]:
        return set(code(without_parentheses(fields[name])))

    for name in ("groups", "snapshots"):
        assert set(found[name][0]) == inner(name)
    for name in ("totals", "packs"):
        assert set(found[name]) == inner(name)
    assert set(found["objects"]) == set(code(fields["objects"])) - {"count", "bytes"}
    sizes = {name: len(data) for name, data in used.objects().items()}
    assert found["totals"]["stored"] == sum(sizes.values()) == sum(each["bytes"] for each in found["objects"].values())
    assert found["packs"]["total"] == sum(size for name, size in sizes.items() if name.startswith("packs/"))
    assert (found["totals"]["snapshots"], found["totals"]["hosts"]) == (3, 2)
    assert (found["complete"], found["problems"], found["selected"]) == (True, [], None)
    first, second, third = found["snapshots"]
    assert second["bytes"] - first["bytes"] == second["bytes_new"] == 150_000
    assert 150_000 < second["unique"]["raw"] < 160_000
    assert all(set(each["unique"]) == AMOUNT and each["unique"]["chunks"] > 0 for each in found["snapshots"])
    by_host = {each["host"]: each for each in found["groups"]}
    assert by_host.keys() == {"one", "two"}
    assert by_host["two"]["unique"] == third["unique"]
    assert by_host["one"]["snapshots"] == 2
    assert by_host["one"]["unique"]["raw"] > first["unique"]["raw"] + second["unique"]["raw"]


def test_some_of_them(used: Machine) -> None:
    everything = used.done("stats", "--json").json
    assert everything["snapshots"] == []
    named = used.done("stats", "latest", "--host", "one", "--json").json
    of_one = used.done("stats", "--host", "one", "--json").json
    assert [each["host"] for each in named["snapshots"]] == ["one"]
    assert of_one["selected"] == of_one["groups"][0]["unique"]
    assert of_one["totals"] == named["totals"] == everything["totals"]
    grouped = used.done("stats", "--group-by", "", "--json").json
    assert [each["snapshots"] for each in grouped["groups"]] == [3]
    assert used.run("stats", "--host", "nobody").code == FAILED
    assert used.run("stats", "--group-by", "colour").code == USAGE


def test_tables(used: Machine) -> None:
    text = used.done("stats", "--snapshots").text
    assert re.search(r"^Snapshots +3  of 2 hosts$", text, re.M)
    assert re.search(r"^Host one +2 .* #{24}$", text, re.M)
    assert re.search(r"^content packs +\d+ +[\d.]+ [KM]iB  #+$", text, re.M)
    assert re.search(r"^Deduplication +[12]\.\d\dx$", text, re.M)
    assert sorted(re.findall(r"^[0-9a-f]{8}  \d{4}-\d\d-\d\d [\d:]{8}  (\w+) ", text, re.M)) == ["one", "one", "two"]
    assert not re.search(r"^[0-9a-f]{8}  ", used.done("stats").text, re.M)
    assert "Needed by no other" not in text
    assert "Needed by no other snapshot than these: " in used.done("stats", "latest").text
    assert used.done("stats", "-q").text == ""


def test_an_empty_repository(machine: Machine) -> None:
    text = machine.done("stats").text
    assert re.search(r"^Deduplication +-$", text, re.M)
    assert machine.done("stats", "--json").json["totals"]["snapshots"] == 0


def test_damage_is_said(used: Machine) -> None:
    victim = max(used.objects("packs/").items(), key=lambda each: len(each[1]))[0]
    (used.repository / victim).unlink()
    result = used.run("stats")
    assert result.code == DAMAGED
    assert "chunks that snapshots need and that are nowhere" in result.stderr
    assert "Incomplete" in result.text
    assert used.run("stats", "--json").json["complete"] is False
