"""Copying to a server, and forgetting, pruning, counting and checking there: the whole of it, by the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Machine
from tests.conftest import SMALL_CHUNKS, Keys
from tests.storages import REMOTE, Fresh, Place
from tests.trees import look, noise, plant


class Remote(Machine):
    """A machine whose repository is on a server."""

    def __init__(self, root: Path, gnupg: object, place: Place) -> None:
        super().__init__(root, gnupg)  # type: ignore[arg-type]
        self.place = place

    def environment(self, **changes: str | None) -> dict[str, str]:
        more = {**self.place.environment, "CHUNKSTORE_REPOSITORY": self.place.url}
        return super().environment(**{**more, **changes})


@pytest.mark.parametrize("fresh", REMOTE, indirect=True)
def test_copies_there_are_thinned_out_and_pruned(
    fresh: Fresh, initialised: Machine, keys: Keys, source: Path, tmp_path: Path
) -> None:
    near = initialised.copy_to(tmp_path / "near")
    trees = {}
    for number in range(3):
        plant(source, {b"new": noise(200_000, 10 + number)})
        trees[near.snapshot(source)] = look(source)
    far = Remote(near.root, keys.private, fresh())
    far.done("init", "--encrypt-to", keys.mail, "--chunker", SMALL_CHUNKS, "--pack-size", "1M")
    copied = far.done("copy", "--from", near.repository, "--json").json
    copies = {each["copy"]: trees[each["id"]] for each in copied["snapshots"]}
    assert (copied["copied"], len(copies)) == (3, 3)
    assert far.done("copy", "--from", near.repository, "--json").json["there"] == 3
    own = far.snapshot(source, "--host", "other")

    before = far.done("stats", "--json").json["packs"]["total"]
    dry = far.done("forget", "--keep-last", "1", "--dry-run", "--json").json
    going = [each["id"] for group in dry["groups"] for each in group["snapshots"] if not each["stays"]]
    assert going == [*copies][:2]
    done = far.done("forget", "--keep-last", "1", "--prune", "--json").json
    assert (sorted(done["forgotten"]), done["prune"]["finished"]) == (sorted(going), True)
    assert done["prune"]["deleted"]["bytes"] > 200_000
    after = far.done("stats", "--json").json
    assert after["packs"]["total"] < before - 200_000
    assert after["totals"]["snapshots"] == 2
    assert far.done("check", "--read-data", "--json").json["damaged"] == 0
    last = [*copies][2]
    assert look(far.restore(last, tmp_path / "last")) == copies[last]
    assert look(far.restore(own, tmp_path / "own")) == look(source)
    assert len(near.names("snapshots/")) == 3
