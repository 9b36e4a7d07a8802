"""What a level makes of a frame."""

from __future__ import annotations

from random import Random

import pytest

from chunkstore.compression import AUTO, OFF, RAW, ZSTD, Codec

SIZE = 1 << 20
NOISE = Random(5).randbytes(SIZE)
TEXT = b"".join(b"line %d of a text, %x\n" % (n, n * n) for n in range(SIZE // 24))[:SIZE]


def payload(level: int, raw: bytes) -> bytes:
    codec = Codec(SIZE, level)
    packed = bytes(codec.compress(memoryview(raw)))
    assert bytes(codec.decompress(memoryview(packed), len(raw))) == raw
    return packed


@pytest.mark.parametrize("raw", [TEXT, NOISE, TEXT[:100], NOISE[:100], b"x"])
def test_off_keeps_everything_as_it_is(raw: bytes) -> None:
    assert payload(OFF, raw) == bytes([RAW]) + raw


@pytest.mark.parametrize("raw", [TEXT, TEXT[:5000], TEXT[: 128 << 10]])
def test_auto_makes_as_much_of_text_as_level_3(raw: bytes) -> None:
    assert payload(AUTO, raw) == payload(3, raw)


def test_auto_keeps_noise_as_it_is() -> None:
    assert payload(AUTO, NOISE) == bytes([RAW]) + NOISE


def test_auto_makes_something_of_text_that_its_sample_does_not_meet() -> None:
    """Spots of 4 KiB are looked at, the text lies between them: then the quickest level has to do, but not none."""
    raw = bytearray(NOISE)
    step = (SIZE - 4096) // 7
    raw[4096:step] = TEXT[: step - 4096]
    packed = payload(AUTO, bytes(raw))
    assert packed[0] == ZSTD
    assert len(packed) < SIZE * 0.95
    assert packed == payload(1, bytes(raw)) != payload(3, bytes(raw))


def test_auto_looks_at_the_end_of_a_frame_too() -> None:
    raw = NOISE[:-4096] + TEXT[:4096]
    assert payload(AUTO, raw) == payload(3, raw)
