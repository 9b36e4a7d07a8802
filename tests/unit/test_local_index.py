"""The local index against plain dicts; damaged files; two users of one file."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from threading import Timer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.errors import ChunkstoreError, UntrustedRepository
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
from chunkstore.format.pack import Frame, PackInfo, Slot, SlotType
from chunkstore.ids import ChunkId, PackId, SnapshotId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.progress import Silent
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.repository import Repository
from chunkstore.storage import MemoryStorage
from tests.sample_objects import make_world

PROFILE = settings(derandomize=True, deadline=None, max_examples=30)
SLOT = Slot(SlotType.DATA_KEY, b"k" * 16, b"o" * 16, b"s" * 80)
LEDGER_SLOT = Slot(SlotType.LEDGER, b"l" * 16, b"p" * 16, b"t" * 80)


def chunk_id(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(2, "big") * 16)


def pack_id(number: int) -> PackId:
    return PackId(bytes([number]) * 32)


def make_pack(number: int, frames: list[list[int]]) -> PackInfo:
    """A pack with these chunks in its frames; chunk n has n + 1 bytes."""
    made, at = [], 1000
    for chunks in frames:
        lengths = tuple(n + 1 for n in chunks)
        ids = tuple(chunk_id(n) for n in chunks)
        made.append(Frame(ChunkKind.CONTENT, len(made) % 2, at, 100 + number, sum(lengths), ids, lengths))
        at += 200 + number
    return PackInfo(pack_id(number), ObjectKind.CONTENT_PACK, at + 4096, (SLOT, LEDGER_SLOT), tuple(made))


@dataclass
class Model:
    """What the index has to say, in dicts."""

    sources: set[str] = field(default_factory=set)
    packs: dict[PackId, PackInfo] = field(default_factory=dict)
    named_by: dict[PackId, str] = field(default_factory=dict)
    condemned: set[PackId] = field(default_factory=set)
    everything: bool = False

    def add_source(self, name: str, packs: list[PackInfo]) -> None:
        self.sources.add(name)
        for info in packs:
            self.packs.setdefault(info.pack_id, info)
            self.named_by[info.pack_id] = name

    def keep_sources(self, wanted: set[str]) -> None:
        self.sources &= wanted
        self.drop_packs({each for each, name in self.named_by.items() if name not in wanted})

    def drop_packs(self, ids: set[PackId]) -> None:
        for each in ids:
            self.packs.pop(each, None)
            self.named_by.pop(each, None)

    def places(self, wanted: ChunkId) -> set[tuple[PackId, int, int, int]]:
        """(pack, offset of the frame, offset in it, length) of every place of a chunk."""
        found = set()
        for info in self.packs.values():
            for frame in info.frames:
                at = 0
                for each, length in zip(frame.ids, frame.lengths, strict=True):
                    if each == wanted:
                        found.add((info.pack_id, frame.offset, at, length))
                    at += length
        return found

    def knows(self, wanted: ChunkId) -> bool:
        return not self.everything and any(pack not in self.condemned for pack, *_ in self.places(wanted))


CHUNKS = st.integers(0, 25)
PACKS = st.builds(
    make_pack,
    st.integers(0, 12),
    st.lists(st.lists(CHUNKS, min_size=1, max_size=4, unique=True), min_size=1, max_size=3),
)
SOURCES = st.sampled_from([f"index/run-{n}" for n in range(5)])
PACK_IDS = st.sets(st.integers(0, 12).map(pack_id), max_size=5)
STEPS = st.lists(
    st.tuples(st.just("add"), SOURCES, st.lists(PACKS, max_size=3, unique_by=lambda info: info.pack_id))
    | st.tuples(st.just("keep"), st.sets(SOURCES))
    | st.tuples(st.just("drop"), PACK_IDS)
    | st.tuples(st.just("condemn"), PACK_IDS)
    | st.tuples(st.just("condemn everything"), PACK_IDS)
    | st.tuples(st.just("generation"), st.integers(0, 2**63 - 1))
    | st.tuples(st.just("reopen")),
    max_size=12,
)


def assert_same(index: LocalIndex, model: Model) -> None:
    assert index.sources() == model.sources
    assert dict(index.packs()) == {each: info.size for each, info in model.packs.items()}
    rows = sum(len(frame.ids) for info in model.packs.values() for frame in info.frames)
    assert index.chunk_count() == rows
    assert index.is_empty() == (not rows)
    for number in range(26):
        wanted = chunk_id(number)
        places, found = model.places(wanted), index.locate(wanted)
        assert index.knows(wanted) == model.knows(wanted)
        if found is None:
            assert not places
            continue
        frame = index.frame(found.frame)
        assert (frame.pack_id, frame.offset, found.offset, found.length) in places
        info = model.packs[frame.pack_id]
        meant = next(each for each in info.frames if each.offset == frame.offset)
        assert (frame.pack_size, frame.stored, frame.raw) == (info.size, meant.stored, meant.raw)
        assert (frame.kind, frame.slot) == (meant.kind, info.slots[meant.slot])
        assert [chunk for chunk, _, _ in index.chunks_of(found.frame)] == list(meant.ids)


@PROFILE
@given(steps=STEPS)
def test_the_index_is_what_dicts_say(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]) -> None:
    path = tmp_path_factory.mktemp("index") / "index.sqlite"
    index, model, generation = LocalIndex(path), Model(), 0
    for step in steps:
        match step:
            case ("add", str(name), list(packs)):
                index.change(partial(index.add_source, name, packs))
                model.add_source(name, packs)
            case ("keep", set(wanted)):
                index.change(partial(index.keep_sources, wanted))
                model.keep_sources(wanted)
            case ("drop", set(ids)):
                index.change(partial(index.drop_packs, ids))
                model.drop_packs(ids)
            case ("condemn", set(ids)):
                index.condemn(ids)
                model.condemned, model.everything = ids, False  # also those whose rows come later
            case ("condemn everything", set(ids)):
                index.condemn(ids, everything=True)
                model.everything = True
            case ("generation", int(generation)):
                index.change(partial(index.set_generation, generation))
            case ("reopen",):
                index.close()
                index = LocalIndex(path)
                model.condemned, model.everything = set(), False
        assert index.generation == generation
        assert_same(index, model)
    index.close()


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    index = LocalIndex(tmp_path / "index.sqlite")
    index.change(lambda: index.add_source("index/run-0", [make_pack(1, [[1, 2]])]))

    def fail() -> None:
        index.add_source("index/run-1", [make_pack(2, [[3]])])
        index.keep_sources({"index/run-1"})
        index.set_generation(9)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        index.change(fail)
    assert index.sources() == {"index/run-0"}
    assert index.knows(chunk_id(1))
    assert not index.knows(chunk_id(3))
    assert index.generation == 0
    index.close()


def test_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    index = LocalIndex(path)
    index.change(lambda: index.add_source("index/run-0", [make_pack(1, [[1]])]))
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in tmp_path.iterdir())
    index.close()


# -- files that are not as they were


def filled(path: Path, packs: int = 40) -> None:
    index = LocalIndex(path)
    infos = [make_pack(n, [list(range(i, i + 20)) for i in range(0, 200, 20)]) for n in range(packs)]
    index.change(lambda: index.add_source("index/run-0", infos))
    index.close()


def is_new(path: Path) -> bool:
    """Opens and uses the index at `path`; whether it is empty."""
    index = LocalIndex(path)
    new = index.is_empty() and not index.sources() and index.generation == 0
    index.change(lambda: index.add_source("index/run-1", [make_pack(99, [[7]])]))
    assert index.knows(chunk_id(7))
    index.close()
    return new


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: Random(1).randbytes(len(data)),
        lambda data: b"SQLite format 3\0" + Random(1).randbytes(len(data)),
        lambda data: b"not a database, but long enough to look like one" * 100,
        lambda data: data[:100] + Random(2).randbytes(4096) + data[4196:],
        lambda data: data[:4096],
        lambda data: data[:5000],
        lambda data: b"x",
    ],
    ids=["noise", "noise with the magic", "text", "first page", "one page", "a page and a bit", "one byte"],
)
def test_a_file_that_is_no_database_is_built_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "index.sqlite"
    filled(path)
    path.write_bytes(damage(path.read_bytes()))
    assert is_new(path)
    assert not is_new(path)


def test_an_empty_file_is_an_empty_index(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    path.touch()
    assert is_new(path)


def test_an_index_of_another_version_is_built_anew(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    filled(path)
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE facts SET value=999 WHERE name='version'")
    db.close()
    assert is_new(path)


def test_a_database_of_somebody_else_is_built_anew(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    db = sqlite3.connect(path)
    with db:
        db.execute("CREATE TABLE chunks(something TEXT)")
        db.execute("CREATE TABLE facts(name TEXT PRIMARY KEY, value INTEGER)")
        db.execute("INSERT INTO facts VALUES('version', 2)")
    db.close()
    assert is_new(path)


@pytest.mark.parametrize("page", [1, 4, 10])
def test_damage_in_the_middle_does_not_stay_for_ever(tmp_path: Path, page: int) -> None:
    """It shows when it is met; then the run may end with an error of ours, but the next one has to work."""
    path = tmp_path / "index.sqlite"
    filled(path)
    data = bytearray(path.read_bytes())
    data[page * 4096 : (page + 1) * 4096] = Random(page).randbytes(4096)
    path.write_bytes(data)
    for attempt in range(2):
        index = LocalIndex(path)
        try:
            use_all(index)
        except ChunkstoreError:
            assert not attempt
        finally:
            index.close()


def use_all(index: LocalIndex) -> None:
    for number in range(200):
        found = index.locate(chunk_id(number))
        if found and index.knows(chunk_id(number)):
            index.frame(found.frame)
    index.change(lambda: index.add_source("index/run-2", [make_pack(98, [[7]])]))
    index.change(lambda: index.keep_sources({"index/run-2"}))


# -- two users of one file


def test_two_indexes_on_one_file_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    one, two = LocalIndex(path), LocalIndex(path)
    one.change(lambda: one.add_source("index/run-0", [make_pack(1, [[1]])]))
    two.change(lambda: two.add_source("index/run-1", [make_pack(2, [[2]])]))
    for index in (one, two):
        index.condemn([])
        assert index.sources() == {"index/run-0", "index/run-1"}
        assert index.knows(chunk_id(1))
        assert index.knows(chunk_id(2))
    one.condemn([pack_id(1)])
    assert not one.knows(chunk_id(1))
    assert two.knows(chunk_id(1)), "what one run condemns is its own affair"
    one.close()
    two.close()


def test_opening_beside_a_long_change_waits_and_throws_nothing_away(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    filled(path)
    one = LocalIndex(path)

    def work() -> None:
        one.add_source("index/run-1", [make_pack(50, [[300]])])
        two = LocalIndex(path)
        assert two.sources() == {"index/run-0"}
        assert not two.knows(chunk_id(300))
        two.close()

    one.change(work)
    assert one.knows(chunk_id(300))
    one.close()
    two = LocalIndex(path)
    assert two.knows(chunk_id(300))
    assert two.sources() == {"index/run-0", "index/run-1"}
    two.close()


def test_a_file_that_is_locked_is_waited_for_and_not_thrown_away(tmp_path: Path) -> None:
    """As while another process makes the index: sqlite answers "locked" to a change of the journal mode at once."""
    path = tmp_path / "index.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE theirs(value)")
    before = path.stat().st_ino

    def commit() -> None:
        with contextlib.suppress(sqlite3.Error):  # its file was taken away from under it
            other.execute("COMMIT")

    timer = Timer(0.3, commit)
    timer.start()
    LocalIndex(path).close()
    timer.join()
    other.close()
    assert path.stat().st_ino == before


ROUNDS, PROCESSES = 10, 4


def _open_and_add(directory: str, number: int, ready: Callable[[], object]) -> None:
    for each in range(ROUNDS):
        ready()
        index = LocalIndex(Path(directory) / f"{each}.sqlite")
        index.change(partial(index.add_source, f"index/run-{number}", [make_pack(number, [[number]])]))
        index.close()


def test_processes_that_make_one_index_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two jobs of cron at the same minute, on a machine that has no index yet."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES, timeout=20)
    processes = [
        context.Process(target=_open_and_add, args=(str(tmp_path), number, barrier.wait)) for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    for each in range(ROUNDS):
        index = LocalIndex(tmp_path / f"{each}.sqlite")
        assert index.sources() == {f"index/run-{number}" for number in range(PROCESSES)}
        assert all(index.knows(chunk_id(number)) for number in range(PROCESSES))
        index.close()


# -- in line with the repository


class Listening(MemoryStorage):
    """Calls back before it reads an object, once."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], None]] = {}

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        for prefix in [prefix for prefix in self.before if name.startswith(prefix)]:
            self.before.pop(prefix)()
        return super().get(name, offset, length)


class Pruned:
    """A repository whose index objects are put by hand."""

    def __init__(self) -> None:
        self.storage = Listening()
        self.repository: Repository = replace(make_world().repository, storage=self.storage)

    def _put(self, kind: ObjectKind, name: str, body: bytes) -> None:
        self.storage.put(name, self.repository.seal(kind, name, body, make_world().random_bytes))

    def run(self, number: int, *packs: PackInfo) -> str:
        session = SnapshotId(f"{number:032x}")
        name = names.run_index(session, 0)
        self._put(ObjectKind.RUN_INDEX, name, encode_run_index(RunIndex(session, packs)))
        return name

    def generation(self, number: int, *packs: PackInfo, absorbed: set[str], dropped: set[PackId]) -> None:
        body = encode_segment(IndexSegment(packs))
        digest = segment_digest(body)
        self._put(ObjectKind.INDEX_SEGMENT, names.segment(digest), body)
        generation = Generation(number, (digest,), frozenset(absorbed), frozenset(dropped))
        self._put(ObjectKind.GENERATION, names.generation(number), encode_generation(generation))


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[tuple[LocalIndex, LocalIndex]]:
    both = LocalIndex(tmp_path / "index.sqlite"), LocalIndex(tmp_path / "index.sqlite")
    yield both
    for each in both:
        each.close()


def test_sync_follows_runs_and_generations(indexes: tuple[LocalIndex, LocalIndex]) -> None:
    index, _ = indexes
    pruned = Pruned()
    live, dead, lost = make_pack(1, [[1]]), make_pack(2, [[2]]), make_pack(3, [[3]])
    runs = {pruned.run(1, live, dead), pruned.run(2, lost)}
    sync_index(pruned.repository, index, Silent())
    assert [index.knows(chunk_id(n)) for n in (1, 2, 3)] == [True, True, True]
    pruned.generation(1, live, absorbed=runs, dropped={lost.pack_id})
    late = pruned.run(3, lost, make_pack(4, [[4]]))
    sync_index(pruned.repository, index, Silent())
    assert [index.knows(chunk_id(n)) for n in (1, 2, 3, 4)] == [True, False, False, True]
    assert index.generation == 1
    assert late in index.sources()
    assert not runs & index.sources()


def test_sync_refuses_an_older_generation(indexes: tuple[LocalIndex, LocalIndex]) -> None:
    index, _ = indexes
    pruned = Pruned()
    pruned.generation(5, absorbed=set(), dropped=set())
    sync_index(pruned.repository, index, Silent())
    pruned.storage.delete(names.generation(5))
    with pytest.raises(UntrustedRepository):
        sync_index(pruned.repository, index, Silent())


def test_an_index_object_that_is_damaged_is_reported_and_left_out(indexes: tuple[LocalIndex, LocalIndex]) -> None:
    index, _ = indexes
    pruned, progress = Pruned(), Silent()
    bad, good = pruned.run(1, make_pack(1, [[1]])), pruned.run(2, make_pack(2, [[2]]))
    data = bytearray(pruned.storage.get(bad))
    data[-1] ^= 1
    pruned.storage.put(bad, bytes(data))
    sync_index(pruned.repository, index, progress)
    assert not index.knows(chunk_id(1))
    assert index.knows(chunk_id(2))
    assert index.sources() >= {good}
    assert [bad in warning for warning in progress.warnings] == [True]


@pytest.mark.parametrize("before", [names.GENERATIONS, names.SEGMENTS])
def test_a_sync_that_is_late_does_not_bring_back_what_another_dropped(
    indexes: tuple[LocalIndex, LocalIndex], before: str
) -> None:
    """One process reads generation 1, another brings their common index to generation 2 meanwhile: nothing of
    generation 1 may come back, for the other one relies on its rows and the packs of the old one are gone.
    """
    slow, quick = indexes
    pruned = Pruned()
    live, dead = make_pack(1, [[1]]), make_pack(2, [[2]])
    pruned.generation(1, live, dead, absorbed=set(), dropped=set())

    def meanwhile() -> None:
        pruned.generation(2, live, absorbed=set(), dropped=set())
        sync_index(pruned.repository, quick, Silent())
        assert (quick.generation, quick.knows(chunk_id(2))) == (2, False)

    pruned.storage.before[before] = meanwhile
    sync_index(pruned.repository, slow, Silent())
    for index in (slow, quick):
        index.condemn([])  # the look-ups of another transaction
        assert index.knows(chunk_id(1))
        assert not index.knows(chunk_id(2)), "a chunk in a pack that was deleted counts as stored"
        assert index.generation == 2


def test_a_sync_does_not_drop_what_another_process_wrote_meanwhile(indexes: tuple[LocalIndex, LocalIndex]) -> None:
    """A run that is published after the listing of another process's sync is as good as before it."""
    slow, writer = indexes
    pruned = Pruned()
    pruned.run(1, make_pack(1, [[1]]))

    def meanwhile() -> None:
        info = make_pack(2, [[2]])
        name = pruned.run(2, info)
        writer.change(lambda: writer.add_source(name, [info]))

    pruned.storage.before[names.RUNS] = meanwhile
    sync_index(pruned.repository, slow, Silent())
    writer.condemn([])
    assert writer.knows(chunk_id(2)), "the writer stores a chunk twice that it has published itself"
