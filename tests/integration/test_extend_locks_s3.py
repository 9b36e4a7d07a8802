"""`chunkstore extend-locks` on a real S3 server with object lock, as the one who does maintenance."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from chunkstore.storage.s3_placement import is_cold
from tests.conftest import Keys
from tests.integration.test_s3_command import FAILED, UNREACHABLE, USAGE, CloudMachine, refused
from tests.s3_server import SeaweedFS
from tests.trees import look, noise, plant
from tests.unit.test_docs import json_fields

DAY_S = 24 * 3600
DIFFERENT = 4
MAINTENANCE = ("s3:GetObject", "s3:ListBucket", "s3:PutObjectRetention", "s3:GetObjectRetention")


@pytest.fixture
def client(seaweed: SeaweedFS, keys: Keys, tmp_path: Path) -> CloudMachine:
    """The client of an empty repository in a bucket with object lock; all that `init` stored is locked for a day."""
    machine = CloudMachine(tmp_path / "machine", keys.public, seaweed.make_bucket(object_lock=True), "mine/")
    made = machine.init(keys.mail, "--retention", "1d")
    assert (made.code, made.stderr) == (0, "")
    return machine


def locks(machine: CloudMachine) -> dict[str, tuple[str, float]]:
    """Name -> mode and end of the lock of every current version that has one."""
    s3, found = machine.access.client(), {}
    for name in machine.stored():
        try:
            held = s3.get_object_retention(Bucket=machine.access.bucket, Key=f"{machine.place}{name}")["Retention"]
        except s3.exceptions.ClientError:
            continue
        found[name] = held["Mode"], held["RetainUntilDate"].timestamp()
    return found


def versions(machine: CloudMachine) -> dict[str, str]:
    """Name -> its current version."""
    listed = machine.access.client().list_object_versions(Bucket=machine.access.bucket, Prefix=machine.place)
    return {each["Key"][len(machine.place) :]: each["VersionId"] for each in listed["Versions"] if each["IsLatest"]}


def days_left(locked: tuple[str, float]) -> float:
    return (locked[1] - time.time()) / DAY_S


def test_what_is_used_is_locked_for_longer_and_can_not_be_deleted(
    client: CloudMachine, seaweed: SeaweedFS, keys: Keys, tmp_path: Path
) -> None:
    for number, name in enumerate(("old", "new")):
        plant(tmp_path / name, {b"file": noise(300_000, number)})
    old = client.snapshot("--retention", "1d", tmp_path / "old")
    of_old = {name for name in client.stored() if name.startswith("packs/")}
    new = client.snapshot("--retention", "1d", tmp_path / "new")
    client.access.client().delete_object(Bucket=client.access.bucket, Key=f"{client.place}snapshots/{old}")
    before = locks(client)
    host = client.as_user(seaweed.make_user(client.access.bucket, *MAINTENANCE))

    planned = host.done("extend-locks", "--retention", "40d", "--dry-run", "--json").json
    assert locks(client) == before
    said = host.done("extend-locks", "--retention", "40d", "--json").json
    assert said == {**planned, "dry_run": False}
    assert set(said) == set(json_fields("extend-locks"))
    assert (said["snapshots"], said["gone"], said["problems"]) == (1, 0, [])

    after, current = locks(client), versions(client)
    longer = {name for name, locked in after.items() if locked != before[name]}
    assert set(before) - longer < of_old, "but what both have: the top of the tree of names"
    assert len(set(before) - longer) > 0
    assert {name.split("/")[0] for name in longer} == {"config", "keys", "recipients", "packs", "index", "snapshots"}
    assert f"snapshots/{new}" in longer
    for name in longer:
        assert 40 <= days_left(after[name]) <= 41.01
        assert after[name][0] == "COMPLIANCE"
    assert said["extended"]["count"] == len(longer)
    s3 = client.access.client()
    for name in longer:
        with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
            s3.delete_object(
                Bucket=client.access.bucket, Key=f"{client.place}{name}", VersionId=current[name],
                BypassGovernanceRetention=True,
            )  # fmt: skip

    again = host.done("extend-locks", "--retention", "40d").text.splitlines()
    assert again[0].endswith("0 objects, 0 B, for 1 snapshot")
    assert locks(client) == after
    assert look(client.with_keys(keys.private).restore(new, tmp_path / "out")) == look(tmp_path / "new")


def test_rights(client: CloudMachine, seaweed: SeaweedFS, source: Path) -> None:
    """The policy of docs/s3.md is enough; without the right to lock it says which is missing."""
    client.snapshot(source)
    lacking = client.as_user(
        seaweed.make_user(client.access.bucket, *(each for each in MAINTENANCE if each != "s3:PutObjectRetention"))
    )
    refused(lacking.run("extend-locks", "--retention", "9d"), UNREACHABLE, "lack s3:PutObjectRetention")


def test_in_governance_mode_who_has_the_right_can_delete(
    seaweed: SeaweedFS, keys: Keys, tmp_path: Path, source: Path
) -> None:
    machine = CloudMachine(tmp_path / "machine", keys.public, seaweed.make_bucket(object_lock=True), "mine/")
    mode = ("--retention", "1d", "--lock-mode", "governance")
    assert machine.init(keys.mail, *mode).code == 0
    machine.snapshot(*mode, source)
    assert {held for held, _ in locks(machine).values()} == {"GOVERNANCE"}
    machine.done("extend-locks", "--retention", "20d")
    after = locks(machine)
    assert {held for held, _ in after.values()} == {"GOVERNANCE"}, "the mode stays what it is"
    assert all(days_left(locked) >= 20 for locked in after.values())
    s3, (name, version) = machine.access.client(), next(iter(versions(machine).items()))
    place: dict[str, Any] = {"Bucket": machine.access.bucket, "Key": f"{machine.place}{name}", "VersionId": version}
    with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
        s3.delete_object(**place)
    s3.delete_object(**place, BypassGovernanceRetention=True)
    assert name not in machine.stored()


def test_objects_without_a_lock_get_the_mode_that_is_asked_for(
    seaweed: SeaweedFS, keys: Keys, tmp_path: Path, source: Path
) -> None:
    machine = CloudMachine(tmp_path / "machine", keys.public, seaweed.make_bucket(object_lock=True), "mine/")
    assert machine.init(keys.mail).code == 0
    machine.snapshot(source)
    assert locks(machine) == {}
    machine.done("extend-locks", "--retention", "2d", "--lock-mode", "GOVERNANCE")
    assert {held for held, _ in locks(machine).values()} == {"GOVERNANCE"}
    assert locks(machine).keys() == set(machine.stored())


def test_what_is_not_there_is_said(client: CloudMachine, source: Path) -> None:
    client.snapshot(source)
    result = client.run("extend-locks", "--retention", "9d", "--host", "nobody")
    assert (result.code, "no snapshot fits" in result.stderr) == (FAILED, True)
    s3, bucket = client.access.client(), client.access.bucket
    victim, *_ = (  # without a tree pack it is not even known what is used
        name
        for name in client.stored("packs/")
        if is_cold(name, s3.get_object(Bucket=bucket, Key=f"{client.place}{name}")["Body"].read())
    )
    s3.delete_object(Bucket=bucket, Key=f"{client.place}{victim}")
    result = client.run("extend-locks", "--retention", "9d")
    assert result.code == DIFFERENT
    assert "chunks that snapshots need and that are nowhere" in result.stderr
    assert days_left(locks(client)[client.stored("packs/")[0]]) >= 9


def test_where_there_are_no_locks(seaweed: SeaweedFS, keys: Keys, tmp_path: Path, source: Path) -> None:
    machine = CloudMachine(tmp_path / "machine", keys.public, seaweed.make_bucket(), "mine/")
    assert machine.init(keys.mail).code == 0
    machine.snapshot(source)
    for options in ((), ("--dry-run",)):
        refused(machine.run("extend-locks", "--retention", "9d", *options), USAGE, "has no locks", "object lock")
    result = machine.run("extend-locks")
    assert (result.code, "Give --retention" in result.stderr) == (USAGE, True)
    result = machine.run("-r", tmp_path / "here", "extend-locks", "--retention", "9d")
    assert (result.code, "only for repositories at s3://" in result.stderr) == (USAGE, True)
    refused(machine.run("extend-locks", "nothing", "--retention", "9d"), USAGE, "has no locks")
