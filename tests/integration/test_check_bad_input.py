"""A storage that lists badly, objects that somebody forged: each is told, none ends in a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest

from chunkstore.errors import Damaged, NoRepository, StorageError, StorageUnreachable
from chunkstore.format import names
from chunkstore.format.index import (
    Generation,
    IndexSegment,
    RunIndex,
    encode_generation,
    encode_run_index,
    encode_segment,
    segment_digest,
)
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import decode_record, encode_record, record_body
from chunkstore.format.runs import PlanDone, encode_plan_done
from chunkstore.format.wire import pack
from chunkstore.ids import ChunkId, PackId, SnapshotId
from chunkstore.operations.catalog import snapshots
from chunkstore.operations.check.findings import Kind, Severity
from chunkstore.operations.check.names import kind_of
from chunkstore.operations.check.values import Everything
from chunkstore.progress import Silent
from chunkstore.storage import ObjectInfo, Storage
from chunkstore.storage.faulty import Fault, FaultyStorage, Outcome, Verb
from tests.checking import World, checked, make_world, put_session
from tests.engine import Client, indexed_packs, listed, snapshot_ids, temporary_directory


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with temporary_directory() as base:
        yield make_world(base)


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with world.damaged() as client:
        yield client


class BadlyListed:
    """A storage whose listings are changed on their way."""

    def __init__(self, inner: Storage, change: Callable[[str, list[ObjectInfo]], list[ObjectInfo]]) -> None:
        self.inner = inner
        self.change = change

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self.change(prefix, [*self.inner.list(prefix)]))


def with_listing(client: Client, change: Callable[[str, list[ObjectInfo]], list[ObjectInfo]]) -> Client:
    return client.but(storage=BadlyListed(client.storage, change))


# -- listings


@pytest.mark.parametrize(
    ("verb", "outcome"),
    [
        ("list", Outcome.FAILS),
        ("list", Outcome.ANSWER_LOST),
        ("get", Outcome.FAILS),
        ("get", Outcome.ANSWER_LOST),
        ("stat", Outcome.FAILS),
    ],
)
def test_an_error_of_any_call_ends_the_check_with_it(client: Client, verb: Verb, outcome: Outcome) -> None:
    """Nothing is concluded from half a listing, which is what an answer that breaks off leaves."""
    ended = 0
    for at in count(1, 3):
        faulty = FaultyStorage(client.storage, [Fault(at, outcome, frozenset({verb}))])
        try:
            report = checked(client.but(storage=faulty))
        except StorageUnreachable:
            ended += 1
        else:
            assert report.damage == []
            if faulty.pending:
                break
    assert ended


def test_a_listing_of_nothing_is_no_repository(client: Client) -> None:
    with pytest.raises(NoRepository):
        checked(with_listing(client, lambda prefix, infos: []))


@pytest.mark.parametrize("prefix", [names.SNAPSHOTS, names.PACKS, names.SEGMENTS, names.GENERATIONS, "index/", ""])
def test_a_listing_that_leaves_out_what_is_there_is_told(client: Client, prefix: str) -> None:
    assert [*snapshots(client.open(), Silent())]  # this machine knows them by now

    def change(asked: str, infos: list[ObjectInfo]) -> list[ObjectInfo]:
        hidden = prefix or "config/"
        return [info for info in infos if not info.name.startswith(hidden) or (not prefix and asked)]

    report = checked(with_listing(client, change))
    if prefix == names.SEGMENTS:  # they are asked for by name
        assert report.damage == []
    else:
        assert any("does not list" in each.message for each in report.damage), report.damage


@pytest.mark.parametrize("kind", [Kind.PACK, Kind.SNAPSHOT])
def test_a_listing_that_misses_one_object_is_told_by_its_name(client: Client, kind: Kind) -> None:
    assert [*snapshots(client.open(), Silent())]
    for hidden in [name for name in listed(client.storage) if kind_of(name) is kind and "d" * 32 not in name]:
        report = checked(
            with_listing(client, lambda prefix, infos, hidden=hidden: [i for i in infos if i.name != hidden])  # type: ignore[misc]
        )
        assert "does not list" in report.about(hidden).message


def test_a_listing_out_of_order_is_refused(client: Client) -> None:
    with pytest.raises(StorageError):
        checked(with_listing(client, lambda prefix, infos: infos[::-1]))


@pytest.mark.parametrize("prefix", [names.SNAPSHOTS, names.AMENDMENTS, names.RECIPIENTS, names.PLANS, names.RUNS])
def test_what_is_listed_and_not_there_is_told(client: Client, prefix: str) -> None:
    gone = next(name for name in listed(client.storage, prefix))
    infos = {info.name: info for info in client.storage.list(prefix)}
    client.storage.delete(gone)

    def change(asked: str, found: list[ObjectInfo]) -> list[ObjectInfo]:
        more = [infos[gone]] if gone.startswith(asked) else []
        return sorted([*found, *more], key=lambda info: info.name)

    assert checked(with_listing(client, change)).about(gone).severity is Severity.DAMAGE


def test_an_object_of_an_impossible_size_is_not_fetched(client: Client) -> None:
    name = listed(client.storage, names.SNAPSHOTS)[0]

    def change(asked: str, found: list[ObjectInfo]) -> list[ObjectInfo]:
        return [ObjectInfo(info.name, 10**12) if info.name == name else info for info in found]

    assert "1000000000000 bytes" in checked(with_listing(client, change)).about(name).message


# -- names


@pytest.mark.parametrize(
    "name",
    [
        "notes",
        "snapshots/latest",
        f"snapshots/{'A' * 4}".lower(),
        "packs/aa/short",
        f"packs/00/{'ab' * 32}",
        "index/run-1",
        "index/backup",
        "prunes/1",
        "prunes/0000000000000001.undone",
        f"keys/{'ab' * 16}",
        "config/1",
        "recipients/current",
        f"sessions/{'ab' * 15}",
        "some/thing/else",
    ],
)
def test_what_does_not_belong_there_is_told_and_is_no_damage(client: Client, name: str) -> None:
    client.storage.put(name, b"something")
    report = checked(client, Everything())
    assert report.about(name).severity is Severity.FOREIGN
    assert report.damage == []


@pytest.mark.parametrize("name", [f"probe-{'ab' * 16}", f"prunes/probe-{'ab' * 16}"])
def test_what_is_put_to_try_the_storage_is_not_told(client: Client, name: str) -> None:
    client.storage.put(name, b"")
    report = checked(client)
    assert report.of(Severity.FOREIGN) == report.damage == []


# -- authentic, and wrong


def put(client: Client, kind: ObjectKind, name: str, body: bytes) -> str:
    repository = client.open("write")
    client.storage.put(name, repository.seal(kind, name, body, os.urandom))
    return name


BODIES = [b"", b"\xc1", pack([]), pack({}), pack({"id": 1}), pack({"number": -1}), pack({"packs": [{}]})]


@pytest.mark.parametrize("body", BODIES, ids=repr)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ObjectKind.CONFIG, names.config(0)),
        (ObjectKind.RECIPIENTS, names.recipients(1)),
        (ObjectKind.SNAPSHOT, names.snapshot(SnapshotId("1" * 32))),
        (ObjectKind.TOMBSTONE, names.snapshot(SnapshotId("1" * 32))),
        (ObjectKind.AMENDMENT, names.amendment("1" * 32)),
        (ObjectKind.SESSION, names.session(SnapshotId("1" * 32))),
        (ObjectKind.PLAN, names.plan(3)),
        (ObjectKind.PLAN_DONE, names.plan_done(2)),
        (ObjectKind.RUN_INDEX, names.run_index(SnapshotId("1" * 32), 0)),
        (ObjectKind.INDEX_SEGMENT, names.segment(b"1" * 32)),
        (ObjectKind.GENERATION, names.generation(9)),
    ],
    ids=lambda each: str(each)[:24],
)
def test_a_forged_object_is_told_by_its_name(client: Client, kind: ObjectKind, name: str, body: bytes) -> None:
    put(client, kind, name, body)
    assert checked(client).about(name).message


def test_a_record_whose_trees_are_not_there_is_damage_that_hits_it(client: Client) -> None:
    repository = client.open()
    old = snapshot_ids(client.storage)[0]
    _, body = repository.read(names.snapshot(old), ObjectKind.SNAPSHOT)
    forged = SnapshotId("1" * 32)
    whole, nowhere = replace(decode_record(body, old).record, id=forged), ChunkId(b"?" * 32)
    for record in (replace(whole, content_root=nowhere), replace(whole, reference_root=nowhere)):
        put(client, ObjectKind.SNAPSHOT, names.snapshot(forged), encode_record(record_body(record), None))
        (found,) = checked(client).damage
        assert found.kind is Kind.CHUNK
        assert found.snapshots == (forged,)


def test_a_record_whose_trees_are_something_else_is_damage_that_hits_it(client: Client) -> None:
    """Its reference root is a content node, or the chunk of a file."""
    repository = client.open()
    old = snapshot_ids(client.storage)[0]
    _, body = repository.read(names.snapshot(old), ObjectKind.SNAPSHOT)
    record = decode_record(body, old).record
    forged = SnapshotId("1" * 32)
    other = replace(record, id=forged, reference_root=record.content_root)
    put(client, ObjectKind.SNAPSHOT, names.snapshot(forged), encode_record(record_body(other), None))
    report = checked(client)
    assert {each for found in report.damage for each in found.snapshots} == {forged}


def test_an_index_that_names_packs_that_never_were(client: Client) -> None:
    info = replace(indexed_packs(client.open())[0], pack_id=PackId(b"?" * 32))
    session = SnapshotId("1" * 32)
    put(client, ObjectKind.RUN_INDEX, names.run_index(session, 0), encode_run_index(RunIndex(session, (info,))))
    (found,) = checked(client).damage
    assert found.object == names.pack(PackId(b"?" * 32))


def test_two_index_objects_that_disagree_are_told(client: Client) -> None:
    info = indexed_packs(client.open())[0]
    first = info.frames[0]
    lies = replace(info, frames=(replace(first, ids=[ChunkId(b"?" * 32), *first.ids[1:]]), *info.frames[1:]))
    session = SnapshotId("f" * 32)
    put(client, ObjectKind.RUN_INDEX, names.run_index(session, 0), encode_run_index(RunIndex(session, (lies,))))
    assert any("says something else of" in each.message for each in checked(client).damage)


def test_an_index_that_lies_about_a_pack_is_found_by_reading_it(client: Client) -> None:
    repository = client.open()
    name = listed(client.storage, names.RUNS)[0]
    _, body = repository.read(name, ObjectKind.RUN_INDEX)
    (info, *others) = indexed_packs(repository)
    first = info.frames[0]
    lies = replace(info, frames=(replace(first, ids=[*first.ids[1:], ChunkId(b"?" * 32)]), *info.frames[1:]))
    session = SnapshotId(name.removeprefix(names.RUNS).partition("-")[0])
    put(client, ObjectKind.RUN_INDEX, name, encode_run_index(RunIndex(session, (lies,))))
    assert body
    assert others is not None
    found = checked(client.without_cache(), Everything()).about(names.pack(info.pack_id))
    assert "not what the index says" in found.message


def test_a_generation_that_empties_the_index_shows_as_what_snapshots_miss(client: Client) -> None:
    segment = encode_segment(IndexSegment(()))
    put(client, ObjectKind.INDEX_SEGMENT, names.segment(segment_digest(segment)), segment)
    runs = frozenset(listed(client.storage, names.RUNS))
    empty = Generation(2, (segment_digest(segment),), runs, frozenset())
    put(client, ObjectKind.GENERATION, names.generation(2), encode_generation(empty))
    report = checked(client)
    assert report.done.hit == 4
    assert any("are in no index" in each.message for each in report.damage)


def test_a_generation_above_all_that_is_garbage_is_told(client: Client) -> None:
    client.storage.put(names.generation(99), b"garbage")
    assert checked(client).about(names.generation(99)).severity is Severity.DAMAGE


def test_an_index_that_went_back_is_told(client: Client) -> None:
    assert checked(client).damage == []  # it knows generation 1 from now on
    client.storage.delete(names.generation(1))
    assert "went back" in checked(client).about(names.generation(1)).message


def test_an_old_session_a_wrong_clock_and_a_left_over_are_notes(client: Client) -> None:
    now, year = client.clock(), 365 * 24 * 3600 * 10**9
    committed = snapshot_ids(client.storage)[0]
    put_session(client, SnapshotId("1" * 32), now - 10 * year)
    put_session(client, SnapshotId("2" * 32), now + 10 * year)
    put_session(client, committed, now)
    report = checked(client)
    assert report.damage == []
    assert "broke off" in report.about(names.session(SnapshotId("1" * 32))).message
    assert "clock is wrong" in report.about(names.session(SnapshotId("2" * 32))).message
    assert "left its session behind" in report.about(names.session(committed)).message


def test_a_mark_of_a_plan_that_is_not_there_is_nothing(client: Client) -> None:
    put(client, ObjectKind.PLAN_DONE, names.plan_done(7), encode_plan_done(PlanDone(7, 1)))
    assert checked(client).damage == []


# -- chains of clients


def test_a_second_record_with_the_number_of_another_is_told(client: Client) -> None:
    repository = client.open()
    old = next(each for each in snapshot_ids(client.storage) if each != "d" * 32)
    _, body = repository.read(names.snapshot(old), ObjectKind.SNAPSHOT)
    forged = SnapshotId("1" * 32)
    record = replace(decode_record(body, old).record, id=forged)
    put(client, ObjectKind.SNAPSHOT, names.snapshot(forged), encode_record(record_body(record), None))
    report = checked(client)
    assert report.damage == []
    forks = [each for each in report.findings if each.kind is Kind.CHAIN]
    assert any({old, forged} == set(each.snapshots) for each in forks)


def test_a_record_that_was_replaced_does_not_follow(client: Client) -> None:
    repository = client.open()
    records = {}
    for each in snapshot_ids(client.storage):
        kind, body = repository.read(names.snapshot(each), ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE)
        if kind is ObjectKind.SNAPSHOT:
            record = decode_record(body, each).record
            records[record.client, record.sequence] = record
    own = repository.state.client
    first = records[own, 0]
    replaced = replace(first, description="another")
    put(client, ObjectKind.SNAPSHOT, names.snapshot(first.id), encode_record(record_body(replaced), None))
    (found,) = [each for each in checked(client).findings if each.kind is Kind.CHAIN]
    assert found.snapshots == (records[own, 1].id,)
    assert "does not follow" in found.message


def test_a_gap_that_forget_makes_is_nothing_and_the_newest_missing_is_a_note(client: Client) -> None:
    repository = client.open()
    numbers = {}
    for each in snapshot_ids(client.storage):
        kind, body = repository.read(names.snapshot(each), ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE)
        if kind is ObjectKind.SNAPSHOT and decode_record(body, each).record.client == repository.state.client:
            numbers[decode_record(body, each).record.sequence] = each
    client.storage.delete(names.snapshot(numbers[1]))
    assert [each for each in checked(client).findings if each.kind is Kind.CHAIN] == []
    client.storage.delete(names.snapshot(numbers[2]))
    (found,) = [each for each in checked(client).findings if each.kind is Kind.CHAIN]
    assert found.severity is Severity.NOTE
    assert "newest snapshot of this machine" in found.message


def test_a_damaged_local_copy_of_the_index_is_not_the_repository(client: Client) -> None:
    checked(client)
    path = client.places.cache_directory(client.open().key.repository_id) / "index.sqlite"
    path.write_bytes(b"SQLite format 3\0" + os.urandom(9000))
    assert checked(client).damage == []


def test_a_garbled_config_is_an_error_that_names_it(client: Client) -> None:
    client.storage.delete(names.config(0))
    client.storage.put(names.config(1), b"x" * 500)
    with pytest.raises(Damaged, match="config/"):
        checked(client)
