"""Carrying out a `forget`: what is deleted in which order, what others may do meanwhile, and what a crash leaves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from chunkstore.errors import Damaged, Interrupted, StorageUnreachable
from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import read_record, snapshots
from chunkstore.operations.forget.forgetting import Forgotten, forget
from chunkstore.operations.forget.found import Found, find_all
from chunkstore.operations.forget.policy import SessionState
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage, ObjectInfo, Storage
from chunkstore.storage.faulty import Fault, FaultyStorage, Outcome, RecordingStorage, SimulatedCrash
from tests.engine import Client, WatchedStorage, flip, listed, put_tombstone, temporary_directory
from tests.forgetting import DAY, HOUR, NS, find, put_amendment, put_record, put_session

NOW = 1_900_000_000 * NS


class World:
    """A repository of records alone, some of them with amendments."""

    def __init__(self, base: Path, count: int = 6) -> None:
        self.storage = MemoryStorage(lambda: NOW / NS)
        self.client = Client(self.storage, base / "client", random_bytes=os.urandom)
        self.repository = self.client.create()
        self.ids = [put_record(self.repository, NOW - (count - number) * DAY) for number in range(count)]
        self.storage.clock = lambda: NOW / NS
        self.amendments = {each: put_amendment(self.repository, each, add_tags=("x",)) for each in self.ids[:4]}

    def on(self, storage: Storage) -> Client:
        return self.client.but(storage=storage)

    def shown(self, client: Client | None = None) -> set[SnapshotId]:
        return {each.record.id for each in snapshots((client or self.client).open(), Silent())}


@pytest.fixture
def world() -> Iterator[World]:
    with temporary_directory() as base:
        yield World(base)


def carry_out(client: Client, going: Iterable[SnapshotId], found: Found | None = None) -> Forgotten:
    """Forget these, as `found` knows them."""
    found = find(client) if found is None else found
    by_id = {each.id: each for each in found.candidates}
    return forget(client.open("prune"), found, [by_id[each] for each in going if each in by_id], client.around)


def test_the_record_goes_and_then_what_was_said_about_it(world: World) -> None:
    storage = RecordingStorage(world.storage)
    before = set(listed(world.storage))
    done = carry_out(world.on(storage), world.ids[2:5])
    assert done == Forgotten(tuple(world.ids[2:5]), ())
    gone = [names.snapshot(each) for each in world.ids[2:5]]
    gone += [world.amendments[each] for each in world.ids[2:4]]
    assert [call.name for call in storage.calls if call.verb == "delete"] == gone
    assert before - set(listed(world.storage)) == set(gone)
    assert world.shown() == {*world.ids[:2], world.ids[5]}


def test_copies_on_this_machine_go_with_it(world: World) -> None:
    world.shown()
    copies = world.client.places.cache.glob("*/records/snapshots/*")
    assert {each.name for each in copies} == set(world.ids)
    carry_out(world.client, world.ids[1:3])
    copies = world.client.places.cache.glob("*/records/snapshots/*")
    assert {each.name for each in copies} == {world.ids[0], *world.ids[3:]}


def test_what_is_needed_of_a_record_is_known(world: World) -> None:
    found = find(world.client)
    by_id = {each.id: each for each in found.candidates}
    for snapshot in snapshots(world.client.open(), Silent()):
        mine = by_id[snapshot.record.id].snapshot
        assert (mine.tags, mine.pinned) == (snapshot.tags, snapshot.pinned)
        for name in ("id", "time", "end", "host", "user", "roots", "partial"):
            assert getattr(mine.record, name) == getattr(snapshot.record, name)
    assert [by_id[each].stored for each in world.ids] == [(NOW - (6 - number) * DAY + NS) / NS for number in range(6)]


# -- sessions


def test_while_a_session_is_alive_its_snapshot_stays(world: World) -> None:
    put_session(world.repository, world.ids[0], NOW)
    found = find(world.client)
    states = {each.id: each.session for each in found.candidates}
    assert states == dict.fromkeys(world.ids, SessionState.OVER) | {world.ids[0]: SessionState.OPEN}
    done = carry_out(world.client, world.ids[:2], found)
    assert done == Forgotten((world.ids[1],), ((world.ids[0], "its session is not over"),))
    assert world.ids[0] in world.shown()
    assert world.amendments[world.ids[0]] in listed(world.storage)


@pytest.mark.parametrize("clock", [True, False], ids=["storage has a clock", "storage has none"])
@pytest.mark.parametrize("off", [-5 * HOUR, -20 * 365 * DAY, 20 * 365 * DAY])
def test_in_place_of_a_snapshot_with_a_dead_session_a_tombstone_stands(world: World, clock: bool, off: int) -> None:
    """Whatever the clocks say: nothing is lost when they are wrong."""
    if not clock:
        world.storage.clock = None
    put_session(world.repository, world.ids[0], max(NOW + off, 0))
    storage = RecordingStorage(world.storage)
    done = carry_out(world.on(storage), world.ids[:1])
    assert done.gone == (world.ids[0],)
    assert read_record(world.repository, world.ids[0]) is None
    session = names.session(world.ids[0])
    changes = [(call.verb, call.name) for call in storage.calls if call.verb in ("put", "delete")]
    assert changes == [
        ("put", names.snapshot(world.ids[0])),
        ("delete", session),
        ("delete", world.amendments[world.ids[0]]),
    ]
    assert not listed(world.storage, names.SESSIONS)


@pytest.mark.parametrize("turn", range(5))
def test_a_tombstone_is_seen_where_copies_of_the_record_are(world: World, turn: int) -> None:
    """Copies are known by name and length, and both objects are small: the tombstone must have another length."""
    other = world.client.copy(world.client.base.parent / "other")
    assert world.ids[0] in world.shown(other)
    put_session(world.repository, world.ids[0], NOW - DAY)
    carry_out(world.client, world.ids[:1])
    assert world.ids[0] not in world.shown(other)
    assert world.ids[0] not in world.shown()


def test_a_session_object_that_can_not_be_read_blocks_nothing(world: World) -> None:
    put_session(world.repository, world.ids[0], NOW - DAY)
    world.storage.clock = None
    flip(world.storage, names.session(world.ids[0]))
    assert carry_out(world.client, world.ids[:1]).gone == (world.ids[0],)
    assert read_record(world.repository, world.ids[0]) is None


def test_the_session_object_beside_a_tombstone_is_cleared_away(world: World) -> None:
    dead, alive = SnapshotId("d" * 32), SnapshotId("a" * 32)
    for each in (dead, alive):
        put_session(world.repository, each, NOW)
    put_tombstone(world.repository, dead)
    carry_out(world.client, [])
    assert listed(world.storage, names.SESSIONS) == [names.session(alive)]
    assert read_record(world.repository, dead) is None


# -- others at work


def test_a_tombstone_that_somebody_put_meanwhile_stays(world: World) -> None:
    found = find(world.client)
    put_session(world.repository, world.ids[0], NOW - DAY)
    carry_out(world.client, world.ids[:1])
    done = carry_out(world.client, world.ids[:1], found)
    assert done == Forgotten((), ((world.ids[0], "a tombstone stands there by now"),))
    assert read_record(world.repository, world.ids[0]) is None


def test_what_somebody_else_forgot_meanwhile_counts_as_forgotten(world: World) -> None:
    found = find(world.client)
    carry_out(world.client, world.ids[:2])
    assert carry_out(world.client, world.ids[:3], found).gone == tuple(world.ids[:3])
    assert world.shown() == set(world.ids[3:])


def test_what_is_pinned_meanwhile_stays(world: World) -> None:
    found = find(world.client)
    put_amendment(world.repository, world.ids[0], pinned=True)
    done = carry_out(world.client, world.ids[:2], found)
    assert done.gone == (world.ids[1],)
    assert done.left == ((world.ids[0], "its tags or its pin were changed meanwhile"),)
    assert next(each for each in find(world.client).candidates if each.id == world.ids[0]).snapshot.pinned


def test_an_unreadable_amendment_that_comes_meanwhile_stops_it(world: World) -> None:
    found = find(world.client)
    flip(world.storage, put_amendment(world.repository, world.ids[0], pinned=True))
    before = listed(world.storage)
    with pytest.raises(Damaged, match="meanwhile"):
        carry_out(world.client, world.ids[:2], found)
    assert listed(world.storage) == before


def test_two_that_forget_at_once_do_no_harm(world: World) -> None:
    """The second one does all of its work at each call of the first one."""
    base = world.client.base.parent
    put_session(world.repository, world.ids[1], NOW - DAY)
    start = {info.name: world.storage.get(info.name) for info in world.storage.list("")}
    for at in range(200):
        for name in set(listed(world.storage)) | set(start):
            world.storage.put(name, start[name])
        count = 0

        def meanwhile(verb: str, name: str, at: int = at) -> None:
            nonlocal count
            count += 1
            if count == at + 1:
                carry_out(world.client.copy(base / f"{at}"), world.ids[:5])

        carry_out(world.on(WatchedStorage(world.storage, before=meanwhile)), world.ids[:4])
        if count <= at:
            break
        assert world.shown() == {world.ids[5]}
        # Its session was there: whoever comes late must not take away what fences it.
        assert read_record(world.repository, world.ids[1]) is None
        assert not listed(world.storage, names.AMENDMENTS)
        assert not listed(world.storage, names.SESSIONS)
    assert at > 20


# -- trouble


@pytest.mark.parametrize("outcome", [Outcome.CRASH_BEFORE, Outcome.CRASH_AFTER, Outcome.FAILS])
def test_a_crash_at_any_call_leaves_each_snapshot_whole_or_gone(world: World, outcome: Outcome) -> None:
    put_session(world.repository, world.ids[1], NOW - DAY)
    put_amendment(world.repository, world.ids[3], pinned=True)
    start = {info.name: world.storage.get(info.name) for info in world.storage.list("")}
    before = {each.id: each.snapshot for each in find(world.client).candidates}
    for at in range(1, 200):
        for name in set(listed(world.storage)) | set(start):
            world.storage.put(name, start[name])
        faulty = FaultyStorage(world.storage, [Fault(at, outcome, error=StorageUnreachable("no"))])
        try:
            carry_out(world.on(faulty), world.ids[:3])
            ended = True
        except (SimulatedCrash, StorageUnreachable):
            ended = False
        for each in find(world.client).candidates:
            assert each.snapshot == before[each.id]
        carry_out(world.client, world.ids[:3])
        assert world.shown() == set(world.ids[3:])
        assert len(listed(world.storage, names.AMENDMENTS)) == 2
        assert not listed(world.storage, names.SESSIONS)
        if ended:
            break
    assert at > 20


def test_it_ends_when_it_is_asked_to(world: World) -> None:
    with pytest.raises(Interrupted, match="0 snapshots are forgotten"):
        carry_out(world.client.but(stop=lambda: True), world.ids[:3])
    assert world.shown() == set(world.ids)


def test_what_can_not_be_read_is_named_and_the_rest_goes_on(world: World) -> None:
    broken, mute = names.snapshot(world.ids[5]), world.amendments[world.ids[1]]
    found = find(world.client)
    world.client.without_cache()
    for name in (broken, mute):
        flip(world.storage, name)
    progress = Silent()
    found = find_all(world.client.open("prune"), world.client.around, progress)
    assert sorted(found.unreadable) == sorted([broken, mute])
    assert len(progress.warnings) == 2
    assert carry_out(world.client, world.ids[:1], found).gone == (world.ids[0],)
    assert {broken, mute} <= set(listed(world.storage))


def test_a_record_that_got_damaged_meanwhile_is_left(world: World) -> None:
    found = find(world.client)
    flip(world.storage, names.snapshot(world.ids[0]))
    done = carry_out(world.client, world.ids[:2], found)
    assert done.gone == (world.ids[1],)
    assert done.left[0][0] == world.ids[0]
    assert "authentic" in done.left[0][1]


class Hiding(WatchedStorage):
    """Listings miss some objects."""

    hidden: frozenset[str] = frozenset()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (info for info in super().list(prefix) if info.name not in self.hidden)


def test_amendments_whose_snapshot_is_gone_are_cleared_away(world: World) -> None:
    tomb = SnapshotId("7" * 32)
    put_tombstone(world.repository, tomb)
    orphans = {put_amendment(world.repository, each, pinned=True) for each in (tomb, SnapshotId("8" * 32))}
    carry_out(world.client, [])
    assert not orphans & set(listed(world.storage))
    assert set(world.amendments.values()) <= set(listed(world.storage))


def test_a_listing_that_misses_a_snapshot_costs_it_nothing(world: World) -> None:
    storage = Hiding(world.storage)
    storage.hidden = frozenset({names.snapshot(world.ids[0])})
    carry_out(world.on(storage), world.ids[4:5])
    assert world.shown() == {*world.ids[:4], world.ids[5]}
    assert world.amendments[world.ids[0]] in listed(world.storage)


def test_a_listing_of_nothing_costs_nothing(world: World) -> None:
    storage = Hiding(world.storage)
    storage.hidden = frozenset(map(names.snapshot, world.ids))
    before = listed(world.storage)
    assert carry_out(world.on(storage), []) == Forgotten((), ())
    assert listed(world.storage) == before


def test_an_amendment_that_one_listing_misses_is_found_by_the_next(world: World) -> None:
    pin = put_amendment(world.repository, world.ids[0], pinned=True)
    storage = Hiding(world.storage)
    storage.hidden = frozenset({pin})
    found = find(world.on(storage))
    assert not any(each.snapshot.pinned for each in found.candidates)
    done = carry_out(world.client, world.ids[:2], found)
    assert done.gone == (world.ids[1],)


# -- many


class Batching(RecordingStorage):
    """Deletes many in one request."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.requests: list[int] = []
        self._all = inner

    def delete_many(self, wanted: Iterable[str]) -> None:
        every = list(wanted)
        self.requests.append(len(every))
        for name in every:
            self._all.delete(name)


def test_thousands_are_forgotten_with_few_requests() -> None:
    """For each snapshot that goes one request, to look at it once more; all else does not grow with their number."""
    with temporary_directory() as base:
        world = World(base, 2500)
        storage = Batching(world.storage)
        client = world.on(storage)
        found = find(client)
        storage.clear()
        done = carry_out(client, world.ids[:2200], found)
        assert len(done.gone) == 2200
        counted = [call.verb for call in storage.calls]
        assert counted.count("get") <= 2200 + 10
        assert counted.count("list") <= 5
        assert len(counted) <= 2200 + 20
        assert len(storage.requests) <= 10
        assert world.shown() == set(world.ids[2200:])
