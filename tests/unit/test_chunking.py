"""The chunkers and the streaming helper, where an example says more than a property."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from random import Random

import fastcdc
import pyfastcdc
import pytest

from chunkstore.chunking import MAX_SEED, Chunker, ChunkerParameters, make_chunker, parse_chunker, read_chunks
from chunkstore.errors import InvalidArgument

SMALL = [
    ChunkerParameters("pyfastcdc", 256, 1024, 4096),
    ChunkerParameters("fastcdc", 256, 1024, 4096),
    ChunkerParameters("fixed", 1024, 1024, 1024),
]
SEED = 0x1234_5678_9ABC_DEF0
KNOWN_CUTS = [[344, 1318, 2836, 5025], [786, 1800, 2310, 5143], [1024, 2048, 3072, 4096]]


@pytest.fixture(params=SMALL, ids=str)
def chunker(request: pytest.FixtureRequest) -> Chunker:
    parameters: ChunkerParameters = request.param
    return make_chunker(parameters, SEED)


def random_bytes(length: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(length)


def test_sizes_are_those_asked_for() -> None:
    for parameters in SMALL:
        chunker = make_chunker(parameters, SEED)
        assert (chunker.min_size, chunker.max_size) == (parameters.min_size, parameters.max_size)


def test_only_pyfastcdc_is_seeded() -> None:
    assert [make_chunker(parameters, 1).seeded for parameters in SMALL] == [True, False, False]


def test_no_data_has_no_chunks(chunker: Chunker) -> None:
    assert chunker.cut(memoryview(b""), final=True) == []
    assert chunker.cut(memoryview(b""), final=False) == []


def test_short_data_is_one_chunk_once_it_is_final(chunker: Chunker) -> None:
    for length in (1, chunker.min_size - 1, chunker.min_size):
        data = memoryview(random_bytes(length))
        assert chunker.cut(data, final=True) == [length]


def test_nothing_is_certain_in_less_than_the_maximum(chunker: Chunker) -> None:
    data = memoryview(random_bytes(chunker.max_size))
    assert chunker.cut(data[:-1], final=False) == []
    assert len(chunker.cut(data, final=False)) >= 1


def test_cutting_stops_when_less_than_the_maximum_is_left(chunker: Chunker) -> None:
    data = memoryview(random_bytes(100_001))
    all_ends = chunker.cut(data, final=True)
    certain = chunker.cut(data, final=False)
    assert certain == all_ends[: len(certain)]
    assert len(data) - certain[-1] < chunker.max_size <= len(data) - certain[-2]


def test_constant_data_is_cut_within_the_bounds(chunker: Chunker) -> None:
    for byte in (0, 0xFF):
        ends = chunker.cut(memoryview(bytes([byte]) * 50_000), final=True)
        lengths = {end - start for start, end in zip([0, *ends], ends[:-1], strict=False)}
        assert len(lengths) == 1
        assert chunker.min_size <= lengths.pop() <= chunker.max_size


@pytest.mark.parametrize("parameters", SMALL[:2], ids=str)
def test_the_average_is_near_the_one_asked_for(parameters: ChunkerParameters) -> None:
    data = memoryview(random_bytes(4_000_000))
    average = len(data) / len(make_chunker(parameters, SEED).cut(data, final=True))
    assert 0.75 * parameters.avg_size < average < 1.5 * parameters.avg_size


def test_the_cuts_are_those_of_the_libraries() -> None:
    data = random_bytes(200_000)
    pieces = pyfastcdc.FastCDC(1024, min_size=256, max_size=4096, seed=SEED).cut_buf(data)
    expected = [piece.offset + piece.length for piece in pieces]
    assert make_chunker(SMALL[0], SEED).cut(memoryview(data), final=True) == expected
    expected = [piece.offset + piece.length for piece in fastcdc.fastcdc(data, 256, 1024, 4096)]
    assert make_chunker(SMALL[1], SEED).cut(memoryview(data), final=True) == expected


def test_known_cuts_stay_where_they_are() -> None:
    """A library that cuts otherwise after an update would store everything again."""
    data = memoryview(random_bytes(20_000))
    firsts = [make_chunker(parameters, SEED).cut(data, final=True)[:4] for parameters in SMALL]
    assert firsts == KNOWN_CUTS


@pytest.mark.parametrize("seed", [0, -1, MAX_SEED + 1, 2**64])
def test_seeds_outside_of_63_bits_are_refused(seed: int) -> None:
    for parameters in SMALL:
        with pytest.raises(InvalidArgument, match="seed"):
            make_chunker(parameters, seed)


def test_why_seeds_have_63_bits() -> None:
    make_chunker(SMALL[0], 1)
    make_chunker(SMALL[0], 2**63 - 1)
    with pytest.raises(OverflowError):
        pyfastcdc.FastCDC(1024, seed=2**63)


def test_only_the_low_48_bits_of_a_seed_matter() -> None:
    data = memoryview(random_bytes(4_000_000))
    parameters = parse_chunker("pyfastcdc:16K,64K,256K")
    ends = make_chunker(parameters, SEED).cut(data, final=True)
    assert make_chunker(parameters, SEED ^ 1 << 48).cut(data, final=True) == ends
    assert make_chunker(parameters, SEED ^ 1 << 47).cut(data, final=True) != ends
    assert make_chunker(parameters, SEED ^ 1).cut(data, final=True) != ends


def test_one_chunker_serves_many_threads(chunker: Chunker) -> None:
    inputs = [memoryview(random_bytes(300_000, seed)) for seed in range(8)]
    expected = [chunker.cut(data, final=True) for data in inputs]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(10):
            if chunker.cut(inputs[number], final=True) != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_read_chunks_refuses_a_small_buffer_at_once(chunker: Chunker) -> None:
    with pytest.raises(InvalidArgument, match="buffer"):
        read_chunks(io.BytesIO(b"abc").readinto, chunker, bytearray(2 * chunker.max_size - 1))


def test_read_chunks_of_an_empty_stream(chunker: Chunker) -> None:
    assert list(read_chunks(io.BytesIO().readinto, chunker, bytearray(2 * chunker.max_size))) == []


def test_read_chunks_hands_out_read_only_views_and_the_buffer_can_be_used_again(chunker: Chunker) -> None:
    buffer = bytearray(2 * chunker.max_size)
    for seed in range(3):
        data = random_bytes(50_000, seed)
        pieces = []
        for piece in read_chunks(io.BytesIO(data).readinto, chunker, buffer):
            assert piece.readonly
            pieces.append(bytes(piece))
        assert b"".join(pieces) == data


def test_read_chunks_passes_on_what_readinto_raises(chunker: Chunker) -> None:
    def readinto(view: memoryview) -> int:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(read_chunks(readinto, chunker, bytearray(2 * chunker.max_size)))


def test_read_chunks_uses_the_same_memory_for_any_length() -> None:
    chunker = make_chunker(parse_chunker("pyfastcdc:16K,64K,256K"), SEED)
    buffer = bytearray(1 << 20)
    block = random_bytes(1 << 20)
    left = 64

    def readinto(view: memoryview) -> int:
        nonlocal left
        left -= 1
        view[:] = block[: len(view)]
        return len(view) if left >= 0 else 0

    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in read_chunks(readinto, chunker, buffer))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total > 32 << 20
    # `block[: len(view)]` above is a copy of up to 1 MiB.
    assert peak < (1 << 20) + 200_000


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    prefix = f"import sys; sys.path[:0] = {[str(entry) for entry in path]!r}\n"
    return subprocess.run([sys.executable, "-c", prefix + code], capture_output=True, text=True, check=False)


MAKE_FASTCDC = """
from chunkstore.chunking import make_chunker, parse_chunker
from chunkstore.errors import InvalidArgument
try:
    make_chunker(parse_chunker("fastcdc"), 1)
except InvalidArgument as error:
    print("refused:", error)
"""


def test_fastcdc_not_installed() -> None:
    result = run_python("import sys; sys.modules['fastcdc'] = None\n" + MAKE_FASTCDC)
    assert result.stdout.startswith("refused: the chunker fastcdc is not installed"), result


def test_fastcdc_without_its_compiled_module(tmp_path: Path) -> None:
    """As pip leaves it where there is no compiler. The package itself would print to stdout."""
    source = Path(fastcdc.__file__).parent
    shutil.copytree(source, tmp_path / "fastcdc", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    result = run_python(MAKE_FASTCDC, tmp_path)
    assert result.stdout.startswith("refused: the chunker fastcdc is installed without"), result


def test_fastcdc_with_a_broken_compiled_module(tmp_path: Path) -> None:
    source = Path(fastcdc.__file__).parent
    shutil.copytree(source, tmp_path / "fastcdc", ignore=shutil.ignore_patterns("__pycache__"))
    for compiled in (tmp_path / "fastcdc").glob("fastcdc_cy*.so"):
        compiled.write_bytes(b"not a library")
    result = run_python(MAKE_FASTCDC, tmp_path)
    assert "refused: the chunker fastcdc does not load" in result.stdout, result


def test_no_library_is_imported_before_it_is_needed() -> None:
    result = run_python(
        "import sys, chunkstore.chunking as c\n"
        "c.make_chunker(c.parse_chunker('fixed'), 1)\n"
        "print(sorted({'fastcdc', 'pyfastcdc'} & set(sys.modules)))\n"
        "chunker = c.make_chunker(c.parse_chunker('pyfastcdc'), 1)\n"
        "print(chunker.cut(memoryview(bytes(1000)), True))\n"
        "print(sorted({'fastcdc', 'pyfastcdc'} & set(sys.modules)))\n"
        "print(len(chunker.cut(memoryview(bytes(1 << 22)), True)) > 1)\n"
        "print(sorted({'fastcdc', 'pyfastcdc'} & set(sys.modules)))\n"
    )
    assert result.stdout == "[]\n[1000]\n[]\nTrue\n['pyfastcdc']\n", result
