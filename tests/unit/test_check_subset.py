"""Which packs a check reads when it does not read all."""

from __future__ import annotations

import random

import pytest

from chunkstore.errors import InvalidArgument
from chunkstore.ids import PackId
from chunkstore.operations.check.subset import chooser, parse_subset
from chunkstore.operations.check.values import Amount, Everything, Part, Percent
from chunkstore.operations.pack_listing import ListedPack

DICE = random.Random(5)
PACKS = sorted(ListedPack(PackId(DICE.randbytes(32)), DICE.randrange(1, 20_000)) for _ in range(3000))


def chosen(
    subset: Everything | Part | Percent | Amount, seed: int = 1, packs: list[ListedPack] = PACKS
) -> list[ListedPack]:
    wanted = chooser(subset, packs, random.Random(seed).randbytes)
    return [pack for pack in packs if wanted(pack.pack_id)]


@pytest.mark.parametrize("parts", [1, 2, 7, 100])
def test_the_parts_together_are_everything_and_no_pack_is_in_two(parts: int) -> None:
    found = [pack for number in range(parts) for pack in chosen(Part(number + 1, parts), seed=number)]
    assert sorted(found) == PACKS


def test_a_part_is_always_the_same_and_parts_are_alike() -> None:
    sizes = [len(chosen(Part(number, 7))) for number in range(1, 8)]
    assert chosen(Part(3, 7), seed=1) == chosen(Part(3, 7), seed=2)
    assert min(sizes) > 0.7 * max(sizes)


@pytest.mark.parametrize("percent", [0.001, 1.0, 5.0, 50.0, 100.0])
def test_a_share_is_at_least_what_was_asked_for_and_little_more(percent: float) -> None:
    found = len(chosen(Percent(percent)))
    assert max(len(PACKS) * percent / 100, 1) <= found <= len(PACKS) * percent / 100 + 5


@pytest.mark.parametrize("size", [1, 30_000, 5_000_000])
def test_an_amount_is_at_least_what_was_asked_for_and_little_more(size: int) -> None:
    found = sum(pack.size for pack in chosen(Amount(size)))
    assert size <= found <= size + 5 * 20_000


def test_an_amount_above_all_there_is_is_everything() -> None:
    assert chosen(Amount(10**12)) == PACKS


def test_a_sample_is_another_one_each_time_and_reaches_every_pack() -> None:
    assert chosen(Percent(5.0), seed=1) != chosen(Percent(5.0), seed=2)
    few = PACKS[:20]
    seen = {pack for seed in range(300) for pack in chosen(Percent(5.0), seed, few)}
    assert sorted(seen) == few


@pytest.mark.parametrize("subset", [Everything(), Part(1, 1), Percent(5.0), Amount(5)])
def test_of_nothing_nothing_is_chosen(subset: Everything | Part | Percent | Amount) -> None:
    assert chosen(subset, packs=[]) == []


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1/7", Part(1, 7)),
        ("7/7", Part(7, 7)),
        ("5%", Percent(5.0)),
        ("0.5%", Percent(0.5)),
        ("100%", Percent(100.0)),
        ("10G", Amount(10 << 30)),
        ("1.5GiB", Amount(3 << 29)),
        (" 1/2 ", Part(1, 2)),
    ],
)
def test_what_is_written_is_what_is_meant(text: str, meant: object) -> None:
    assert parse_subset(text) == meant


@pytest.mark.parametrize(
    "text", ["", "0/7", "8/7", "1/0", "-1/7", "1/7/2", "0%", "101%", "-5%", "%", "5 %", "0", "10X", "x"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_subset(text)
