"""A study of deduplication: exact numbers for known duplicates, the same ones as a repository has, in bounded memory."""

from __future__ import annotations

import dataclasses
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from chunkstore.chunking import ChunkerParameters, make_chunker
from chunkstore.errors import Interrupted, InvalidArgument, SourceError
from chunkstore.format.index import RunIndex, encode_run_index
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.padding import padding_size
from chunkstore.operations.dedup_study.counting import count
from chunkstore.operations.dedup_study.cutting import Cutting
from chunkstore.operations.dedup_study.reading import Data
from chunkstore.operations.dedup_study.size import _padding, sizes
from chunkstore.operations.dedup_study.spill import RECORD, Bits, Paths, Records
from chunkstore.operations.dedup_study.study import dedup_study
from chunkstore.operations.dedup_study.values import SIZES, Counted, Study, StudyOptions, chunkers_for, parameters_for
from chunkstore.progress import Silent
from chunkstore.repository.repository import never_stop
from chunkstore.storage import MemoryStorage
from chunkstore.tree.choosing import Choosing
from tests.engine import Client, indexed_packs

KIB = 1024
FIXED = parameters_for("fixed", KIB)


def ticking() -> Callable[[], int]:
    """A clock that is 1 ns later at each look."""
    now = iter(range(10**9))
    return lambda: next(now)


def study(
    root: Path,
    *chunkers: ChunkerParameters,
    progress: Silent | None = None,
    stop: Callable[[], bool] = never_stop,
    paths: tuple[bytes, ...] = (),
    **options: object,
) -> Study:
    chosen = StudyOptions(chunkers or (FIXED,), ticking(), sample=0, workers=0)
    return dedup_study(
        paths or [os.fsencode(root)],
        b"/",
        dataclasses.replace(chosen, **options),  # type: ignore[arg-type]
        progress or Silent(),
        stop=stop,
    )


def blocks(*seeds: int, size: int = KIB) -> bytes:
    return b"".join(random.Random(seed).randbytes(size) for seed in seeds)


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Blocks that are known by their numbers; files are read in the order of their names."""
    for name, seeds in {"a": (1, 2, 3), "b": (1, 2, 3), "c": (4, 4, 4, 1), "d": (5, 2, 6), "e": (1, 2, 3)}.items():
        (tmp_path / name).write_bytes(blocks(*seeds))
    os.link(tmp_path / "d", tmp_path / "d-again")
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("a")
    return tmp_path


def test_known_duplicates_have_exact_numbers(known: Path) -> None:
    found = study(known)
    assert (found.files, found.links, found.total) == (5, 1, 16 * KIB)
    assert (found.copies, found.copied) == (2, 6 * KIB)
    (measured,) = found.measurements
    assert measured.counted == Counted(
        chunks=16,
        total=16 * KIB,
        unique_chunks=6,
        unique=6 * KIB,
        copied=6 * KIB,
        within=2 * KIB,  # 4 twice more in c
        across=2 * KIB,  # 1 in c, 2 in d
    )
    assert measured.counted.wasted == 10 * KIB
    assert measured.counted.deduplication == pytest.approx(16 / 6)
    assert found.problems == ()


def test_the_largest_duplicates_are_named(known: Path) -> None:
    root = os.fsencode(known)
    found = study(known)
    (same,) = found.same_files
    assert (same.size, same.count, same.wasted) == (3 * KIB, 3, 6 * KIB)
    assert same.paths == (root + b"/a", root + b"/b", root + b"/e")
    assert [(each.count, each.files, each.wasted) for each in found.same_chunks[:1]] == [(3, 1, 2 * KIB)]
    assert found.same_chunks[0].places == tuple((root + b"/c", at * KIB) for at in range(3))
    assert {(each.count, each.files) for each in found.same_chunks[1:]} == {(2, 2)}  # what is in copies counts there
    assert len(found.same_chunks) == 3
    assert len(study(known, top=1).same_chunks) == 1
    assert study(known, top=0).same_files == ()


def test_zeros_are_told_and_holes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(4 * KIB))
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.seek(1 << 20)
        sparse.write(blocks(1, 2, 3, 4))
        sparse.truncate(2 << 20)
    found = study(tmp_path)
    assert found.total == 8 * KIB
    assert [(each.zeros, each.count, each.files) for each in found.same_chunks] == [(True, 4, 1)]


def test_a_group_of_many_is_named_by_some(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / str(number)).write_bytes(b"the same")
    (same,) = study(tmp_path).same_files
    assert same.count == 9
    assert [path[-1:] for path in same.paths] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_large_file_is_cut_as_if_it_were_in_memory(tmp_path: Path, workers: int) -> None:
    content = random.Random(3).randbytes(30 << 20) + bytes(5 << 20) + b"end"
    (tmp_path / "large").write_bytes(content)
    chunkers = chunkers_for(("pyfastcdc", "fastcdc", "fixed"), (16 * KIB, 256 * KIB, 4096 * KIB))
    with Cutting(chunkers, None, ticking(), workers, lambda size: None) as cutting:
        with Data(os.fsencode(tmp_path / "large")) as data:
            assert cutting.add(7, data) == len(content)
        for chunker, records in zip(chunkers, cutting.records, strict=True):
            ends = make_chunker(chunker, 1).cut(memoryview(content), True)
            lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
            assert [(length, file) for _, length, file in records] == [(length, 7) for length in lengths], chunker
        assert [length for _, length, _ in cutting.whole] == [len(content)]
        assert all(cutting.ns)


def test_many_small_files_are_cut_as_each_alone(tmp_path: Path) -> None:
    sizes_of = [0, 1, 100, 4 * KIB, 4 * KIB + 1, 70_000, 3 << 20, 8 << 20, 8 << 20, (8 << 20) + 1]
    for number, size in enumerate(sizes_of):
        (tmp_path / f"{number}").write_bytes(random.Random(number).randbytes(size))
    found = study(tmp_path, *chunkers_for(("pyfastcdc", "fixed"), (16 * KIB,)))
    for measured in found.measurements:
        chunker = make_chunker(measured.chunker, 1)
        each = [random.Random(number).randbytes(size) for number, size in enumerate(sizes_of)]
        assert measured.counted.chunks == sum(len(chunker.cut(memoryview(data), True)) for data in each)
        assert measured.counted.total == measured.counted.unique == sum(sizes_of)


@pytest.mark.parametrize("seed", range(3))
def test_a_repository_stores_what_the_study_said(tmp_path: Path, seed: int) -> None:
    """With a chunker without a seed both cut at the same places: chunks, bytes and compressed frames are the same."""
    rng = random.Random(seed)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(60):
        data = rng.choice((blocks(number % 7, size=64 * KIB), b"text %d\n" % number * rng.randrange(1, 60_000)))
        (source / f"{number:02}").write_bytes(data)
    fixed = parameters_for("fixed", 64 * KIB)
    client = Client(MemoryStorage(), tmp_path / "client")
    repository = client.create(str(fixed), 1 << 20, 16 << 20)
    stored = client.snapshot(source).result
    (measured,) = study(source, fixed).measurements
    statistics = stored.statistics
    assert measured.counted.unique == statistics.bytes_new
    assert measured.compressed + 28 * measured.sampled.frames == pytest.approx(statistics.bytes_new_stored, rel=0.002)
    infos = [info for info in indexed_packs(repository) if info.plane == ObjectKind.CONTENT_PACK]
    assert measured.counted.unique_chunks == sum(len(frame.ids) for info in infos for frame in info.frames)
    assert measured.sampled.frames == sum(len(info.frames) for info in infos)
    body = encode_run_index(RunIndex(stored.signed.record.id, tuple(infos)))
    assert measured.index == pytest.approx(len(body), abs=100)
    packs = sum(info.size for info in infos)
    assert measured.stored == pytest.approx(packs + len(body), rel=0.1)


def test_a_sample_is_a_part_and_comes_near(tmp_path: Path) -> None:
    for number in range(12):
        half = random.Random(number).randbytes(1 << 20)
        (tmp_path / f"{number:02}").write_bytes(half + half.hex().encode()[: 1 << 20])
    chunker = parameters_for("pyfastcdc", 64 * KIB)
    (whole,) = study(tmp_path, chunker).measurements
    (part,) = study(tmp_path, chunker, sample=6 << 20).measurements
    assert whole.sampled.tried == whole.sampled.frames == part.sampled.frames
    assert 0 < part.sampled.tried <= part.sampled.frames * 2 // 3
    assert part.compressed == pytest.approx(whole.compressed, rel=0.1)
    assert whole.compressed < whole.counted.unique


class Deleting(Silent):
    """Deletes a file when something is said to be next."""

    def __init__(self, when: bytes, what: Path) -> None:
        super().__init__()
        self._when, self._what = when, what

    def current(self, path: bytes) -> None:
        if self._when in path:
            self._what.unlink(missing_ok=True)


def test_what_can_not_be_read_is_a_problem_and_the_rest_is_studied(known: Path) -> None:
    path = os.fsencode(known / "d")
    found = study(known, progress=Deleting(b"/d", known / "d"), paths=(os.fsencode(known), os.fsencode(known / "no")))
    assert found.problems == (
        f"{known}/no: No such file or directory",
        f"{path.decode()}: No such file or directory",
    )
    assert found.files == 4


def test_a_frame_that_has_gone_is_not_tried(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).write_bytes(random.Random(number).randbytes(1 << 20))
    (measured,) = study(tmp_path, progress=Deleting(b"fixed:", tmp_path / "1")).measurements
    assert (measured.sampled.frames, measured.sampled.tried) == (3, 2)


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        study(tmp_path / "no")
    found = study(tmp_path)  # a folder without files is none
    assert (found.files, found.total, found.measurements[0].stored) == (0, 0, 0)
    assert found.measurements[0].counted.deduplication == 1.0


def test_it_stops_when_asked_and_leaves_nothing(known: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    options = StudyOptions((FIXED,), ticking(), workers=0)
    for times in range(12):
        looks = iter([False] * times)
        with pytest.raises(Interrupted):
            dedup_study([os.fsencode(known)], b"/", options, Silent(), str(scratch), lambda: next(looks, True))  # noqa: B023
    assert list(scratch.iterdir()) == []


def test_what_is_left_out_is_not_studied(known: Path) -> None:
    found = study(known, choosing=Choosing(larger_than=3 * KIB))
    assert (found.files, found.left_out) == (4, 1)


@pytest.mark.parametrize("at_once", [1, 7, 100, 10_000])
def test_counting_in_parts_gives_the_same(at_once: int) -> None:
    rng = random.Random(at_once)
    records, copies = Records(None), Bits(50)
    copies.set(20)
    for number in range(3000):
        records.add(RECORD.pack(b"%012d" % rng.randrange(900), 1000, number // 60))
    whole, parts = count(records, copies, 5), count(records, copies, 5, at_once)
    assert whole == dataclasses.replace(parts, new=whole.new)
    assert [whole.new[number] for number in range(3000)] == [parts.new[number] for number in range(3000)]
    assert whole.counted.total == 3_000_000
    records.close()


def test_memory_does_not_grow_with_the_chunks() -> None:
    """100,000 chunks, most of them new: what is held is one part of them, and their bits."""
    records = Records(None)
    for number in range(100_000):
        records.add(RECORD.pack((number % 60_000).to_bytes(4, "little") * 3, 4096, number // 100))
    peaks = {}
    for at_once in (2_000, 100_000):
        tracemalloc.start()
        found = count(records, None, 10, at_once)
        peaks[at_once] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (found.counted.unique_chunks, found.counted.across) == (60_000, 40_000 * 4096)
    records.close()
    assert peaks[2_000] < 2 << 20 < peaks[100_000] / 5


def test_paths_are_found_by_their_numbers() -> None:
    with Paths(None) as paths:
        names = [b"/some/where/%d\xff" % number * (number % 5 + 1) for number in range(5000)]
        assert [paths.add(name) for name in names] == list(range(5000))
        assert [paths[number] for number in (0, 1, 2500, 4999)] == [names[number] for number in (0, 1, 2500, 4999)]
        assert paths.add(b"later") == 5000
        assert paths[5000] == b"later"


def test_chunkers_that_make_no_sense_are_refused() -> None:
    assert len(chunkers_for(("pyfastcdc", "fixed"), SIZES)) == 18
    assert parameters_for("pyfastcdc", 256 * KIB) == ChunkerParameters()
    for algorithms, sizes_of in ((("rabin",), SIZES), ((), SIZES), (("fixed",), ()), (("pyfastcdc",), (8 << 20,))):
        with pytest.raises(InvalidArgument):
            chunkers_for(algorithms, sizes_of)


def test_sizes_follow_the_number_of_chunks() -> None:
    assert sizes(Counted(0, 0, 0, 0, 0, 0, 0), 0, 0) == (0, 0)
    few = sizes(Counted(1000, 1 << 30, 1000, 1 << 30, 0, 0, 0), 1000, 1 << 29)
    many = sizes(Counted(2000, 1 << 30, 2000, 1 << 30, 0, 0, 0), 1000, 1 << 29)
    assert many[0] - few[0] == 1000 * 36
    assert many[1] - few[1] == pytest.approx(1000 * (36 + 36 + 32), rel=0.01)  # index, tables of packs, list of ids
    assert few[1] > 1 << 29


def test_padding_is_what_the_format_adds_in_the_mean() -> None:
    rng = random.Random(1)
    for size in (10_000, 300_000, 3 << 20, 16 << 20):
        drawn = [padding_size(size + each * 37, rng.randbytes) for each in range(4000)]
        assert _padding(size) == pytest.approx(sum(drawn) / len(drawn), rel=0.05)
