"""With the private key check opens every chunk, and says which files damage hits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from chunkstore.format import names
from chunkstore.format import pack as packs
from chunkstore.format.pack import read_pack
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.check.values import Everything, Part
from tests.checking import World, checked, make_world
from tests.engine import Client, flip, listed, pack_id_of, put_generation, snapshot_ids, temporary_directory


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with temporary_directory() as base:
        yield make_world(base)


def not_restored(client: Client) -> set[bytes]:
    """The oracle: the paths of files that a restore of all snapshots can not bring back, as they were on the machine."""
    found: set[bytes] = set()
    for snapshot_id in snapshot_ids(client.storage):
        if snapshot_id == "d" * 32:
            continue
        _, done = client.restore(snapshot_id)
        found |= {os.fsencode(problem.split(":")[0]) for problem in done.problems}
    return {path.rsplit(b"/", 1)[-1] for path in found}


def content_packs(world: World) -> list[str]:
    return [name for name in world.names(names.PACKS) if world.storage.get(name)[9] == 4]


def test_the_files_that_damage_hits_are_those_that_can_not_be_restored(world: World) -> None:
    for name in content_packs(world):
        with world.damaged() as client:
            client.storage.delete(name)
            found = checked(client, opened=True).about(name)
            assert {path.rsplit(b"/", 1)[-1] for path in found.files} == not_restored(client)
            assert found.files
            assert found.more_files == 0


def test_a_flipped_byte_hits_only_the_files_whose_chunks_it_is_in(world: World) -> None:
    for name in content_packs(world):
        info = read_pack(world.storage.get(name), pack_id_of(name), name, world.client.open().key)
        frame = info.frames[0]
        with world.damaged() as client:
            flip(client.storage, name, frame.offset + frame.stored // 2)
            found = checked(client, opened=True).about(name)
            assert f"{len(frame.ids)} of its" in found.message
            assert {path.rsplit(b"/", 1)[-1] for path in found.files} == not_restored(client)


def test_damage_of_padding_is_told_and_hits_no_file(world: World) -> None:
    name = content_packs(world)[0]
    info = read_pack(world.storage.get(name), pack_id_of(name), name, world.client.open().key)
    last = info.frames[-1]
    with world.damaged() as client:
        flip(client.storage, name, last.offset + last.stored)
        opened = checked(client, opened=True).about(name)
        assert "every chunk in it can be read all the same" in opened.message
        assert opened.files == ()
        assert opened.snapshots == ()
        plain = checked(client, Everything()).about(name)
        assert set(plain.snapshots) == world.hit_by({pack_id_of(name)})  # nobody can tell what is hit


def test_a_damaged_manifest_is_told_with_its_snapshots(world: World) -> None:
    found = 0
    for name in set(world.names(names.PACKS)) - set(content_packs(world)):
        with world.damaged() as client:
            client.storage.delete(name)
            report = checked(client, opened=True)
            assert set(report.about(name).snapshots) == world.hit_by({pack_id_of(name)})
            found += any("list of files" in each.message for each in report.damage)
    assert found


def test_a_chunk_that_is_not_what_its_id_says_is_found(world: World) -> None:
    """Authentic, in a pack with the right name, and yet wrong: whoever has the keys of a client can store that."""
    with world.damaged() as client:
        forge_lengths(client)
        assert checked(client, Everything()).damage == []
        report = checked(client, opened=True)
        assert any("can not be read (chunk" in each.message for each in report.damage)
        assert report.done.hit


def forge_lengths(client: Client) -> None:
    """Store a content pack again whose table swaps two chunks of a frame."""
    repository, storage = client.open("write"), client.storage
    name, info = next(
        (name, info)
        for name in listed(storage, names.PACKS)
        for info in [read_pack(storage.get(name), pack_id_of(name), name, repository.key)]
        if info.frames[0].kind is ChunkKind.CONTENT and len(info.frames[0].ids) > 1
    )
    stored = storage.get(name)
    body: list[bytes | bytearray | memoryview] = [
        packs.header(info.plane, info.slots, repository.state.messages, repository.key)
    ]
    frames = []
    for frame in info.frames:
        frames.append(replace(frame, offset=sum(map(len, body))))
        body.append(stored[frame.offset :][: frame.stored])
    first = frames[0]
    frames[0] = replace(first, ids=[first.ids[1], first.ids[0], *first.ids[2:]])
    forged, data = packs.finish(info.plane, info.slots, frames, body, repository.key, os.urandom)
    storage.put(names.pack(forged.pack_id), data)
    infos = [
        read_pack(storage.get(each), pack_id_of(each), each, repository.key)
        for each in listed(storage, names.PACKS)
        if each != name
    ]
    put_generation(repository, 2, infos, listed(storage, names.RUNS))


def test_a_part_of_the_packs_can_be_opened(world: World) -> None:
    reports = [checked(world.client, Part(number, 3), opened=True) for number in (1, 2, 3)]
    whole = checked(world.client, opened=True).done
    assert sum(each.done.opened for each in reports) == whole.opened
    assert sum(each.done.read.count for each in reports) == whole.read.count
    assert all(each.damage == [] for each in reports)


def test_workers_find_the_same(world: World) -> None:
    with world.damaged() as client:
        for name in content_packs(world)[::2]:
            flip(client.storage, name)
        alone = checked(client, opened=True)
        many = checked(client.but(workers=4), opened=True)
        assert many.findings == alone.findings
        assert many.done == alone.done


def test_with_the_whole_repository_lost_all_snapshots_are_hit(world: World) -> None:
    with world.damaged() as client:
        for name in listed(client.storage, names.PACKS):
            client.storage.delete(name)
        report = checked(client, opened=True)
        assert report.done.hit == 4
        assert {each.object for each in report.damage} >= set(world.names(names.PACKS))
