"""Chunker parameters and their text form."""

from __future__ import annotations

import dataclasses

import pytest

from chunkstore.chunking import ALGORITHMS, MAX_CHUNK, ChunkerParameters, parse_chunker
from chunkstore.errors import InvalidArgument

KIB = 1024
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "parameters", "shown"),
    [
        ("pyfastcdc", ("pyfastcdc", 64 * KIB, 256 * KIB, MIB), "pyfastcdc:64K,256K,1M"),
        ("fastcdc", ("fastcdc", 64 * KIB, 256 * KIB, MIB), "fastcdc:64K,256K,1M"),
        ("fixed", ("fixed", MIB, MIB, MIB), "fixed:1M"),
        ("pyfastcdc:256,1024,4096", ("pyfastcdc", 256, 1024, 4096), "pyfastcdc:256,1K,4K"),
        ("pyfastcdc:64,256,1024", ("pyfastcdc", 64, 256, 1024), "pyfastcdc:64,256,1K"),
        (" fastcdc:1MiB, 4M ,8M ", ("fastcdc", MIB, 4 * MIB, 8 * MIB), "fastcdc:1M,4M,8M"),
        ("fixed:1000", ("fixed", 1000, 1000, 1000), "fixed:1000"),
        ("fixed:8M", ("fixed", 8 * MIB, 8 * MIB, 8 * MIB), "fixed:8M"),
    ],
)
def test_text_form_and_back(text: str, parameters: tuple[str, int, int, int], shown: str) -> None:
    parsed = parse_chunker(text)
    assert parsed == ChunkerParameters(*parameters)
    assert str(parsed) == shown
    assert parse_chunker(shown) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rabin",
        "PYFASTCDC",
        "pyfastcdc:",
        "pyfastcdc:256K",
        "pyfastcdc:64K,256K",
        "pyfastcdc:64K,256K,1M,2M",
        "pyfastcdc:64K,256K,1X",
        "pyfastcdc:256K,64K,1M",
        "pyfastcdc:64K,1M,256K",
        "pyfastcdc:65,256,1024",
        "pyfastcdc:62,256,1024",
        "pyfastcdc:64,255,1024",
        "pyfastcdc:64,256,1023",
        "pyfastcdc:64K,256K,9M",
        "pyfastcdc:64K,5M,8M",
        "fastcdc:2M,4M,8M",
        "fixed:",
        "fixed:0",
        "fixed:63",
        "fixed:9M",
        "fixed:1M,1M,1M",
        "fixed:8M:8M",
    ],
)
def test_refused_texts(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_chunker(text)


def test_the_message_says_what_is_accepted() -> None:
    with pytest.raises(InvalidArgument, match="pyfastcdc:64K,256K,1M"):
        parse_chunker("pyfastcdc:256K")
    with pytest.raises(InvalidArgument, match="64 to 1M"):
        parse_chunker("pyfastcdc:2M,4M,8M")
    with pytest.raises(InvalidArgument, match="pyfastcdc, fastcdc, fixed"):
        ChunkerParameters("rabin", 64 * KIB, 256 * KIB, MIB)


def test_parameters_from_a_record_are_checked() -> None:
    """Whatever type a decoded record puts there."""
    for bad in (1024.0, "1024", None, True, -1024, 2**70):
        with pytest.raises(InvalidArgument):
            ChunkerParameters("pyfastcdc", 256, 1024, bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        ChunkerParameters("fixed", 256, 1024, 4096)
    with pytest.raises(InvalidArgument):
        ChunkerParameters(None, 256, 1024, 4096)  # type: ignore[arg-type]


def test_parameters_are_values() -> None:
    parameters = ChunkerParameters()
    assert parameters == parse_chunker("pyfastcdc")
    assert hash(parameters) == hash(ChunkerParameters())
    with pytest.raises(dataclasses.FrozenInstanceError):
        parameters.max_size = 1  # type: ignore[misc]
    assert MAX_CHUNK == 8 * MIB
    assert ALGORITHMS == ("pyfastcdc", "fastcdc", "fixed")
