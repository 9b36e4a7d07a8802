"""What has to hold for every chunker, every input and every way of reading it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.chunking import MAX_SEED, Chunker, ChunkerParameters, make_chunker, parse_chunker, read_chunks

CONTENT_DEFINED = [
    ChunkerParameters("pyfastcdc", 256, 1024, 4096),
    ChunkerParameters("fastcdc", 256, 1024, 4096),
]
ALL = [*CONTENT_DEFINED, ChunkerParameters("fixed", 1000, 1000, 1000)]

# Reading byte by byte takes its time on a busy machine.
unhurried = settings(deadline=None)

seeds = st.integers(1, MAX_SEED)


@st.composite
def any_parameters(draw: st.DrawFn) -> ChunkerParameters:
    """Any small sizes that are accepted: odd ones, all the same, hardly any room between them."""
    algorithm = draw(st.sampled_from(["pyfastcdc", "fastcdc"]))
    min_size = 2 * draw(st.integers(32, 700))
    avg_size = draw(st.integers(max(256, min_size), 2000))
    max_size = draw(st.integers(max(1024, avg_size), 3000))
    return ChunkerParameters(algorithm, min_size, avg_size, max_size)


def _mixed(seed: int, runs: list[tuple[int, int]]) -> bytes:
    """Random bytes and runs of one byte in turn: runs are where chunkers reach their bounds."""
    random = Random(seed)
    return b"".join(random.randbytes(noise) + bytes([random.randrange(256)]) * same for noise, same in runs)


inputs = st.builds(
    _mixed,
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 9_000)), max_size=4),
)


def reader(data: bytes, sizes: list[int]) -> Callable[[memoryview], int]:
    """A `readinto` that gives at most `sizes` bytes in turn, then from the first again."""
    position = 0
    turn = 0

    def readinto(view: memoryview) -> int:
        nonlocal position, turn
        piece = data[position : position + min(len(view), sizes[turn % len(sizes)])]
        view[: len(piece)] = piece
        position += len(piece)
        turn += 1
        return len(piece)

    return readinto


def ends_of(chunker: Chunker, data: bytes) -> list[int]:
    return chunker.cut(memoryview(data), final=True)


@pytest.mark.parametrize("parameters", ALL, ids=str)
@unhurried
@given(data=inputs, seed=seeds)
def test_chunks_are_all_of_the_data_within_the_bounds(parameters: ChunkerParameters, data: bytes, seed: int) -> None:
    chunker = make_chunker(parameters, seed)
    ends = ends_of(chunker, data)
    lengths = [end - start for start, end in pairwise([0, *ends])]
    assert sum(lengths) == len(data)
    assert all(chunker.min_size <= length <= chunker.max_size for length in lengths[:-1])
    assert all(0 < length <= chunker.max_size for length in lengths[-1:])


@pytest.mark.parametrize("parameters", ALL, ids=str)
@unhurried
@given(
    data=inputs,
    seed=seeds,
    sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=6),
    spare=st.integers(0, 20_000),
)
def test_reads_and_buffers_do_not_move_cuts(
    parameters: ChunkerParameters, data: bytes, seed: int, sizes: list[int], spare: int
) -> None:
    chunker = make_chunker(parameters, seed)
    buffer = bytearray(2 * chunker.max_size + spare)
    chunks = [bytes(chunk) for chunk in read_chunks(reader(data, sizes), chunker, buffer)]
    assert chunks == [data[start:end] for start, end in pairwise([0, *ends_of(chunker, data)])]


@unhurried
@given(parameters=any_parameters(), data=inputs, seed=seeds, sizes=st.lists(st.integers(1, 5000), min_size=1))
def test_all_sizes_that_are_accepted_work(
    parameters: ChunkerParameters, data: bytes, seed: int, sizes: list[int]
) -> None:
    chunker = make_chunker(parameters, seed)
    buffer = bytearray(2 * chunker.max_size)
    chunks = [bytes(chunk) for chunk in read_chunks(reader(data, sizes), chunker, buffer)]
    assert b"".join(chunks) == data
    assert all(chunker.min_size <= len(chunk) <= chunker.max_size for chunk in chunks[:-1])
    assert chunks == [data[start:end] for start, end in pairwise([0, *ends_of(chunker, data)])]


@pytest.mark.parametrize("parameters", ALL, ids=str)
def test_reads_of_one_byte_do_not_move_cuts(parameters: ChunkerParameters) -> None:
    data = _mixed(7, [(9000, 5000), (9000, 100)])
    chunker = make_chunker(parameters, 7)
    chunks = [len(chunk) for chunk in read_chunks(reader(data, [1]), chunker, bytearray(2 * chunker.max_size))]
    assert chunks == [end - start for start, end in pairwise([0, *ends_of(chunker, data)])]


@pytest.mark.parametrize("parameters", ALL, ids=str)
@unhurried
@given(data=inputs, seed=seeds, shown=st.integers(0, 40_000))
def test_what_is_certain_stays(parameters: ChunkerParameters, data: bytes, seed: int, shown: int) -> None:
    """The ends found in a part are the first ends of the whole, and no chunk that is certain is held back."""
    chunker = make_chunker(parameters, seed)
    part = data[:shown]
    certain = chunker.cut(memoryview(part), final=False)
    assert certain == ends_of(chunker, data)[: len(certain)]
    assert len(part) - (certain[-1] if certain else 0) < chunker.max_size


@pytest.mark.parametrize("parameters", CONTENT_DEFINED, ids=str)
@unhurried
@given(
    noise=st.integers(0, 2**32),
    seed=seeds,
    at=st.integers(0, 30_000),
    inserted=st.binary(min_size=1, max_size=6000),
)
def test_an_insertion_changes_only_chunks_nearby(
    parameters: ChunkerParameters, noise: int, seed: int, at: int, inserted: bytes
) -> None:
    """On random data the ends are the same again within 16 maximal chunks (64 KiB here) after an insertion.

    Two ways of cutting come together at the first end they share. In 4,000 trials each the distance to it was
    0.9 to 1.4 KiB on average and 14 KiB at most, falling exponentially: about e**-50 are left at 64 KiB.
    """
    reach = 16 * parameters.max_size
    data = Random(noise).randbytes(30_000 + reach + 8 * parameters.max_size)
    chunker = make_chunker(parameters, seed)
    before = ends_of(chunker, data)
    after = ends_of(chunker, data[:at] + inserted + data[at:])

    assert [end for end in before if end < at] == [end for end in after if end < at]
    moved = [end - len(inserted) for end in after]
    shared = {end for end in before if end > at} & set(moved)
    resumed = min(shared)
    assert resumed <= at + reach
    assert [end for end in before if end >= resumed] == [end for end in moved if end >= resumed]


@unhurried
@given(noise=st.integers(0, 2**32), seed=seeds, other=seeds)
def test_seeds_decide_where_pyfastcdc_cuts(noise: int, seed: int, other: int) -> None:
    parameters = parse_chunker("pyfastcdc:256,1K,4K")
    data = Random(noise).randbytes(100_000)
    ends = ends_of(make_chunker(parameters, seed), data)
    other_ends = ends_of(make_chunker(parameters, other), data)
    # pyfastcdc looks at no bit of the seed above the 48th (see pyfastcdc_chunker.py).
    same_table = (seed ^ other) % 2**48 == 0
    assert (ends == other_ends) == same_table


@pytest.mark.parametrize("parameters", ALL[1:], ids=str)
@unhurried
@given(data=inputs, seed=seeds, other=seeds)
def test_the_others_are_not_seeded(parameters: ChunkerParameters, data: bytes, seed: int, other: int) -> None:
    assert ends_of(make_chunker(parameters, seed), data) == ends_of(make_chunker(parameters, other), data)
