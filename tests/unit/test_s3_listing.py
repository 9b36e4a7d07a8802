"""Listings are sorted by whole names, in whichever of the two orders a server gives them."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from chunkstore.errors import StorageUnreachable
from chunkstore.storage import ObjectInfo
from chunkstore.storage.s3_listing import in_order

SEGMENTS = ["a", "a-", "a-b", "a.b", "a0", "a_", "ab", "b", "-", "0"]


def listed(names: list[str], prefix: str = "") -> list[str]:
    return [info.name for info in in_order((ObjectInfo(name, 1) for name in names), prefix, "here")]


def some_names(dice: Random) -> list[str]:
    """Names none of which is the directory of another."""
    chosen = {"/".join(dice.choice(SEGMENTS) for _ in range(dice.randrange(1, 5))) for _ in range(25)}
    return [name for name in chosen if not any(other.startswith(f"{name}/") for other in chosen)]


@pytest.mark.parametrize("seed", range(60))
def test_both_orders_of_servers_become_one(seed: int) -> None:
    names = some_names(Random(seed))
    for prefix, order in product(("", "a", "a/", "a/a", "a-", "a/a-b/"), (str, lambda name: name.split("/"))):
        found = [name for name in names if name.startswith(prefix)]
        assert listed(sorted(found, key=order), prefix) == sorted(found)


def test_names_that_come_twice_are_listed_once() -> None:
    assert listed(["a", "a", "b/1", "b/1", "b/2", "c"]) == ["a", "b/1", "b/2", "c"]


def test_no_order_at_all_is_an_error() -> None:
    with pytest.raises(StorageUnreachable, match="here: a: the server's listing is not in order"):
        listed(["b", "a"])


def test_what_is_in_one_directory_waits_for_no_other() -> None:
    taken: list[str] = []

    def names() -> list[ObjectInfo]:
        for name in ("packs/aa/1", "packs/aa/2", "packs/ab/1", "packs/ac/1"):
            taken.append(name)
            yield ObjectInfo(name, 1)

    infos = in_order(names(), "packs/", "here")
    assert next(infos).name == "packs/aa/1"
    assert taken == ["packs/aa/1", "packs/aa/2", "packs/ab/1"]
