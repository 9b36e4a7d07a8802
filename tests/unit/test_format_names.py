"""Names of stored objects, there and back."""

from __future__ import annotations

import pytest

from chunkstore.format import names
from chunkstore.ids import PackId, SnapshotId, fingerprint_text, is_snapshot_id, new_snapshot_id
from chunkstore.storage.protocol import check_name
from tests.sample_objects import make_world, sample_objects


@pytest.mark.parametrize("number", [0, 1, 10**15, 10**16 - 1])
def test_numbers_come_back_and_sort(number: int) -> None:
    for make, prefix in (
        (names.config, names.CONFIG),
        (names.recipients, names.RECIPIENTS),
        (names.generation, names.GENERATIONS),
        (names.plan, names.PLANS),
    ):
        assert names.number(make(number), prefix) == number
        assert make(max(number - 1, 0)) <= make(number)
    assert names.number(names.plan_done(number), names.PLANS) is None


@pytest.mark.parametrize(
    "name",
    [
        "config/",
        "config/1",
        "config/000000000000000",
        "config/00000000000000000",
        "config/000000000000000a",
        "config/-000000000000001",
        "config/ 000000000000001",
        "config/0000000000000001\n",
        "config/0000000000000001.done",
        "recipients/0000000000000001",
        "0000000000000001",
        "",
    ],
)
def test_other_names_have_no_number(name: str) -> None:
    assert names.number(name, names.CONFIG) is None


def test_only_ascii_digits_are_numbers() -> None:
    assert names.number("config/" + "\u0661" * 16, names.CONFIG) is None


def test_pack_names_come_back() -> None:
    pack_id = PackId(bytes(range(32)))
    assert names.pack(pack_id) == "packs/00/" + bytes(range(32)).hex()
    assert names.pack_id(names.pack(pack_id)) == pack_id
    text = bytes(range(32)).hex()
    for name in (
        text,
        f"packs/{text}",
        f"packs/01/{text}",
        f"packs/00/{text.upper()}",
        f"packs/00/{text}0",
        "packs/00/",
    ):
        assert names.pack_id(name) is None


def test_storages_take_every_name() -> None:
    for each in sample_objects():
        check_name(each.name)


def test_snapshot_ids() -> None:
    drawn = new_snapshot_id(make_world().random_bytes)
    assert is_snapshot_id(drawn)
    assert names.snapshot(drawn) == f"snapshots/{drawn}"
    assert names.run_index(SnapshotId("a" * 32), 7) == "index/run-" + "a" * 32 + "-000007"
    for text in ("", drawn[:-1], drawn + "0", drawn.upper().replace("0", "G"), "\u0661" * 32):
        assert not is_snapshot_id(text)


def test_a_fingerprint_is_eight_groups_of_the_id() -> None:
    shown = fingerprint_text(make_world().key.repository_id)
    assert shown.replace(" ", "") == make_world().key.repository_id.hex()
    assert [len(group) for group in shown.split(" ")] == [8] * 8
