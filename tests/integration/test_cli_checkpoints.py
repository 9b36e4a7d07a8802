"""`snapshot --checkpoint-every`: partial snapshots of a run that takes long, as people see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Machine
from tests.trees import look, noise, plant

SLOW = ("--limit-upload", "8M", "--compression", "off", "--connections", "2")
"""So that thirty packs of a MiB take four seconds, without much work, and reading has to wait for the first ones."""
USAGE = 2


@pytest.fixture
def many(tmp_path: Path) -> Path:
    plant(tmp_path / "many", {b"%02d" % number: noise(512 << 10, number) for number in range(60)})
    return tmp_path / "many"


def test_a_long_run_commits_what_it_has_and_forget_takes_it_away_when_it_is_whole(
    owner: Machine, many: Path, tmp_path: Path
) -> None:
    owner.done("snapshot", "--checkpoint-every", "1s", *SLOW, many)
    listed = owner.done("snapshots", "--json").json["snapshots"]
    partial = [each["id"] for each in listed if each["partial"]]
    assert partial
    (whole,) = [each["id"] for each in listed if not each["partial"]]
    assert owner.done("snapshots").text.count("(partial)") == len(partial)
    some, everything = look(owner.restore(partial[-1], tmp_path / "partial")), look(many)
    assert 1 < len(some) <= len(everything)  # the last one may have come when all was read
    assert all(everything[name] == each for name, each in some.items() if name != b"")
    assert look(owner.restore("latest", tmp_path / "whole")) == everything
    said = owner.done("forget", "--keep-last", "5", "--prune").text
    assert said.count(f"partial, and {whole[:8]} is complete") == len(partial)
    assert [each["id"] for each in owner.done("snapshots", "--json").json["snapshots"]] == [whole]


def test_none_are_made_when_none_are_wanted(machine: Machine, many: Path) -> None:
    machine.done("snapshot", "--checkpoint-every", "0", *SLOW, many)
    assert len(machine.names("snapshots/")) == 1
    assert machine.run("snapshot", "--checkpoint-every", "often", many).code == USAGE
