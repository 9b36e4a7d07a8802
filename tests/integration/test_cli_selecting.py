"""Choosing a snapshot on the command line: by time, host, tag and path; and what `snapshots` lists."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import encode_record, record_body
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import read_record
from chunkstore.repository.places import Places
from chunkstore.repository.repository import Repository, open_repository
from chunkstore.storage import open_storage
from tests.command import Machine
from tests.conftest import Keys

FAILED, USAGE = 1, 2
DAY = 86400


def opened(machine: Machine) -> Repository:
    places = Places(machine.state / "chunkstore", machine.cache / "chunkstore")
    return open_repository(open_storage(str(machine.repository)), places, "write")


def move_in_time(machine: Machine, snapshot_id: str, moment: str | datetime) -> None:
    """Make a snapshot one of another time, as a client with another clock would have stored it."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    repository, this = opened(machine), SnapshotId(snapshot_id)
    signed = read_record(repository, this)
    assert signed is not None
    seconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    body = record_body(
        type(signed.record)(
            **{
                **{name: getattr(signed.record, name) for name in signed.record.__slots__},
                "time": seconds * 10**9,
                "end": seconds * 10**9,
            }
        )
    )
    name = names.snapshot(this)
    repository.storage.delete(name)
    assert repository.create(ObjectKind.SNAPSHOT, name, encode_record(body, None), lambda size: bytes(size))


@dataclass(frozen=True)
class Several:
    """Snapshots of one file whose content is the name of the snapshot."""

    machine: Machine
    file: Path
    ids: dict[str, str]

    def cat(self, *options: str, which: str = "", **environment: str) -> str:
        arguments = ("cat", *options, f"{which}:{self.file}")
        return self.machine.done(*arguments, environment=environment).text


@pytest.fixture(scope="module")
def several(initialised: Machine, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Several:
    root = tmp_path_factory.mktemp("several")
    machine = Machine(initialised.copy_to(root / "machine").root, keys.private)
    file, ids = root / "source" / "file", {}
    file.parent.mkdir()

    def take(name: str, moment: str, *options: str, roots: tuple[Path, ...] = (file.parent,)) -> None:
        file.write_text(name)
        ids[name] = machine.snapshot(*options, *roots)
        move_in_time(machine, ids[name], moment)

    take("march", "2026-03-28T12:00:00+00:00", "--host", "a", "--tag", "daily")
    take("before", "2026-10-25T00:30:00+00:00", "--host", "a", "--tag", "daily")  # 02:30 in Berlin
    take("after", "2026-10-25T01:30:00+00:00", "--host", "b", "--tag", "daily", "--tag", "kept")  # 02:30 once more
    take("file", "2026-10-26T10:00:00+00:00", "--host", "b", "--tag", "kept", roots=(file,))
    return Several(machine, file, ids)


TIMES = [
    # (zone, what is said, whose content is found)
    ("UTC", "now", "file"),
    ("UTC", "2026-10-26", "file"),
    ("UTC", "2026-10-26T10:00:00", "file"),
    ("UTC", "2026-10-26T09:59", "after"),
    ("UTC", "2026-10-25", "after"),
    ("UTC", "2026-10", "file"),
    ("UTC", "2026-09", "march"),
    ("UTC", "2026-03-28", "march"),
    ("UTC", "2026-10-25T00:30", "before"),
    ("UTC", "2026-10-25 00:29", "march"),
    ("UTC", "2999-01-01", "file"),
    ("Europe/Berlin", "2026-10-25T02:30", "after"),
    ("Europe/Berlin", "2026-10-25T02:30+02:00", "before"),
    ("Europe/Berlin", "2026-10-25T02:30+01:00", "after"),
    ("Europe/Berlin", "2026-10-25T02:29", "before"),
    ("Europe/Berlin", "2026-10-25T02:29+02:00", "march"),
    ("Europe/Berlin", "2026-10-25T00:30Z", "before"),
    ("Europe/Berlin", "2026-10-25", "after"),
    ("Europe/Berlin", "2026-10-24", "march"),
    ("America/New_York", "2026-10-24", "after"),
    ("Asia/Kolkata", "2026-10-25T06:00", "before"),
    ("Asia/Kolkata", "2026-10-25T05:59", "march"),
    ("Pacific/Apia", "2026-10-25", "after"),
    ("Pacific/Apia", "2026-10-26T22:59", "after"),
    ("Pacific/Apia", "2026-10-26", "file"),
]


@pytest.mark.parametrize(("zone", "said", "found"), TIMES)
def test_the_newest_not_later_than_a_time_in_the_zone_of_the_machine(
    several: Several, zone: str, said: str, found: str
) -> None:
    assert several.cat("--time", said, TZ=zone) == found


def test_ages_count_from_now(initialised: Machine, keys: Keys, tmp_path: Path) -> None:
    machine = Machine(initialised.copy_to(tmp_path / "machine").root, keys.private)
    (tmp_path / "file").write_text("x")
    now = datetime.fromtimestamp(int(time.time()), UTC)
    for days in (20, 10, 2):
        move_in_time(machine, machine.snapshot("--host", f"{days} days old", tmp_path / "file"), now - timedelta(days))
    for age, host in (("1D", 2), ("36h", 2), ("3D", 10), ("1W", 10), ("10D30m", 20), ("2W", 20), ("0s", 2)):
        (*_, newest) = machine.done("snapshots", "--json", "--time", age).json["snapshots"]
        assert newest["host"] == f"{host} days old", age
    result = machine.run("ls", "--time", "1M")
    assert (result.code, result.stdout) == (FAILED, b"")
    assert "no snapshot is as old as that" in result.stderr


@pytest.mark.parametrize(
    ("options", "which", "found"),
    [
        ((), "latest", "file"),
        ((), "latest~1", "after"),
        ((), "latest~3", "march"),
        (("--host", "a"), "latest", "before"),
        (("--host", "a"), "", "before"),
        (("--host", "a"), "latest~1", "march"),
        (("--host", "a", "--host", "b"), "latest", "file"),
        (("--tag", "daily"), "latest", "after"),
        (("--tag", "daily,kept"), "latest", "after"),
        (("--tag", "daily", "--tag", "kept"), "latest", "file"),
        (("--tag", "daily", "--host", "a"), "latest", "before"),
        (("--time", "2026-10-25", "--host", "a"), "latest~1", "march"),
    ],
)
def test_what_narrows_latest(several: Several, options: tuple[str, ...], which: str, found: str) -> None:
    assert several.cat(*options, which=which, TZ="UTC") == found


def test_a_path_means_snapshots_that_it_is_a_root_of(several: Several) -> None:
    assert several.cat("--path", str(several.file.parent)) == "after"
    assert several.cat("--path", str(several.file)) == "file"
    relative = several.machine.done("cat", "--path", "../source/", f"latest:{several.file}", cwd=several.machine.root)
    assert relative.text == "after"
    result = several.machine.run("ls", "--path", several.file.parent.parent)
    assert result.code == FAILED
    assert str(several.file.parent) in result.stderr


def test_an_id_still_names_any_snapshot(several: Several) -> None:
    for name, snapshot_id in several.ids.items():
        assert several.cat(which=snapshot_id[:12]) == several.cat(which=snapshot_id.upper()) == name


def test_every_reading_command_chooses_in_the_same_way(several: Several, tmp_path: Path) -> None:
    when = ("--time", "2026-03-29")
    listed = several.machine.done("ls", *when, "--json").json
    assert listed["snapshot"]["id"] == several.ids["march"]
    assert several.machine.done("ls", *when, f":{several.file.parent}").text == f"{several.file}\n"
    assert several.machine.done("ls", *when, f"latest:{several.file.parent}").text == f"{several.file}\n"
    assert several.machine.run("verify", *when).code == 4
    assert several.machine.done("verify", "--host", "b", "--tag", "kept").code == 0


BAD = [
    (("ls",), "Which snapshot?"),
    (("ls", ":/etc"), "Which snapshot?"),
    (("cat", ":/etc"), "Which snapshot?"),
    (("verify",), "Which snapshot?"),
    (("ls", "--time", "yesterday"), "2026-07-27T10:00"),
    (("ls", "--time", "2026-13-01"), "3D, 2W, 1h30m"),
    (("ls", "--time", ""), "not a time"),
    (("snapshots", "--time", "3X"), "not a time"),
    (("ls", "--tag", "a,,b"), "not a tag"),
    (("ls", "--path", ""), "not a path"),
    (("ls", "--time", "1D", "{id}"), "give `latest`"),
    (("ls", "--host", "a", "{id}"), "give `latest`"),
    (("cat", "--tag", "daily", "{id}:/x"), "give `latest`"),
    (("verify", "--path", "/etc", "{id}"), "give `latest`"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_what_is_wrong_usage(several: Several, arguments: tuple[str, ...], said: str) -> None:
    result = several.machine.run(*(each.replace("{id}", several.ids["march"]) for each in arguments))
    assert (result.code, result.stdout) == (USAGE, b"")
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ls", "latest~4"), "latest~3 is the oldest"),
        (("ls", "--host", "nobody"), "hosts: a, b"),
        (("ls", "--tag", "monthly"), "tags: daily, kept"),
        (("ls", "--time", "2026-01-01"), "the oldest is of 2026-03-28 12:00:00 UTC"),
        (("ls", "--time", "2026-10-24", "--host", "b"), "the oldest is of 2026-10-25 01:30:00 UTC"),
    ],
)
def test_where_no_snapshot_fits_the_message_says_what_there_is(
    several: Several, arguments: tuple[str, ...], said: str
) -> None:
    result = several.machine.run(*arguments)
    assert (result.code, result.stdout) == (FAILED, b"")
    assert said in result.stderr


# -- snapshots


def names_of(several: Several, *options: str) -> list[str]:
    by_id = {snapshot_id: name for name, snapshot_id in several.ids.items()}
    listed = several.machine.done("snapshots", "--json", *options, environment={"TZ": "UTC"}).json
    assert listed["groups"] == []
    return [by_id[each["id"]] for each in listed["snapshots"]]


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ((), ["march", "before", "after", "file"]),
        (("--host", "a"), ["march", "before"]),
        (("--tag", "daily,kept"), ["after"]),
        (("--tag", "kept"), ["after", "file"]),
        (("--time", "2026-10-25T01:00"), ["march", "before"]),
        (("--latest", "1"), ["file"]),
        (("--latest", "2", "--host", "a"), ["march", "before"]),
        (("--latest", "9"), ["march", "before", "after", "file"]),
        (("--host", "nobody"), []),
    ],
)
def test_snapshots_lists_what_fits(several: Several, options: tuple[str, ...], listed: list[str]) -> None:
    assert names_of(several, *options) == listed


def test_snapshots_in_groups(several: Several) -> None:
    ids = several.ids
    done = several.machine.done("snapshots", "--json", "--group-by", "host", "--latest", "1").json
    assert done["groups"] == [
        {"host": "a", "paths": None, "tags": None, "snapshots": [ids["before"]]},
        {"host": "b", "paths": None, "tags": None, "snapshots": [ids["file"]]},
    ]
    assert [each["id"] for each in done["snapshots"]] == [ids["before"], ids["file"]]
    done = several.machine.done("snapshots", "--json", "--group-by", "host,paths,tags").json
    assert [(each["host"], each["tags"]) for each in done["groups"]] == [
        ("a", ["daily"]),
        ("b", ["daily", "kept"]),
        ("b", ["kept"]),
    ]
    text = several.machine.done("snapshots", "--group-by", "host,tags").text
    assert "Host a, Tags daily\n" in text
    assert "\nHost b, Tags daily kept\n" in text
    assert text.endswith("4 snapshots\n")
    assert several.machine.run("snapshots", "--group-by", "user").code == USAGE


def test_snapshots_of_which_none_fits(several: Several) -> None:
    assert several.machine.done("snapshots", "--host", "nobody").text == "No snapshot fits.\n"


def test_the_times_of_snapshots_are_shown_in_the_zone_that_times_are_given_in(several: Several) -> None:
    for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata"):
        shown = datetime(2026, 10, 26, 10, tzinfo=UTC).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")
        text = several.machine.done("snapshots", "--latest", "1", environment={"TZ": zone}).text
        assert shown in text
        assert several.cat("--time", shown, TZ=zone) == "file"
