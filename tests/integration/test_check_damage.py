"""Every object of a repository is damaged in every way: check finds it, by its name, with the snapshots that it hits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from chunkstore.errors import ChunkstoreError
from chunkstore.format import names
from chunkstore.format.index import decode_run_index, decode_segment
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import read_pack
from chunkstore.ids import PackId, SnapshotId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.check.findings import Kind, Severity
from chunkstore.operations.check.names import kind_of
from chunkstore.operations.check.values import Everything
from chunkstore.storage import Storage
from chunkstore.storage.faulty import WRITING_VERBS, RecordingStorage
from tests.checking import World, checked, garbage, make_world
from tests.engine import clone, flip, listed, pack_id_of, temporary_directory

STORED = [kind for kind in Kind if kind not in (Kind.CHUNK, Kind.CHAIN, Kind.OTHER)]
NEWEST_CONFIG = names.config(1)
ABSORBED_LATER = {Kind.SNAPSHOT, Kind.AMENDMENT, Kind.SESSION, Kind.PLAN, Kind.PLAN_DONE}
"""Kinds that may go away: who forgets, ends or finishes deletes them. Nobody can tell by what is left."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with temporary_directory() as base:
        yield make_world(base)


def of_kind(world: World, kind: Kind) -> list[str]:
    found = [name for name in world.names() if kind_of(name) is kind and name != NEWEST_CONFIG]
    assert found, kind
    return found


def expected_hits(world: World, name: str) -> set[SnapshotId]:
    """The snapshots that need what only this object has."""
    kind = kind_of(name)
    if kind is Kind.PACK:
        return world.hit_by({pack_id_of(name)})
    if kind is Kind.SNAPSHOT:
        return {SnapshotId(name.removeprefix(names.SNAPSHOTS))}
    return set()


def truncate(storage: Storage, name: str) -> None:
    data = storage.get(name)
    storage.put(name, data[: len(data) // 2])


def put_garbage(storage: Storage, name: str) -> None:
    storage.put(name, garbage(len(storage.get(name))))


def put_nothing(storage: Storage, name: str) -> None:
    storage.put(name, b"")


def flip_last(storage: Storage, name: str) -> None:
    flip(storage, name, len(storage.get(name)) - 1)


def flip_first(storage: Storage, name: str) -> None:
    flip(storage, name, 9)  # kind


def put_another(storage: Storage, name: str) -> None:
    """The bytes of another object, of the same kind where there is one."""
    same = [each for each in listed(storage) if kind_of(each) is kind_of(name) and each != name]
    storage.put(name, storage.get((same or [names.snapshot(SnapshotId("d" * 32))])[0]))


HARM = [flip, flip_first, flip_last, truncate, put_garbage, put_nothing, put_another]


def test_a_whole_repository_has_no_damage(world: World) -> None:
    assert {kind_of(name) for name in world.names()} == set(STORED)
    for client in (world.client, world.other):
        for report in (checked(client), checked(client, Everything()), checked(client, opened=True)):
            assert report.damage == []
            assert report.of(Severity.FOREIGN) == []
            assert {each.kind for each in report.of(Severity.NOTE)} == {Kind.SESSION, Kind.PLAN}
            assert report.done.snapshots == 4
            assert report.done.chunks == len(set().union(*world.needs.values()))
            assert report.done.hit == 0


def test_read_data_reads_every_pack_and_open_opens_every_chunk(world: World) -> None:
    packs = world.names(names.PACKS)
    done = checked(world.client, opened=True).done
    assert done.read.count == done.packs.count == len(packs)
    assert done.read.size == done.packs.size == sum(len(world.storage.get(name)) for name in packs)
    assert done.opened == done.chunks + done.copies.count + done.unused
    assert checked(world.client).done.read.count == 0


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("kind", STORED)
def test_damage_is_found_by_name_with_the_snapshots_it_hits(
    world: World, kind: Kind, harm: Callable[[Storage, str], None]
) -> None:
    for name in of_kind(world, kind):
        with world.damaged() as client:
            before = client.storage.get(name)
            harm(client.storage, name)
            assert client.storage.get(name) != before
            report = checked(client, Everything() if kind is Kind.PACK else None)
            found = report.about(name)
            assert found.severity is Severity.DAMAGE
            assert found.remedy
            if kind in (Kind.RUN, Kind.SEGMENT, Kind.GENERATION):
                assert found.snapshots
            else:
                assert set(found.snapshots) == expected_hits(world, name)
                assert [each.object for each in report.damage] == [name]


@pytest.mark.parametrize("kind", [kind for kind in STORED if kind not in ABSORBED_LATER and kind is not Kind.CONFIG])
def test_what_is_missing_is_found_with_the_snapshots_it_hits(world: World, kind: Kind) -> None:
    for name in of_kind(world, kind):
        with world.damaged() as client:
            client.storage.delete(name)
            report = checked(client)
            assert report.damage
            if kind is Kind.PACK:
                assert set(report.about(name).snapshots) == expected_hits(world, name)
                assert len(report.damage) == 1
            elif kind in (Kind.SEGMENT, Kind.GENERATION):
                assert report.about(name).snapshots
            elif kind is Kind.RUN:
                (chunks,) = report.damage
                assert chunks.kind is Kind.CHUNK
                assert chunks.snapshots
            else:
                assert any(name.startswith(each.object) for each in report.damage)


@pytest.mark.parametrize("kind", sorted(ABSORBED_LATER))
def test_what_may_go_away_is_no_damage_when_it_has(world: World, kind: Kind) -> None:
    for name in of_kind(world, kind):
        with world.damaged() as client:
            client.storage.delete(name)
            assert checked(client).damage == []


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_a_damaged_newest_config_is_named_when_the_repository_is_opened(
    world: World, harm: Callable[[Storage, str], None]
) -> None:
    with world.damaged() as client:
        client.storage.delete(names.config(0))
        harm(client.storage, NEWEST_CONFIG)
        with pytest.raises(ChunkstoreError):
            checked(client)


def test_the_snapshots_that_damage_of_the_index_hits_are_those_that_need_its_packs(world: World) -> None:
    for name in [*of_kind(world, Kind.RUN), *of_kind(world, Kind.SEGMENT)]:
        with world.damaged() as client:
            client.storage.delete(name)
            found = {each for finding in checked(client).damage for each in finding.snapshots}
            assert found == world.hit_by(packs_named_by(world, name)), name


def packs_named_by(world: World, name: str) -> set[PackId]:
    repository = world.client.open()
    if name.startswith(names.RUNS):
        packs = decode_run_index(repository.read(name, ObjectKind.RUN_INDEX)[1]).packs
    else:
        body = repository.read(name, ObjectKind.INDEX_SEGMENT)[1]
        packs = decode_segment(body, bytes.fromhex(name.removeprefix(names.SEGMENTS))).packs
    return {info.pack_id for info in packs}


def test_a_data_byte_of_a_content_pack_is_found_by_reading_it_alone(world: World) -> None:
    found = 0
    for name in world.names(names.PACKS):
        with world.damaged() as client:
            info = client.storage.get(name)
            if info[9] != 4:  # a content pack
                continue
            flip(client.storage, name)
            assert checked(client).damage == []
            assert checked(client, Everything()).about(name).severity is Severity.DAMAGE
            found += 1
    assert found > 3


def test_reference_frames_are_read_also_without_reading_packs(world: World) -> None:
    """What is damaged in them is found by the walk over the trees."""
    found = 0
    for name in world.names(names.PACKS):
        info = read_pack(world.storage.get(name), pack_id_of(name), name, world.client.open().key)
        for frame in info.frames:
            if frame.kind is ChunkKind.REFERENCE:
                with world.damaged() as client:
                    flip(client.storage, name, frame.offset + frame.stored // 2)
                    report = checked(client)
                    assert [each.object for each in report.damage] == [name]
                    assert set(report.about(name).snapshots) <= expected_hits(world, name)
                    assert report.about(name).snapshots
                    found += 1
    assert found


def test_several_damages_are_told_apart(world: World) -> None:
    packs = world.names(names.PACKS)
    with world.damaged() as client:
        for name in packs[::2]:
            client.storage.delete(name)
        report = checked(client)
        lost = {pack_id_of(name) for name in packs[::2]}
        assert {each.object for each in report.damage} >= set(packs[::2])
        assert report.done.hit == len(world.hit_by(lost))


def test_damage_that_hits_no_snapshot_is_told_too(world: World) -> None:
    with world.damaged() as client:
        for name in listed(client.storage, names.SNAPSHOTS):
            client.storage.delete(name)
        name = listed(client.storage, names.PACKS)[0]
        client.storage.delete(name)
        report = checked(client)
        assert report.about(name).snapshots == ()
        assert "no snapshot needs" in report.about(name).message


def test_swapped_packs_are_both_found(world: World) -> None:
    for one, two in pairwise(world.names(names.PACKS)):
        with world.damaged() as client:
            first, second = client.storage.get(one), client.storage.get(two)
            client.storage.put(one, second)
            client.storage.put(two, first)
            report = checked(client, Everything())
            assert {each.object for each in report.damage} == {one, two}


def test_damage_changes_nothing_in_the_repository(world: World) -> None:
    with world.damaged() as client:
        client.storage.delete(listed(client.storage, names.PACKS)[1])
        flip(client.storage, listed(client.storage, names.PACKS)[2])
        before = clone(client.storage)
        recording = RecordingStorage(client.storage)
        checked(client.but(storage=recording), opened=True)
        assert recording.calls
        assert [call for call in recording.calls if call.verb in WRITING_VERBS] == []
        assert {n: client.storage.get(n) for n in listed(client.storage)} == {n: before.get(n) for n in listed(before)}
