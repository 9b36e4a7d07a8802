"""A writer's session, what plans condemn, the local index and how it is brought in line."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chunkstore.errors import Damaged, Fenced, ObjectMissing, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import Frame, PackInfo, Slot, SlotType
from chunkstore.format.runs import decode_session
from chunkstore.ids import ChunkId, PackId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.progress import Silent
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.session import BEAT_EVERY_NS, WriteSession, list_condemned
from chunkstore.storage import MemoryStorage
from chunkstore.storage.faulty import RecordingStorage
from tests.engine import (
    KIB,
    Client,
    Clock,
    WatchedStorage,
    describe,
    listed,
    make_tree,
    put_generation,
    put_plan,
    put_plan_done,
    put_tombstone,
    temporary_directory,
)

Prepared = tuple[Client, RecordingStorage]


@pytest.fixture
def prepared() -> Iterator[Prepared]:
    """A client of an empty repository, and what it calls."""
    with temporary_directory() as base:
        recorded = RecordingStorage(MemoryStorage())
        client = Client(recorded, base, clock=Clock(step=0))
        client.create()
        recorded.clear()
        yield client, recorded


@pytest.fixture
def index(tmp_path: Path) -> Iterator[LocalIndex]:
    index = LocalIndex(tmp_path / "index.sqlite")
    yield index
    index.close()


def pack_info(number: int, chunks: int = 3) -> PackInfo:
    """A pack of one frame; its chunks are called after it."""
    ids = [ChunkId(bytes([number, n]) * 16) for n in range(chunks)]
    frame = Frame(ChunkKind.CONTENT, 0, 500, 100, 10 * chunks, ids, [10] * chunks)
    slot = Slot(SlotType.DATA_KEY, bytes(16), bytes(16), bytes(80))
    return PackInfo(PackId(bytes([number]) * 32), ObjectKind.CONTENT_PACK, 4096, (slot,), (frame,))


def begin(client: Client) -> tuple[WriteSession, LocalIndex]:
    index = client.index()
    return WriteSession(client.open("write"), index, client.around, Silent()), index


# -- session


def test_a_session_says_who_is_at_work(prepared: Prepared) -> None:
    client, recorded = prepared
    session, index = begin(client)
    _, body = client.open().read(names.session(session.id), ObjectKind.SESSION)
    stored = decode_session(body, session.id)
    assert (stored.id, stored.host, stored.client) == (session.id, "host", client.open().state.client)
    assert stored.started == stored.beat == client.clock()
    session.end()
    assert listed(recorded, names.SESSIONS) == []
    index.close()


def test_the_order_of_the_first_calls_is_the_protocol(prepared: Prepared) -> None:
    client, recorded = prepared
    repository, index = client.open(), client.index()
    recorded.clear()
    session = WriteSession(repository, index, client.around, Silent())
    assert [(call.verb, call.name) for call in recorded.calls] == [
        ("put", names.session(session.id)),
        ("list", names.PLANS),
        ("list", names.RUNS),
        ("list", names.GENERATIONS),
    ]
    index.close()


@pytest.mark.parametrize(
    ("passed", "beats"),
    [(0, 0), (BEAT_EVERY_NS - 1, 0), (BEAT_EVERY_NS, 1), (10**18, 1), (-1, 1), (-(10**18), 1)],
)
def test_when_the_heart_beats(prepared: Prepared, passed: int, beats: int) -> None:
    """After a minute of the clock that was given, and whenever that went back."""
    client, recorded = prepared
    clock = Clock(step=0)
    session, index = begin(client.but(clock=clock))
    recorded.clear()
    clock.now += passed
    session.beat()
    session.beat()
    assert [call.verb for call in recorded.calls] == ["put", "stat"] * beats
    index.close()


def test_a_fence_is_seen_at_the_next_beat(prepared: Prepared) -> None:
    client, _ = prepared
    clock = Clock(step=0)
    session, index = begin(client.but(clock=clock))
    assert put_tombstone(client.open(), session.id)
    session.beat()
    clock.now += BEAT_EVERY_NS
    with pytest.raises(Fenced, match=session.id):
        session.beat()
    index.close()


def test_a_session_that_can_not_begin_is_taken_away(prepared: Prepared) -> None:
    """Here the index went back; each run that ends like this would leave an object that a prune waits for."""
    client, recorded = prepared
    put_generation(client.open(), 2, [], [], segments=0)
    index = client.index()
    sync_index(client.open(), index, Silent())
    recorded.delete(names.generation(2))
    with pytest.raises(Exception, match="older generation"):
        WriteSession(client.open("write"), index, client.around, Silent())
    assert listed(recorded, names.SESSIONS) == []
    index.close()


# -- plans


def test_only_open_plans_condemn(prepared: Prepared) -> None:
    client, _ = prepared
    repository = client.open()
    packs = [PackId(bytes([n]) * 32) for n in range(7)]
    nothing = list_condemned(repository, Silent())
    assert (nothing.packs, nothing.everything, nothing.plan_open) == (frozenset(), False, False)
    put_plan(repository, 1, packs[:4])
    found = list_condemned(repository, Silent())
    assert (found.packs, found.everything, found.plan_open) == (frozenset(packs[:4]), False, True)
    put_plan_done(repository, 1)
    assert list_condemned(repository, Silent()) == nothing
    put_plan(repository, 2, packs[4:])
    assert list_condemned(repository, Silent()).packs == frozenset(packs[4:])


@pytest.mark.parametrize("done", [False, True])
def test_a_plan_that_a_later_prune_clears_away_meanwhile_condemns_nothing(prepared: Prepared, done: bool) -> None:
    """It is listed, and gone when it, or its mark, is read: the next listing has the later one."""
    client, recorded = prepared
    repository = client.open()
    old, new = PackId(b"o" * 32), PackId(b"n" * 32)
    put_plan(repository, 1, [old])
    if done:
        put_plan_done(repository, 1)

    def clear_away(verb: str, name: str) -> None:
        if verb == "get" and name.startswith(names.plan(1)) and listed(recorded, names.plan(1)):
            put_plan(repository, 2, [new])
            recorded.delete(names.plan(1))
            recorded.delete(names.plan_done(1))

    watched = client.but(storage=WatchedStorage(recorded, clear_away))
    found = list_condemned(watched.open(), Silent())
    assert (found.packs, found.everything, found.plan_open) == (frozenset([new]), False, True)


def test_plans_that_are_listed_and_never_there_may_condemn_anything(prepared: Prepared) -> None:
    client, recorded = prepared
    put_plan(client.open(), 1, [PackId(b"o" * 32)])

    class Stale(WatchedStorage):
        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if name == names.plan(1):
                raise ObjectMissing(name)
            return super().get(name, offset, length)

    progress = Silent()
    assert list_condemned(client.but(storage=Stale(recorded)).open(), progress).everything
    assert progress.warnings


def test_no_session_follows_while_plans_come_and_go(prepared: Prepared) -> None:
    """A mark that is gone when it is read is no error: there is just no checkpoint now."""
    client, recorded = prepared
    put_plan(client.open(), 1, [])
    put_plan_done(client.open(), 1)
    session, index = begin(client)
    marks: list[str] = []

    def clear_away(verb: str, name: str) -> None:
        if verb == "get" and name == names.plan_done(1):
            marks.append(name)
            recorded.delete(name)

    session._repository = client.but(storage=WatchedStorage(recorded, clear_away)).open("write")
    assert session.successor() is None
    assert marks
    assert listed(recorded, names.SESSIONS) == [names.session(session.id)]
    index.close()


def test_an_empty_plan_is_open_too(prepared: Prepared) -> None:
    client, _ = prepared
    put_plan(client.open(), 1, [])
    assert list_condemned(client.open(), Silent()).plan_open


def test_what_is_no_plan_condemns_nothing(prepared: Prepared) -> None:
    client, recorded = prepared
    for name in ("prunes/1", "prunes/0000000000000001.done", "prunes/readme", "prunes/0000000000000001.done.done"):
        recorded.put(name, b"anything")
    found = list_condemned(client.open(), Silent())
    assert not found.plan_open
    assert not found.everything


def test_a_plan_of_a_newer_format_is_not_taken_for_nothing(prepared: Prepared) -> None:
    """Refused, or everything condemned; never ignored."""
    client, recorded = prepared
    put_plan(client.open(), 1, [])
    data = bytearray(recorded.get(names.plan(1)))
    data[8] = 2
    recorded.put(names.plan(1), data)
    try:
        found = list_condemned(client.open(), Silent())
    except UnsupportedFormat:
        return
    assert found.everything


def test_everything_is_condemned_but_what_the_session_writes_itself(index: LocalIndex) -> None:
    index.change(lambda: index.add_source("index/run-a", [pack_info(1), pack_info(2)]))
    index.condemn([], everything=True)
    assert not index.knows(pack_info(1).frames[0].ids[0])
    index.change(lambda: index.add_source("index/run-other", [pack_info(4)]))
    own: list[bool] = []
    index.change(lambda: own.append(index.add_own("index/run-b", [pack_info(3)], index.generation)))
    assert own == [True]
    assert not index.knows(pack_info(4).frames[0].ids[0])
    assert index.knows(pack_info(3).frames[0].ids[0])
    assert not index.knows(pack_info(2).frames[0].ids[2])


def test_a_chunk_with_a_place_that_is_not_condemned_is_known(index: LocalIndex) -> None:
    one, other = pack_info(1), replace(pack_info(1), pack_id=PackId(b"x" * 32))
    chunk = one.frames[0].ids[0]
    index.change(lambda: index.add_source("index/run-a", [one]))
    index.condemn([one.pack_id])
    assert not index.knows(chunk)
    index.change(lambda: index.add_source("index/run-b", [other]))
    assert index.knows(chunk)
    index.condemn([one.pack_id, other.pack_id])
    assert not index.knows(chunk)
    index.condemn([])
    assert index.knows(chunk)


# -- frames


def test_many_files_fit_a_repository_with_small_frames() -> None:
    """Frame and pack sizes are chosen at init; what manifests are cut into must fit whatever was chosen."""
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, files=400, largest=2 * KIB)
        client = Client(MemoryStorage(), base / "client")
        client.create(frame_size=4 * KIB)
        assert client.restored(client.snapshot(tree).id) == describe(tree)


# -- local index


def test_rows_come_and_go_with_their_source(index: LocalIndex) -> None:
    index.change(lambda: index.add_source("index/run-a", [pack_info(1), pack_info(2)]))
    index.change(lambda: index.add_source("index/run-b", [pack_info(3)]))
    assert index.sources() == {"index/run-a", "index/run-b"}
    assert index.chunk_count() == 9
    index.change(lambda: index.keep_sources({"index/run-b"}))
    assert index.chunk_count() == 3
    assert not index.knows(pack_info(1).frames[0].ids[0])
    index.change(lambda: index.drop_packs([pack_info(3).pack_id]))
    assert index.is_empty()
    assert list(index.packs()) == []


def test_a_pack_stays_when_another_source_names_it(index: LocalIndex) -> None:
    """A generation takes over the packs of the runs it absorbs: they must not be gone for a moment."""
    index.change(lambda: index.add_source("index/run-a", [pack_info(1)]))
    index.change(lambda: index.add_source("index/segment-b", [pack_info(1)]))
    index.change(lambda: index.keep_sources({"index/segment-b"}))
    assert index.knows(pack_info(1).frames[0].ids[0])


def test_a_change_that_fails_is_no_change(index: LocalIndex) -> None:
    index.change(lambda: index.add_source("index/run-a", [pack_info(1)]))

    def fail() -> None:
        index.add_source("index/run-b", [pack_info(2)])
        raise OSError("in the midst")

    with pytest.raises(OSError, match="in the midst"):
        index.change(fail)
    assert index.sources() == {"index/run-a"}
    assert not index.knows(pack_info(2).frames[0].ids[0])


@pytest.mark.parametrize("spoiled", [b"", b"not a database" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_database_is_thrown_away(tmp_path: Path, spoiled: bytes) -> None:
    (tmp_path / "index.sqlite").write_bytes(spoiled)
    index = LocalIndex(tmp_path / "index.sqlite")
    index.change(lambda: index.add_source("index/run-a", [pack_info(1)]))
    assert index.knows(pack_info(1).frames[0].ids[0])
    index.close()


def test_a_damaged_page_is_no_obstacle_for_ever() -> None:
    """The index is a cache: what is damaged in it is thrown away, at the latest by the next run."""
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, files=40)
        client = Client(MemoryStorage(), base / "client")
        client.create()
        client.snapshot(tree)
        with sqlite3.connect(client.places.cache_directory(client.open().key.repository_id) / "index.sqlite") as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (path,) = {row[2] for row in db.execute("PRAGMA database_list") if row[1] == "main"}
        db.close()
        data = bytearray(Path(path).read_bytes())
        data[8192:] = os.urandom(len(data) - 8192)
        Path(path).write_bytes(data)
        (tree / "more").write_bytes(b"more")
        for last in (False, True):
            try:
                assert client.restored(client.snapshot(tree).id) == describe(tree)
            except Exception:
                if last:
                    raise


def test_another_process_may_change_the_index_between_two_look_ups(tmp_path: Path) -> None:
    """A place that was found can still be looked into, or is gone with an error of ours."""
    mine, others = LocalIndex(tmp_path / "index.sqlite"), LocalIndex(tmp_path / "index.sqlite")
    mine.change(lambda: mine.add_source("index/run-a", [pack_info(1)]))
    place = mine.locate(pack_info(1).frames[0].ids[1])
    assert place is not None
    others.change(lambda: others.keep_sources(set()))
    assert mine.frame(place.frame).pack_id == pack_info(1).pack_id
    mine.close()
    others.close()


def test_what_another_process_changed_is_seen_after_a_sync(prepared: Prepared) -> None:
    """A reader that found a pack missing syncs and looks again; it must not look at what it saw before."""
    client, _ = prepared
    repository = client.open()
    mine, others = client.index(), client.index()
    put_generation(repository, 1, [pack_info(1)], [], segments=1)
    for index in (mine, others):
        sync_index(repository, index, Silent())
    chunk = pack_info(1).frames[0].ids[0]
    assert mine.locate(chunk) is not None
    moved = replace(pack_info(1), pack_id=PackId(b"m" * 32))
    put_generation(repository, 2, [moved], [], segments=1)
    sync_index(repository, others, Silent())
    sync_index(repository, mine, Silent())
    place = mine.locate(chunk)
    assert place is not None
    assert mine.frame(place.frame).pack_id == moved.pack_id
    mine.close()
    others.close()


def _fill(path: str, number: int, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    for n in range(20):
        index = LocalIndex(Path(path))
        name = f"index/run-{number}-{n}"
        info = replace(pack_info(number), pack_id=PackId(bytes([number, n]) * 16))
        index.change(lambda index=index, name=name, info=info: index.add_source(name, [info]))  # type: ignore[misc]
        assert index.knows(info.frames[0].ids[0])
        index.close()


def test_many_processes_share_one_index(tmp_path: Path) -> None:
    """All of them open it at the same moment, when it is not there yet; nobody's rows are lost."""
    context = multiprocessing.get_context("spawn")
    path, count = tmp_path / "index.sqlite", 4
    barrier = context.Barrier(count)
    processes = [context.Process(target=_fill, args=(str(path), number, barrier)) for number in range(1, count + 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    index = LocalIndex(path)
    assert len(index.sources()) == 20 * count
    assert len(list(index.packs())) == 20 * count
    index.close()


# -- sync


def test_a_sync_without_anything_new_reads_nothing(prepared: Prepared) -> None:
    client, recorded = prepared
    put_generation(client.open(), 1, [pack_info(1), pack_info(2)], [])
    index = client.index()
    sync_index(client.open(), index, Silent())
    assert index.chunk_count() == 6
    repository = client.open()
    recorded.clear()
    sync_index(repository, index, Silent())
    assert [(call.verb, call.name) for call in recorded.calls if call.verb == "get"] == [("get", names.generation(1))]
    index.close()


def test_a_segment_that_is_gone_for_good_is_an_error(prepared: Prepared) -> None:
    client, recorded = prepared
    put_generation(client.open(), 1, [pack_info(1)], [], segments=1)
    recorded.delete(listed(recorded, names.SEGMENTS)[0])
    index = client.index()
    with pytest.raises(Damaged, match=r"index/segment.*repair index"):
        sync_index(client.open(), index, Silent())
    index.close()


def test_runs_that_nobody_absorbed_count_beside_the_generation(prepared: Prepared) -> None:
    client, _ = prepared
    with temporary_directory() as tree:
        (tree / "file").write_bytes(b"content")
        taken = client.snapshot(tree)
        put_generation(client.open(), 1, [pack_info(1)], ["index/run-of-somebody"], segments=1)
        index = client.index()
        sync_index(client.open(), index, Silent())
        assert index.knows(pack_info(1).frames[0].ids[0])
        assert client.restored_afresh(taken.id) == describe(tree)
        index.close()
