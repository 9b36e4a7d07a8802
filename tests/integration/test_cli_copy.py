"""`chunkstore copy` between repositories of two owners, on a machine with the private key of the first alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Machine
from tests.conftest import SMALL_CHUNKS
from tests.gnupg_home import GnupgHome, gnupg_home
from tests.trees import age, noise, plant, prose
from tests.unit.test_docs import code, json_fields, without_parentheses

USAGE, DIFFERENT, NO_REPOSITORY, NO_KEY = 2, 4, 10, 12
FIRST, SECOND = "first@example.org", "second@example.org"


@dataclass(frozen=True)
class Owners:
    """gpg homedirs: of who can read the source, of who can read the destination, and one without private keys."""

    first: GnupgHome
    second: GnupgHome
    public: GnupgHome


@pytest.fixture(scope="module")
def owners() -> Iterator[Owners]:
    with gnupg_home() as first, gnupg_home() as second, gnupg_home() as public:
        keys = [first.public_key(first.make_key(f"First <{FIRST}>"))]
        keys.append(second.public_key(second.make_key(f"Second <{SECOND}>")))
        for home, others in ((first, keys[1:]), (second, keys[:1]), (public, keys)):
            for key in others:
                home.gpg("--import", data=key)
        yield Owners(first, second, public)


@dataclass(frozen=True)
class World:
    machine: Machine
    destination: Path
    tree: Path
    ids: dict[str, str]
    """Of the repositories."""

    @property
    def source(self) -> Path:
        return self.machine.repository

    def as_owner(self, home: GnupgHome) -> Machine:
        """Who has these keys, on the same machine; commands are about the destination if nothing else is said."""
        return Machine(self.machine.root, home, self.destination)


@pytest.fixture(scope="module")
def prepared(owners: Owners, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A source with two snapshots and an empty destination; to be copied, not changed."""
    root = tmp_path_factory.mktemp("prepared")
    machine = Machine(root / "machine", owners.public)
    second = root / "machine" / "second"
    made = machine.done("init", "-e", FIRST, "--chunker", SMALL_CHUNKS, "--pack-size", "1M", "--json").json
    other = machine.done("-r", second, "init", "-e", SECOND, "--chunker", "pyfastcdc:512,2K,8K", "--json").json
    plant(root / "tree", {b"notes": prose(20_000), b"image": noise(120_000), b"sub": {b"link": "../notes"}})
    age(root / "tree")
    machine.snapshot("--tag", "kept", root / "tree")
    (root / "tree" / "more").write_bytes(noise(50_000, 9))
    machine.snapshot("--description", "with more", root / "tree")
    return World(machine, second, root / "tree", {"source": made["fingerprint"], "destination": other["fingerprint"]})


@pytest.fixture
def world(prepared: World, tmp_path: Path) -> World:
    machine = prepared.machine.copy_to(tmp_path / "machine")
    second = shutil.copytree(prepared.destination, tmp_path / "machine" / "second")
    return World(machine, second, prepared.tree, prepared.ids)


def ids(machine: Machine, *arguments: object) -> list[str]:
    listed = machine.done(*map(str, arguments), "snapshots", "--json").json["snapshots"]
    return [each["id"] for each in listed]


def test_the_reader_of_the_destination_restores_what_the_reader_of_the_source_copied(
    world: World, owners: Owners, tmp_path: Path
) -> None:
    first = world.as_owner(owners.first)
    said = first.done("copy", "--from", world.source)
    assert said.text.count("copied as") == 2
    assert said.text.endswith("Snapshots: 2 copied.\n")
    second = world.as_owner(owners.second)
    target = second.restore("latest", tmp_path / "restored")
    second.done("verify", "latest", target)
    assert (target / "more").read_bytes() == noise(50_000, 9)
    listed = second.done("snapshots", "--json").json["snapshots"]
    assert [(each["tags"], each["description"]) for each in listed] == [(["kept"], ""), ([], "with more")]
    assert first.run("ls", "latest").code == NO_KEY


def test_the_next_copy_has_nothing_to_do_and_needs_no_key(world: World, owners: Owners) -> None:
    copied = world.as_owner(owners.first).done("copy", "--from", world.source, "--json").json
    without_keys = world.as_owner(owners.public)
    before = without_keys.objects()
    again = without_keys.done("copy", "--from", world.source, "--json").json
    assert (again["copied"], again["there"], again["damaged"], again["missing"]) == (0, 2, 0, 0)
    assert [each["copy"] for each in again["snapshots"]] == [each["copy"] for each in copied["snapshots"]]
    assert without_keys.objects() == before
    assert without_keys.done("copy", "--from", world.source).text == "Snapshots: 2 there already.\n"


def test_what_is_stored_is_compressed_as_asked(world: World, owners: Owners) -> None:
    first = world.as_owner(owners.first)
    first.done("copy", "--from", world.source, "--compression", "off")
    assert first.done("stats", "--json").json["totals"]["compression"] <= 1


def test_json_has_the_fields_that_are_documented(world: World, owners: Owners) -> None:
    said = world.as_owner(owners.first).done("copy", "--from", world.source, "--json").json
    assert set(said) == set(json_fields("copy"))
    inner = set(code(without_parentheses(json_fields("copy")["snapshots"])))
    (each, other) = said["snapshots"]
    assert set(each) == inner - {"--dry-run"}
    assert (each["state"], each["problem"], said["dry_run"]) == ("copied", "", False)
    assert each["read"] > 100_000
    assert 0 < other["stored"] < each["stored"]
    assert each["id"] != each["copy"]
    assert ids(world.machine) == [one["id"] for one in said["snapshots"]]


def test_dry_run_lists_and_needs_no_key(world: World, owners: Owners) -> None:
    nobody = world.as_owner(owners.public)
    before = nobody.objects()
    assert nobody.done("copy", "--from", world.source, "-n").text.count("would be copied") == 2
    said = nobody.done("copy", "--from", world.source, "--dry-run", "--json").json
    assert (said["dry_run"], said["missing"], [each["state"] for each in said["snapshots"]]) == (
        True,
        2,
        ["missing", "missing"],
    )
    assert nobody.objects() == before


def test_which_snapshots_are_copied(world: World, owners: Owners) -> None:
    first = world.as_owner(owners.first)
    oldest, newest = ids(world.machine)

    def chosen(*arguments: str) -> list[str]:
        said = first.done("copy", "--from", world.source, "-n", "--json", *arguments).json
        return [each["id"] for each in said["snapshots"]]

    assert chosen("latest") == [newest]
    assert chosen(oldest[:8], "latest", "latest") == [oldest, newest]
    assert chosen("--tag", "kept") == [oldest]
    assert chosen("--path", str(world.tree)) == [oldest, newest]
    assert first.run("copy", "--from", world.source, "--tag", "none").code == 1
    assert first.run("copy", "--from", world.source, "ffffffff").code == 1


def test_the_source_can_stand_in_the_environment(world: World, owners: Owners) -> None:
    first = world.as_owner(owners.first)
    said = first.done("copy", "-q", "latest", environment={"CHUNKSTORE_FROM_REPOSITORY": str(world.source)})
    assert said.stdout == b""
    assert len(ids(first)) == 1
    nothing = first.run("copy")
    assert nothing.code == USAGE
    assert "CHUNKSTORE_FROM_REPOSITORY" in nothing.stderr


def test_what_is_refused(world: World, owners: Owners, tmp_path: Path) -> None:
    first = world.as_owner(owners.first)
    same = first.run("copy", "--from", world.destination)
    assert (same.code, "itself" in same.stderr) == (USAGE, True)
    assert first.run("copy", "--from", tmp_path / "nothing").code == NO_REPOSITORY
    assert first.run("copy", "--from", world.source, "--region", "x").code == USAGE
    no_key = world.as_owner(owners.second).run("copy", "--from", world.source)
    assert no_key.code == NO_KEY
    assert FIRST in no_key.stderr


@pytest.mark.parametrize("role", ["source", "destination"])
def test_a_machine_that_has_not_joined_is_told_which_repository_to_join(
    world: World, owners: Owners, role: str
) -> None:
    first = world.as_owner(owners.first)
    place = world.source if role == "source" else world.destination
    (first.state / "chunkstore" / world.ids[role] / "client").unlink()
    said = first.run("copy", "--from", world.source)
    assert said.code == NO_KEY
    assert f"the {role}, {place}" in said.stderr
    assert "chunkstore join" in said.stderr


def test_signatures_are_checked_in_the_source_and_made_anew(world: World, owners: Owners) -> None:
    first = world.as_owner(owners.first)
    unsigned = first.run("copy", "--from", world.source, "--signed-by", FIRST)
    assert unsigned.code == 1
    assert ids(first) == []
    first.done("-r", world.source, "snapshot", "--sign-with", FIRST, world.tree)
    first.done("copy", "--from", world.source, "latest", "--signed-by", FIRST)
    second, out = world.as_owner(owners.second), world.machine.root / "out"
    assert second.run("restore", "latest", out, "--signed-by", FIRST).code == 1
    first.done("copy", "--from", world.source, "latest~1", "--sign-with", FIRST)
    (signed, _) = ids(first)
    second.done("restore", signed, out, "--signed-by", FIRST)


def test_damage_in_the_source_ends_with_4_and_names_the_file(world: World, owners: Owners) -> None:
    largest = max((world.source / "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    first = world.as_owner(owners.first)
    said = first.run("copy", "--from", world.source, "--json")
    assert said.code == DIFFERENT
    value = json.loads(said.stdout)
    assert value["damaged"] == len([each for each in value["snapshots"] if each["problem"]]) > 0
    assert str(world.tree / "image") in said.stderr
    assert "is not copied" in said.stderr
    assert len(ids(first)) == value["copied"]
