"""Which instant a time means, on a table: ages, spans, offsets, and what clocks on walls do."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from chunkstore.errors import InvalidArgument
from chunkstore.times import Localise, parse_time

NOW = datetime(2026, 7, 27, 12, 30, 15, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 10**9 + 123_456_789
S = 10**9


def zone(name: str) -> Localise:
    return lambda wall: wall.replace(tzinfo=ZoneInfo(name))


def ns(text: str) -> int:
    """Nanoseconds of an instant that is written in UTC, to the second."""
    since = datetime.fromisoformat(f"{text}+00:00") - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(seconds=1) * S


def meant(text: str, where: str = "UTC") -> int:
    return parse_time(text, NOW_NS, zone(where))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", 0),
        ("0s", 0),
        ("90s", 90),
        ("3D", 3 * 86400),
        ("3d", 3 * 86400),
        ("2W", 14 * 86400),
        ("1h30m", 5400),
        ("1M", 30 * 86400),
        ("1m", 60),
        ("1Y", 365 * 86400),
        (" 1D 12h ", 36 * 3600),
        ("999Y", 999 * 365 * 86400),
    ],
)
def test_an_age_is_exact_seconds_before_now(text: str, seconds: int) -> None:
    assert meant(text, "Europe/Berlin") == NOW_NS - seconds * S


SPANS = [
    # (what is written, the first second after it in UTC)
    ("2026-07", "2026-08-01T00:00:00"),
    ("2026-12", "2027-01-01T00:00:00"),
    ("2026-02", "2026-03-01T00:00:00"),
    ("2028-02", "2028-03-01T00:00:00"),
    ("2026-07-27", "2026-07-28T00:00:00"),
    ("2026-12-31", "2027-01-01T00:00:00"),
    ("2028-02-29", "2028-03-01T00:00:00"),
    ("2026-07-27Z", "2026-07-28T00:00:00"),
    ("2026-07-27T10", "2026-07-27T11:00:00"),
    ("2026-07-27T10:00", "2026-07-27T10:01:00"),
    ("2026-07-27 10:00", "2026-07-27T10:01:00"),
    ("2026-07-27t10:00z", "2026-07-27T10:01:00"),
    ("2026-07-27T23:59", "2026-07-28T00:00:00"),
    ("2026-07-27T10:00:05", "2026-07-27T10:00:06"),
    ("2026-07-27T10:00:59Z", "2026-07-27T10:01:00"),
    ("2026-07-27T10:00+02:00", "2026-07-27T08:01:00"),
    ("2026-07-27T10:00+0200", "2026-07-27T08:01:00"),
    ("2026-07-27 10:00 -05:30", "2026-07-27T15:31:00"),
    ("2026-07-27T00:30+14:00", "2026-07-26T10:31:00"),
    ("1970-01-01T00:00:00Z", "1970-01-01T00:00:01"),
    ("1969-12-31", "1970-01-01T00:00:00"),
    ("0001-01-01", "0001-01-02T00:00:00"),
]


@pytest.mark.parametrize(("text", "end"), SPANS)
def test_a_time_means_the_whole_of_what_it_names(text: str, end: str) -> None:
    assert meant(text) == ns(end) - 1


@pytest.mark.parametrize(
    ("fraction", "last"),
    [
        ("1", 199_999_999),
        ("123", 123_999_999),
        ("999", 999_999_999),
        ("000001", 1_999),
        ("123456789", 123_456_789),
        ("999999999", 999_999_999),
    ],
)
def test_a_fraction_of_a_second_means_the_whole_of_its_last_digit(fraction: str, last: int) -> None:
    assert meant(f"2026-07-27T10:00:05.{fraction}Z") == ns("2026-07-27T10:00:05") + last


ON_WALLS = [
    # (zone, what is written there, the first second after it in UTC)
    # no change of clocks near
    ("Europe/Berlin", "2026-07-27", "2026-07-27T22:00:00"),
    ("Europe/Berlin", "2026-01-27", "2026-01-27T23:00:00"),
    ("Europe/Berlin", "2026-07-27T10:00", "2026-07-27T08:01:00"),
    ("Europe/Berlin", "2026-07-27T10:00Z", "2026-07-27T10:01:00"),
    ("Europe/Berlin", "2026-07", "2026-07-31T22:00:00"),
    ("America/New_York", "2026-07-27", "2026-07-28T04:00:00"),
    ("Asia/Kolkata", "2026-07-27", "2026-07-27T18:30:00"),
    ("Asia/Kolkata", "2026-07-27T10:00:05", "2026-07-27T04:30:06"),
    # Berlin, spring: 02:00 becomes 03:00 at 01:00 UTC
    ("Europe/Berlin", "2026-03-28", "2026-03-28T23:00:00"),
    ("Europe/Berlin", "2026-03-29", "2026-03-29T22:00:00"),
    ("Europe/Berlin", "2026-03-29T01:59", "2026-03-29T01:00:00"),
    ("Europe/Berlin", "2026-03-29T02:00", "2026-03-29T01:01:00"),
    ("Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:31:00"),
    ("Europe/Berlin", "2026-03-29T03:00", "2026-03-29T01:01:00"),
    ("Europe/Berlin", "2026-03", "2026-03-31T22:00:00"),
    # Berlin, autumn: 03:00 becomes 02:00 at 01:00 UTC
    ("Europe/Berlin", "2026-10-24", "2026-10-24T22:00:00"),
    ("Europe/Berlin", "2026-10-25", "2026-10-25T23:00:00"),
    ("Europe/Berlin", "2026-10-25T01:59", "2026-10-25T00:00:00"),
    ("Europe/Berlin", "2026-10-25T02:00", "2026-10-25T01:01:00"),
    ("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T01:31:00"),
    ("Europe/Berlin", "2026-10-25T02:30+02:00", "2026-10-25T00:31:00"),
    ("Europe/Berlin", "2026-10-25T02:59", "2026-10-25T02:00:00"),
    ("Europe/Berlin", "2026-10-25T02", "2026-10-25T02:00:00"),
    ("Europe/Berlin", "2026-10-25T03:00", "2026-10-25T02:01:00"),
    # New York: at 07:00 UTC forward, at 06:00 UTC back
    ("America/New_York", "2026-03-08T02:30", "2026-03-08T07:31:00"),
    ("America/New_York", "2026-03-08", "2026-03-09T04:00:00"),
    ("America/New_York", "2026-11-01T01:30", "2026-11-01T06:31:00"),
    ("America/New_York", "2026-11-01", "2026-11-02T05:00:00"),
    # Lord Howe: half an hour; back from 02:00 to 01:30 at 15:00 UTC, forward from 02:00 to 02:30 at 15:30 UTC
    ("Australia/Lord_Howe", "2026-04-05T01:29", "2026-04-04T14:30:00"),
    ("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T15:16:00"),
    ("Australia/Lord_Howe", "2026-04-05T01", "2026-04-04T15:30:00"),
    ("Australia/Lord_Howe", "2026-04-05", "2026-04-05T13:30:00"),
    ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:46:00"),
    ("Australia/Lord_Howe", "2026-10-04", "2026-10-04T13:00:00"),
    # Apia left out the 30th of December 2011: after it, and before the 31st, is the moment in between
    ("Pacific/Apia", "2011-12-29", "2011-12-30T10:00:00"),
    ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00"),
    ("Pacific/Apia", "2011-12-31", "2011-12-31T10:00:00"),
    ("Pacific/Apia", "2011-12", "2011-12-31T10:00:00"),
    # Havana goes back from 01:00 to 00:00, so that midnight is there twice: a day ends with the first one
    ("America/Havana", "2026-10-31", "2026-11-01T04:00:00"),
    ("America/Havana", "2026-11-01T00:30", "2026-11-01T05:31:00"),
    # Sao Paulo had no midnight when clocks went forward, and 23:00 twice when they went back
    ("America/Sao_Paulo", "2018-11-03", "2018-11-04T03:00:00"),
    ("America/Sao_Paulo", "2019-02-16", "2019-02-17T03:00:00"),
    ("America/Sao_Paulo", "2019-02-16T23:30", "2019-02-17T02:31:00"),
]


@pytest.mark.parametrize(("where", "text", "end"), ON_WALLS)
def test_a_date_without_an_offset_is_one_on_the_wall(where: str, text: str, end: str) -> None:
    assert meant(text, where) == ns(end) - 1


def test_the_time_of_this_machine_is_on_its_wall() -> None:
    """The same table through the C library, as the command line asks for it: in a process for each zone."""
    program = (
        "import sys; from datetime import datetime; from chunkstore.times import parse_time\n"
        "for line in sys.stdin: print(parse_time(line, 0, datetime.astimezone))"
    )
    for where in dict.fromkeys(row[0] for row in ON_WALLS):
        rows = [row for row in ON_WALLS if row[0] == where]
        done = subprocess.run(
            [sys.executable, "-c", program],
            input="\n".join(row[1] for row in rows),
            env={**os.environ, "TZ": where},
            capture_output=True,
            text=True,
            check=True,
        )
        found = dict(zip([row[1] for row in rows], map(int, done.stdout.split()), strict=True))
        assert found == {row[1]: ns(row[2]) - 1 for row in rows}, where


@pytest.mark.parametrize("where", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"])
def test_the_ends_of_days_ascend_and_meet_the_calendar(where: str) -> None:
    day = datetime(2018, 1, 1)
    before = meant(f"{day:%Y-%m-%d}", where)
    for _ in range(800):
        day += timedelta(days=1)
        end = meant(f"{day:%Y-%m-%d}", where)
        assert 22 * 3600 * S < end - before < 26 * 3600 * S
        shown = datetime.fromtimestamp(end // S, ZoneInfo(where))
        following = datetime.fromtimestamp(end // S + 1, ZoneInfo(where))
        assert shown.date() == day.date()
        assert following.date() == (day + timedelta(days=1)).date()
        before = end


BAD = """
| |yesterday|NOW|3|D|3X|-3D|3D ago|1.5D|2026|2026-7|2026-13|2026-00|2026-07-32|2026-02-29|2026-07-27T|2026-07-27T24:00
2026-07-27T10:60|2026-07-27T10:00:60|2026-07-27T10:00:00.|2026-07-27T10:00:00.1234567890|2026-07-27T10:00+25:00
2026-07-27T10:00+02:60|2026-07-27T10:00 CET|2026-07-27-10:00|2026-07Z|2026-07-27+02:00|20260727|27.07.2026|07/27/2026
0000-01-01|٢٠٢٦-٠٧-٢٧|2026-07-27T10:00:05,5|2026-07-27  10:00|2026-07-27T10:00+2|1e3s|latest
"""


@pytest.mark.parametrize("text", BAD.replace("\n", "|").split("|"))
def test_what_names_no_time_is_answered_with_examples(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"not a time.*3D.*2026-07-27T10:00"):
        meant(text)


@pytest.mark.parametrize("where", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("text", ["9999-12", "9999-12-31", "9999-12-31T23:59", "0001-01", "0001-01-01T00:00"])
def test_the_ends_of_the_calendar(text: str, where: str) -> None:
    year = ns("9999-01-01T00:00:00") if text[0] == "9" else ns("0001-01-01T00:00:00")
    assert abs(meant(text, where) - year) < 367 * 86400 * S


def test_a_time_to_come_is_a_time() -> None:
    assert meant("2999-01-01") > NOW_NS
