"""`chunkstore forget`: rules, the table that explains them, what is refused, and what other commands see afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.command import Machine
from tests.conftest import Keys

FAILED, USAGE, NO_KEY = 1, 2, 12
DAY_S = 86400


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "file").write_text("small")
    return tmp_path / "small"


def take(machine: Machine, path: Path, count: int, *options: str) -> list[str]:
    """The ids of so many snapshots, each of something new."""
    ids = []
    for _ in range(count):
        (path / "changing").write_bytes(os.urandom(3000))
        ids.append(machine.snapshot(*options, path))
    return ids


def there(machine: Machine) -> list[str]:
    return [each["id"] for each in machine.done("snapshots", "--json").json["snapshots"]]


def age(machine: Machine, snapshot: str, days: float) -> None:
    """Let the storage say that it has a record since another time."""
    path = machine.repository / "snapshots" / snapshot
    then = path.stat().st_mtime + days * DAY_S
    os.utime(path, (then, then))


def spoil(machine: Machine, name: str) -> None:
    """Change a byte of an object."""
    path = machine.repository / name
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def test_a_rule_with_its_table(machine: Machine, small: Path, keys: Keys) -> None:
    ids = take(machine, small, 4)
    machine.done("tag", ids[0], "--pin")
    before = machine.objects()
    dry = machine.done("forget", "--keep-last", "2", "--dry-run")
    assert machine.objects() == before
    lines = {line[:8]: line for line in dry.text.splitlines()}
    assert "stays" in lines[ids[0][:8]]
    assert "pinned" in lines[ids[0][:8]]
    assert lines[ids[1][:8]].endswith("goes   no rule keeps it")
    assert lines[ids[2][:8]].endswith("last 2 of 2")
    assert lines[ids[3][:8]].endswith("last 1 of 2")
    assert dry.text.endswith("1 snapshot would be forgotten, 3 stay.\n")

    done = machine.done("forget", "--keep-last", "2")
    assert done.text.splitlines()[:-1] == dry.text.splitlines()[:-1]
    assert "1 snapshot forgotten, 3 stay" in done.text
    assert there(machine) == [ids[0], *ids[2:]]
    gone = before.keys() - machine.objects().keys()
    assert gone == {f"snapshots/{ids[1]}"}
    assert not keys.asked.exists()


def test_json(machine: Machine, small: Path) -> None:
    ids = take(machine, small, 3, "--tag", "a")
    dry = machine.done("forget", "--json", "-n", "--keep-last", "2").json
    assert (dry["dry_run"], dry["forgotten"], dry["refused"], dry["prune"]) == (True, [], [], None)
    (group,) = dry["groups"]
    assert group["paths"] == [str(small)]
    assert [(each["id"], each["stays"]) for each in group["snapshots"]] == [
        (ids[0], False),
        (ids[1], True),
        (ids[2], True),
    ]
    assert group["snapshots"][1]["reasons"] == [{"rule": "last", "text": "last 2 of 2"}]
    assert group["snapshots"][0]["tags"] == ["a"]
    done = machine.done("forget", "--json", "--keep-last", "2").json
    assert done == {**dry, "dry_run": False, "forgotten": [ids[0]]}


def test_quiet_says_nothing(machine: Machine, small: Path) -> None:
    ids = take(machine, small, 3)
    assert machine.done("forget", "-q", "--keep-last", "2").stdout == b""
    assert there(machine) == ids[1:]


def test_groups_and_filters(machine: Machine, small: Path) -> None:
    a, b = take(machine, small, 2, "--host", "a"), take(machine, small, 2, "--host", "b")
    said = machine.done("forget", "--keep-last", "1", "--host", "a")
    assert "Host a" in said.text
    assert "Host b" not in said.text
    assert "2 snapshots not looked at" in said.text
    assert there(machine) == [a[1], *b]
    machine.done("forget", "--keep-last", "1")
    assert there(machine) == [a[1], b[1]]
    machine.done("forget", "--keep-last", "1", "--group-by", "")
    assert there(machine) == [b[1]]


def test_by_name(machine: Machine, small: Path) -> None:
    ids = take(machine, small, 5)
    machine.done("tag", ids[0], "--pin")
    said = machine.done("forget", ids[1][:8], "latest")
    assert "asked for" in said.text
    assert there(machine) == [ids[0], ids[2], ids[3]]
    pinned = machine.run("forget", ids[0], ids[2])
    assert pinned.code == FAILED
    assert "unpin" in pinned.stderr
    assert there(machine) == [ids[0], ids[2], ids[3]]
    machine.done("tag", ids[0], "--unpin")
    assert machine.names("amendments/")
    machine.done("forget", ids[0])
    assert not machine.names("amendments/")
    assert machine.run("forget", ids[2], ids[3]).code == FAILED
    assert there(machine) == ids[2:4]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give a rule"),
        (("--max-removed", "5"), "Give a rule"),
        (("--host", "here"), "Give a rule"),
        (("latest", "--keep-last", "1"), "rules"),
        (("latest", "--max-removed", "5"), "about rules"),
        (("--keep-last", "0"), "keep-last"),
        (("--keep-within", "1y6m"), "1Y6M"),
        (("--keep-within", "soon"), "not an age"),
        (("--keep-last", "1", "--max-removed", "101%"), "101%"),
        (("--keep-last", "1", "--max-removed", "half"), "50%"),
        (("--keep-last", "1", "--believe-times", "once"), "not a time"),
        (("--keep-last", "1", "--group-by", "user"), "host, paths, tags"),
        (("--keep-tag", "", "--keep-last", "1"), "empty"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    initialised: Machine, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = initialised.copy_to(tmp_path / "machine").run("forget", *arguments)
    assert result.code == USAGE
    assert said in result.stderr
    assert result.stdout == b""


def test_what_shrinks_too_much_is_refused_and_told_how_to_go_on(machine: Machine, small: Path) -> None:
    ids = take(machine, small, 6)
    for options in ((), ("--dry-run",), ("--json",)):
        refused = machine.run("forget", "--keep-last", "1", *options)
        assert refused.code == FAILED
        assert "--max-removed 5" in refused.stderr
        assert refused.stdout
        assert "--json" in options or refused.text.endswith("Refused: 5 snapshots would go, 1 stays.\n")
    assert machine.run("forget", "--json", "--keep-last", "1").json["refused"]
    assert there(machine) == ids
    machine.done("forget", "--keep-last", "1", "--max-removed", "5")
    assert there(machine) == ids[5:]


def test_a_whole_group_goes_only_when_that_is_said(machine: Machine, small: Path) -> None:
    kept = take(machine, small, 1, "--tag", "x")
    other = take(machine, small, 2, "--host", "other")
    refused = machine.run("forget", "--keep-tag", "x")
    assert refused.code == FAILED
    assert "--remove-whole-groups" in refused.stderr
    assert there(machine) == [*kept, *other]
    assert (
        "would be left in the repository"
        in machine.run("forget", "--keep-tag", "y", "--remove-whole-groups", "--max-removed", "100%").stderr
    )
    machine.done("forget", "--keep-tag", "x", "--remove-whole-groups")
    assert there(machine) == kept


def test_dates_that_the_storage_does_not_confirm(machine: Machine, small: Path) -> None:
    ids = take(machine, small, 3)
    for each in ids[1:]:
        age(machine, each, 400)
    said = machine.run("forget", "--keep-last", "1")
    assert said.code == 0
    assert said.text.count("its date is not believed") == 2
    assert "--believe-times" in said.stderr
    assert there(machine) == ids
    # As if the repository had been copied: all is stored later than it says.
    done = machine.done("forget", "--keep-last", "1", "--believe-times", "2100-01-01")
    assert done.text.count("last 1 of 1") == 1
    assert there(machine) == ids[2:]


def test_what_can_not_be_read_stops_rules_and_not_names(machine: Machine, small: Path) -> None:
    ids = take(machine, small, 4)
    machine.done("tag", ids[0], "--pin")
    (name,) = machine.names("amendments/")
    machine.forget_cache()
    spoil(machine, name)
    refused = machine.run("forget", "--keep-last", "3")
    assert refused.code == FAILED
    assert name in refused.stderr
    assert "chunkstore repair exclude" in refused.stderr
    assert there_all(machine) == ids
    assert machine.run("forget", ids[1]).code == 0
    assert there_all(machine) == [ids[0], *ids[2:]]


def there_all(machine: Machine) -> list[str]:
    """Those that are listed, whatever is complained about."""
    return [each["id"] for each in machine.run("snapshots", "--json").json["snapshots"]]


@pytest.mark.parametrize("prune", [False, True])
def test_after_its_last_snapshot_was_forgotten_a_machine_goes_on(
    owner: Machine, small: Path, tmp_path: Path, prune: bool
) -> None:
    """The next run merges with a manifest whose snapshot is gone; with `prune` much of what it names is gone too."""
    ids = take(owner, small, 3)
    (small / "new").write_bytes(os.urandom(200_000))
    last = owner.snapshot(small)
    owner.done("forget", *(["--prune"] if prune else []), last, *ids[1:])
    assert there(owner) == ids[:1]
    again = owner.snapshot(small)
    target = owner.restore(again, tmp_path / "target")
    for path in small.iterdir():
        assert (target / path.name).read_bytes() == path.read_bytes()
    assert owner.restore(ids[0], tmp_path / "old").joinpath("file").read_text() == "small"


def test_prune_does_both(machine: Machine, small: Path) -> None:
    for _ in range(4):
        (small / "large").write_bytes(os.urandom(300_000))
        last = machine.snapshot(small)
    before = machine.names("packs/")
    done = machine.done("forget", "--json", "--prune", "--keep-last", "1").json
    assert len(done["forgotten"]) == 3
    assert (done["prune"]["finished"], done["prune_error"]) == (True, None)
    assert before - machine.names("packs/")
    assert there(machine) == [last]


def test_what_was_forgotten_is_told_when_the_prune_refuses(machine: Machine, small: Path) -> None:
    ids = take(machine, small, 4)
    machine.done("forget", "--prune", "--max-unused", "0", ids[0])
    spoil(machine, "prunes/0000000000000001.done")
    result = machine.run("forget", "--json", "--prune", ids[1])
    assert result.code == FAILED
    assert result.json["forgotten"] == [ids[1]]
    assert result.json["prune"] is None
    assert "repair exclude" in result.json["prune_error"]
    assert result.json["prune_error"] in result.stderr
    for_people = machine.run("forget", "--prune", ids[2])
    assert for_people.code == FAILED
    assert "1 snapshot forgotten" in for_people.text


def test_a_dry_run_prunes_nothing(machine: Machine, small: Path) -> None:
    take(machine, small, 3)
    before = machine.objects()
    machine.done("forget", "--dry-run", "--prune", "--keep-last", "2")
    assert machine.objects() == before


def test_no_key_is_needed(machine: Machine, small: Path, tmp_path: Path) -> None:
    ids = take(machine, small, 2)
    (tmp_path / "empty").mkdir(mode=0o700)
    machine.done("forget", "--keep-last", "1", environment={"GNUPGHOME": str(tmp_path / "empty")})
    assert there(machine) == ids[1:]


def test_a_machine_that_listed_it_before_does_not_show_it_any_more(
    machine: Machine, small: Path, tmp_path: Path
) -> None:
    ids = take(machine, small, 3)
    other = machine.copy_to(tmp_path / "other")
    other = Machine(other.root, other.gnupg, machine.repository)
    assert there(other) == ids
    machine.done("forget", ids[1])
    assert there(other) == [ids[0], ids[2]]


def test_a_snapshot_with_a_session_stays_until_that_counts_as_dead(machine: Machine, small: Path) -> None:
    ids = take(machine, small, 2)
    session = machine.repository / "sessions" / ids[0]
    session.parent.mkdir(exist_ok=True)
    session.write_bytes(b"left behind by a run that committed")
    stays = machine.run("forget", ids[0])
    assert stays.code == FAILED
    assert "its session is not over" in stays.text
    assert there(machine) == ids
    machine.done("forget", "--stale-after", "0s", ids[0])
    assert there(machine) == ids[1:]
    assert not machine.names("sessions/")
