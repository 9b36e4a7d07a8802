"""Sizes, ages, durations, rates and times as people write and read them."""

from __future__ import annotations

from datetime import timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkstore.errors import InvalidArgument
from chunkstore.units import (
    format_count,
    format_duration,
    format_rate,
    format_ratio,
    format_size,
    format_time,
    parse_age,
    parse_size,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**2, "1.0 MiB"),
        (1_288_490_189, "1.2 GiB"),
        (1024**4 - 1, "1.0 TiB"),
        (5 * 1024**5, "5.0 PiB"),
        (2048 * 1024**6, "2048.0 EiB"),
        (-1536, "-1.5 KiB"),
    ],
)
def test_format_size(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("123", 123),
        ("123B", 123),
        ("16M", 16 << 20),
        ("16m", 16 << 20),
        ("4KiB", 4096),
        ("4 kib", 4096),
        ("1.5GiB", 3 << 29),
        ("0.1K", 102),
        (" 2T ", 2 << 40),
        ("1P", 1 << 50),
        ("1E", 1 << 60),
    ],
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "M",
        "16MB",
        "16 MB",
        "-1",
        "+1",
        "1.5",
        "1.5B",
        "1.",
        ".5M",
        "1e6",
        "0x10",
        "1_000",
        "1,5M",
        "١٢",
        "16M\n1",
        "9" * 5000,
    ],
)
def test_parse_size_refuses_and_says_what_it_accepts(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"16M, 4KiB, 1\.5GiB"):
        parse_size(text)


@given(st.integers(0, 2**64))
def test_format_size_is_read_back_within_its_precision(size: int) -> None:
    assert abs(parse_size(format_size(size)) - size) <= size * 0.051


@given(st.integers(0, 2**69))
def test_format_size_never_shows_1024_of_a_unit(size: int) -> None:
    assert float(format_size(size).split()[0]) < 1024


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("1h30m", 5400),
        ("1H30m", 5400),
        ("3D", 3 * 86400),
        ("3d 4h", 3 * 86400 + 4 * 3600),
        ("2W", 14 * 86400),
        ("2M", 60 * 86400),
        ("2m", 120),
        ("1Y", 365 * 86400),
        ("0s", 0),
    ],
)
def test_parse_age(text: str, seconds: int) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "D", "3X", "-3D", "1.5h", "3D4", "3 D 4", "yesterday", "9999999999s"])
def test_parse_age_refuses_and_says_what_it_accepts(text: str) -> None:
    with pytest.raises(InvalidArgument, match="3D, 1h30m, 2W"):
        parse_age(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (0.44, "0.4s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (185, "3m05s"),
        (3599.7, "1h00m"),
        (7500, "2h05m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
        (3 * 86400 + 4 * 3600, "3d04h"),
        (1000 * 86400, "1000d00h"),
        (-185, "-3m05s"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(10, 10**9))
def test_format_duration_is_read_back_within_its_second_unit(seconds: int) -> None:
    assert 0 <= seconds - parse_age(format_duration(seconds)) < 3600


def test_rates_counts_and_ratios() -> None:
    assert format_rate(12.3 * 1024**2) == "12.3 MiB/s"
    assert format_rate(0) == "0 B/s"
    assert format_count(0) == "0"
    assert format_count(1234567) == "1,234,567"
    assert format_count(-1234) == "-1,234"
    assert format_ratio(241, 100) == "2.41x"
    assert format_ratio(0, 5) == "0.00x"
    assert format_ratio(5, 0) == "-"


def test_format_time_in_utc_and_in_a_given_zone() -> None:
    summer = 1_785_160_985_999_999_999
    assert format_time(summer) == "2026-07-27 14:03:05 UTC"
    assert format_time(summer, timezone(timedelta(hours=2))) == "2026-07-27 16:03:05 UTC+02:00"
    assert format_time(summer, ZoneInfo("Europe/Berlin")) == "2026-07-27 16:03:05 CEST"
    assert format_time(0) == "1970-01-01 00:00:00 UTC"
    assert format_time(-1) == "1969-12-31 23:59:59 UTC"


@given(st.integers(-(2**63), 2**63 - 1))
def test_format_time_shows_any_64_bit_time(time_ns: int) -> None:
    assert format_time(time_ns)


def test_format_time_outside_of_the_calendar() -> None:
    year_10000 = 253_402_300_800
    assert format_time(year_10000 * 10**9) == "@253402300800"
    assert format_time(-(10**30)) == f"@{-(10**21)}"
    one_hour_before = (year_10000 - 3600) * 10**9
    assert format_time(one_hour_before, timezone(timedelta(hours=2))) == "@253402297200"
