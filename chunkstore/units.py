"""Sizes, ages, durations, rates, counts and times as people write and read them. Pure.

Sizes are powers of 1024 and say so (KiB, MiB ...). What is parsed is ASCII only, and what is refused is
answered with what would be accepted.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from chunkstore.errors import InvalidArgument

_SIZE_PREFIXES: Final = "KMGTPE"

# The digits are bounded so that hostile text can not make us compute with huge numbers.
_SIZE: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))? ?(?:([KMGTPE])(?:iB)?|B)?", re.IGNORECASE)
_SIZE_HELP: Final = "a number of bytes, or one with K, M, G, T, P or E (powers of 1024): 4096, 16M, 4KiB, 1.5GiB"

# M is a month and m a minute, as duplicity's users write them; all other letters are meant in either case.
_AGE_SECONDS: Final = {
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 7 * 86400,
    "M": 30 * 86400,
    "y": 365 * 86400,
}
_AGE: Final = re.compile(r"(?:[0-9]{1,9} ?[sSmMhHdDwWyY] ?)+")
_AGE_PART: Final = re.compile(r"([0-9]{1,9}) ?([sSmMhHdDwWyY])")
_AGE_HELP: Final = "numbers with s, m (minutes), h, D, W, M (30 days) or Y (365 days): 3D, 1h30m, 2W"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NANOSECONDS: Final = 1_000_000_000


def format_size(size: float) -> str:
    """A number of bytes with one decimal in the largest unit that fits: `999 B`, `1.2 GiB`."""
    if size < 0:
        return f"-{format_size(-size)}"
    if size < 1024:
        return f"{int(size)} B"
    value = size / 1024
    for prefix in _SIZE_PREFIXES:
        # 1023.95 and more would be shown as "1024.0".
        if value < 1023.95 or prefix == _SIZE_PREFIXES[-1]:
            break
        value /= 1024
    return f"{value:.1f} {prefix}iB"


def parse_size(text: str) -> int:
    """Bytes meant by `123`, `16M`, `4KiB` or `1.5GiB`, a fraction of a byte cut off; else InvalidArgument.

    `MB` is refused: half of the world means 1,000,000 by it and the other half 1,048,576.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(f"not a size: {text[:40]!r}; give {_SIZE_HELP}")
    whole, fraction, prefix = match.groups()
    unit: int = 1024 ** (_SIZE_PREFIXES.index(prefix.upper()) + 1) if prefix else 1
    if fraction is None:
        return int(whole) * unit
    if unit == 1:
        raise InvalidArgument(f"not a whole number of bytes: {text[:40]!r}; give {_SIZE_HELP}")
    fraction_scale: int = 10 ** len(fraction)
    return int(whole) * unit + int(fraction) * unit // fraction_scale


def parse_age(text: str) -> int:
    """Seconds meant by `3D`, `1h30m` or `2W` (M is 30 days, Y is 365 days); else InvalidArgument."""
    stripped = text.strip()
    if _AGE.fullmatch(stripped) is None:
        raise InvalidArgument(f"not an age: {text[:40]!r}; give {_AGE_HELP}")
    parts = _AGE_PART.findall(stripped)
    return sum(int(number) * _AGE_SECONDS[unit if unit == "M" else unit.lower()] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Two leading units at most: `0.4s`, `42s`, `3m05s`, `2h05m`, `3d04h`."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}s"
    if total < 86400:
        return f"{total // 3600}h{total % 3600 // 60:02d}m"
    return f"{total // 86400}d{total % 86400 // 3600:02d}h"


def format_rate(bytes_per_second: float) -> str:
    """`12.3 MiB/s`."""
    return f"{format_size(bytes_per_second)}/s"


def format_count(number: int) -> str:
    """A whole number with a comma between the thousands: `1,234,567`."""
    return f"{number:,}"


def format_ratio(before: float, after: float) -> str:
    """How many times smaller `after` is than `before`: `2.41x`; `-` where nothing is left to compare with."""
    return f"{before / after:.2f}x" if after else "-"


def format_time(time_ns: int, tz: tzinfo = UTC) -> str:
    """Nanoseconds since 1970 as `2026-07-27 14:03:05 UTC` in the given zone, the fraction cut off.

    A time no calendar has (an mtime may hold anything) is shown as `@` and the seconds since 1970.
    """
    seconds = time_ns // _NANOSECONDS
    try:
        moment = (_EPOCH + timedelta(seconds=seconds)).astimezone(tz)
    except (OverflowError, ValueError):
        return f"@{seconds}"
    return f"{moment.replace(tzinfo=None).isoformat(sep=' ')} {moment.tzname()}"
