"""What `forget` says to people of snapshots whose dates are not believed."""

from __future__ import annotations

from chunkstore_cli.forget_output import doubts

from chunkstore.format.records import Original
from chunkstore.ids import RepositoryId
from chunkstore.operations.forget.plan import Limits, plan_by_rules
from chunkstore.operations.forget.policy import Candidate, Policy
from chunkstore.times import parse_time
from tests.forgetting import DAY, NS, at, candidate, utc

START = at("2026-03-02 10:00")
LATER = START // NS + 40 * 86400


def said(group: list[Candidate], believed: float | None = None) -> list[str]:
    limits = Limits(count=len(group), whole_groups=True, believed_before=believed)
    return doubts(plan_by_rules(group, group, Policy(last=1), {"host"}, utc, limits))


def test_copies_are_told_apart_with_the_time_from_which_on_they_are_believed() -> None:
    original = Original(RepositoryId(b"r" * 32), candidate(START).id)
    copies = [candidate(START + n * DAY, stored=LATER + n + 0.5, original=original) for n in range(3)]
    forged = candidate(START, stored=LATER + 100.0)
    about_copies, about_others = said([*copies, forged])
    assert about_copies.startswith("3 snapshots that `chunkstore copy` brought stay,")
    assert about_others.startswith("1 snapshot stays,")
    assert "forged" in about_others
    moment = about_copies.split("--believe-times ")[1].split()[0]
    believed = parse_time(moment, 0, lambda wall: wall.astimezone()) / NS
    assert all(each.stored is not None and each.stored < believed for each in copies)
    assert said([*copies, forged], believed) == [about_others]


def test_nothing_is_said_where_there_is_no_doubt() -> None:
    assert said([candidate(START), candidate(START + DAY)]) == []
