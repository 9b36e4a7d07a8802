"""The head of a manifest segment: its version, and the names of those who own its entries (content plane)."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgpack

from chunkstore.errors import Damaged

SEGMENT_VERSION = 2


@dataclass(frozen=True, slots=True)
class Owners:
    """Names of the users and groups that own the entries of a segment, as far as they had any."""

    users: dict[int, str] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)


NO_OWNERS = Owners()


def encode_owners(owners: Owners) -> bytes:
    """How a segment begins."""
    tables = ([list(each) for each in sorted(names.items())] for names in (owners.users, owners.groups))
    packed: bytes = msgpack.packb([SEGMENT_VERSION, *tables])
    return packed


def decode_owners(header: object) -> Owners:
    """The names at the head of a segment; `Damaged` where it is not as `encode_owners` writes it, or of another version."""
    if type(header) is not list or not header or type(header[0]) is not int:
        raise Damaged("manifest segment without a version")
    if header == [1]:
        return NO_OWNERS
    if header[0] != SEGMENT_VERSION or len(header) != 3:
        raise Damaged("manifest segment of an unknown version")
    return Owners(_names(header[1]), _names(header[2]))


def _names(table: object) -> dict[int, str]:
    names: dict[int, str] = {}
    before = -1
    for pair in table if type(table) is list else [None]:
        if type(pair) is not list or [type(part) for part in pair] != [int, str] or pair[0] <= before:
            raise Damaged("manifest segment with malformed names of owners")
        before = pair[0]
        names[before] = pair[1]
    return names
