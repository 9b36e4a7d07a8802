"""What a copy says it is a copy of, in its record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest

from chunkstore.errors import Damaged
from chunkstore.format.records import Original, decode_record, encode_record, record_body
from chunkstore.ids import RepositoryId, SnapshotId
from tests.unit.test_catalog import record as record_of

ORIGINAL = Original(RepositoryId(b"r" * 32), SnapshotId("ab" * 16))


def test_it_comes_back_and_others_are_stored_without_the_field() -> None:
    record = record_of(1)
    assert "original" not in msgpack.unpackb(record_body(record))
    assert decode_record(encode_record(record_body(record), None), record.id).record.original is None
    copied = replace(record, original=ORIGINAL)
    assert decode_record(encode_record(record_body(copied), None), record.id).record == copied
    assert msgpack.unpackb(record_body(copied))["original"] == {"repository": b"r" * 32, "snapshot": "ab" * 16}


@pytest.mark.parametrize(
    "value",
    [
        1,
        [],
        {},
        {"repository": b"r" * 31, "snapshot": "ab" * 16},
        {"repository": b"r" * 32, "snapshot": "ab" * 15},
        {"repository": b"r" * 32, "snapshot": b"ab" * 16},
        {"repository": "r" * 32, "snapshot": "ab" * 16},
        {"snapshot": "ab" * 16},
    ],
    ids=repr,
)
def test_anything_else_is_damage(value: Any) -> None:
    record = record_of(1)
    fields = msgpack.unpackb(record_body(record))
    with pytest.raises(Damaged):
        decode_record(encode_record(msgpack.packb({**fields, "original": value}), None), record.id)


def test_nil_is_none() -> None:
    record = record_of(1)
    fields = msgpack.unpackb(record_body(record))
    body = msgpack.packb({**fields, "original": None})
    assert decode_record(encode_record(body, None), record.id).record.original is None
