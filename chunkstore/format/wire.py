"""Reading fields that somebody else may have written: every type and every length is checked.

Values in ledger objects are msgpack maps with text keys. Keys that this version does not know are kept in place and
ignored; a key that is missing or has another type is damage.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgpack

from chunkstore.errors import Damaged

T = TypeVar("T")

Fields = dict[str, Any]
Buffer = bytes | bytearray | memoryview


def pack(value: object) -> bytes:
    """msgpack, with text as str and bytes as bin."""
    return msgpack.packb(value, use_bin_type=True)  # type: ignore[no-any-return]


def unpack(data: Buffer) -> Any:
    """One msgpack value that takes all of `data`; `Damaged` otherwise."""
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as e:
        raise Damaged("malformed record") from e


def unpack_fields(data: Buffer) -> Fields:
    """One msgpack map with text keys."""
    value = unpack(data)
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise Damaged("malformed record")
    return value


def field(fields: Fields, name: str, kind: type[T]) -> T:
    """The value under `name`, which must be exactly of type `kind`."""
    value = fields.get(name)
    if type(value) is not kind:
        raise Damaged(f"field {name!r} is missing or malformed")
    return value


def natural(fields: Fields, name: str, at_most: int = 2**63 - 1) -> int:
    """A whole number from 0 to `at_most`."""
    value = field(fields, name, int)
    if not 0 <= value <= at_most:
        raise Damaged(f"field {name!r} is out of range")
    return value


def fixed_bytes(fields: Fields, name: str, size: int) -> bytes:
    """Exactly `size` bytes."""
    value = field(fields, name, bytes)
    if len(value) != size:
        raise Damaged(f"field {name!r} has {len(value)} bytes, not {size}")
    return value


def optional(fields: Fields, name: str, kind: type[T]) -> T | None:
    """The value under `name`, or None where it is absent or nil."""
    return None if fields.get(name) is None else field(fields, name, kind)


def items(fields: Fields, name: str, kind: type[T]) -> tuple[T, ...]:
    """A list whose members are all exactly of type `kind`."""
    values = field(fields, name, list)
    if not all(type(value) is kind for value in values):
        raise Damaged(f"field {name!r} holds something malformed")
    return tuple(values)


def split(data: bytes, size: int, name: str) -> list[bytes]:
    """`data` in pieces of `size` bytes; it must divide evenly."""
    if len(data) % size:
        raise Damaged(f"field {name!r} is cut off")
    return [data[i : i + size] for i in range(0, len(data), size)]
