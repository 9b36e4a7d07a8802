"""Times as people name them: `now`, ages, and dates of a calendar. Pure.

What is named is a span - a day, a minute - and what counts is its last nanosecond: whoever says `2026-07-27` means to have
what was there at the end of that day. Zones are not known here: who calls says how the time on a wall becomes an instant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from chunkstore.errors import InvalidArgument
from chunkstore.units import parse_age

Localise = Callable[[datetime], datetime]
"""Gives a naive time on the wall its zone, minding `fold`: `naive.replace(tzinfo=ZoneInfo(...))`, `naive.astimezone()`."""

TIME_HELP: Final = (
    "now, an age (3D, 2W, 1h30m), a month (2026-07), a day (2026-07-27), or a time of a day "
    "(2026-07-27T10:00, 2026-07-27T10:00:05, 2026-07-27T10:00Z, 2026-07-27T10:00+02:00)"
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_NS: Final = 1_000_000_000
_MONTH: Final = re.compile(r"([0-9]{4})-([0-9]{2})")
_DAY: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})([zZ])?")
_MOMENT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[tT ]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?"
    r" ?([zZ]|[+-][0-9]{2}:?[0-9]{2})?"
)


def parse_time(text: str, now_ns: int, localise: Localise) -> int:
    """The last nanosecond (since 1970, UTC) of what `text` names; `InvalidArgument` for what names no time.

    An age is exact seconds before `now_ns`. A date without an offset is one on the wall: of two moments that show the
    same there, the later one counts; one that is skipped is read with the offset from before the clocks were changed.
    """
    stripped = text.strip()
    if stripped == "now":
        return now_ns
    try:
        found = _calendar(stripped, localise)
        return now_ns - parse_age(stripped) * _NS if found is None else found
    except (InvalidArgument, ValueError, OverflowError, OSError) as e:
        raise InvalidArgument(f"not a time: {text[:40]!r}; give {TIME_HELP}") from e


def _calendar(text: str, localise: Localise) -> int | None:
    """The last nanosecond of a month, a day, or a part of one; None for what does not look like it."""
    if month := _MONTH.fullmatch(text):
        first = datetime(int(month[1]), int(month[2]), 1)
        return _end_of(first.replace(day=_days(first)), timedelta(days=1), localise)
    if day := _DAY.fullmatch(text):
        return _end_of(datetime.fromisoformat(day[1]), timedelta(days=1), _zone(day[2]) or localise)
    if moment := _MOMENT.fullmatch(text):
        date, hour, minute, second, fraction, zone = moment.groups()
        at = datetime.fromisoformat(date).replace(hour=int(hour), minute=int(minute or 0), second=int(second or 0))
        if fraction:
            digit: int = 10 ** (9 - len(fraction))
            return _later(at, _zone(zone) or localise) + (int(fraction) + 1) * digit - 1
        span = _SECOND if second else timedelta(minutes=1) if minute else timedelta(hours=1)
        return _end_of(at, span, _zone(zone) or localise)
    return None


def _days(first: datetime) -> int:
    """How many days the month has that begins with `first`."""
    return 31 if first.month == 12 else (first.replace(month=first.month + 1) - first).days


def _zone(text: str | None) -> Localise | None:
    """What an offset means; None where there is none."""
    if text is None:
        return None
    if text in "zZ":
        return lambda wall: wall.replace(tzinfo=UTC)
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError(text)
    offset = timedelta(hours=hours, minutes=minutes)
    zone = timezone(-offset if text[0] == "-" else offset)
    return lambda wall: wall.replace(tzinfo=zone)


def _end_of(start: datetime, span: timedelta, localise: Localise) -> int:
    """The last nanosecond of a span on the wall.

    That is the end of its last second. Where clocks are changed at its end, this may be skipped, while what comes next is
    there: so never later than the beginning of that.
    """
    last = start + (span - _SECOND)
    end = _later(last, localise) + _NS - 1
    try:
        return min(end, _later(last + _SECOND, localise) - 1)
    except OverflowError:  # no calendar goes on
        return end


def _later(wall: datetime, localise: Localise) -> int:
    """The instant (ns) of a whole second on the wall. With fold 1 a time that is there twice is the later one, with fold
    0 one that is skipped: each has the later of two readings (PEP 495)."""
    readings = (localise(wall.replace(fold=fold)) - _EPOCH for fold in (0, 1))
    return max((reading.days * 86400 + reading.seconds) * _NS for reading in readings)
