"""Check runs while others write, forget and prune: what is under way is no damage, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from chunkstore.format import names
from chunkstore.operations.check.findings import Severity
from chunkstore.operations.check.values import Everything
from chunkstore.storage import MemoryStorage
from chunkstore.storage.faulty import Fault, FaultyStorage, Outcome, SimulatedCrash
from tests.checking import another_client, checked
from tests.engine import (
    Client,
    WatchedStorage,
    clone,
    edit_tree,
    listed,
    make_tree,
    repack_everything,
    temporary_directory,
)
from tests.pruning import History, make_history, pruned


@pytest.fixture
def base() -> Iterator[Path]:
    with temporary_directory() as path:
        yield path


def test_a_snapshot_under_way_is_no_damage_at_any_of_its_calls(base: Path) -> None:
    tree = base / "tree"
    make_tree(tree, 1, files=6)
    inner = MemoryStorage()
    writer = Client(inner, base / "writer")
    writer.create(pack_size=8 * 1024)
    writer.snapshot(tree)
    edit_tree(tree, 2)
    checker = another_client(writer, base / "checker")
    seen = []

    def look(verb: str, name: str) -> None:
        report = checked(checker, Everything())
        assert report.damage == [], (verb, name)
        seen.append((verb, {each.message for each in report.of(Severity.NOTE)}))

    taken = writer.but(storage=WatchedStorage(inner, look, look)).snapshot(tree)
    assert len(seen) > 20
    assert any("under way" in message for _, messages in seen for message in messages)
    assert any("in no index" in message for _, messages in seen for message in messages)
    assert writer.restored(taken.id)


def test_a_check_on_the_machine_of_the_writer_shares_its_cache(base: Path) -> None:
    """The local index changes while the check reads it."""
    history = make_history(base, snapshots=2, pack_size=8 * 1024)
    edit_tree(history.tree, 9)

    def snapshot(copy: History, other: Client) -> None:
        copy.client.snapshot(copy.tree)

    assert at_every_call(history, base, snapshot) > 20


def test_a_prune_in_the_midst_is_no_damage_at_any_of_its_calls(base: Path) -> None:
    history = make_history(base, snapshots=4, pack_size=8 * 1024)
    history.forget(*history.ids()[:2])
    checker = another_client(history.client, base / "checker")
    seen = set()

    def look(verb: str, name: str) -> None:
        report = checked(checker)
        assert report.damage == [], (verb, name)
        seen.add(verb)

    done = pruned(history.client.but(storage=WatchedStorage(history.storage, look, look)))
    assert done.deleted.packs
    assert seen >= {"delete", "put_if_absent", "list"}


def forget_and_prune(history: History, other: Client) -> None:
    """All that goes away at once while somebody looks."""
    history.forget(*history.ids()[:-1])
    assert pruned(other).deleted.packs


def compact(history: History, other: Client) -> None:
    repack_everything(other, 1)


def at_every_call(history: History, base: Path, happens: Callable[[History, Client], None]) -> int:
    """Check while this happens, at the first call of the check, at the second, ...; how many there were."""
    for number in count(1):
        copy = history.left_on(MemoryStorage(), base / f"{number}")
        other = another_client(copy.client, base / f"{number}-other")
        calls: list[str] = []

        def hook(
            verb: str,
            name: str,
            calls: list[str] = calls,
            copy: History = copy,
            other: Client = other,
            at: int = number,
        ) -> None:
            calls.append(verb)
            if len(calls) == at:
                happens(copy, other)

        report = checked(copy.client.but(storage=WatchedStorage(copy.storage, hook)), Everything())
        assert report.damage == [], (number, report.damage)
        if len(calls) < number:
            return number - 1
    raise AssertionError


@pytest.mark.parametrize("happens", [forget_and_prune, compact], ids=lambda each: each.__name__)
def test_what_goes_away_while_check_looks_is_no_damage(base: Path, happens: Callable[[History, Client], None]) -> None:
    assert at_every_call(make_history(base, snapshots=2, pack_size=8 * 1024), base, happens) > 30


def test_what_crashed_runs_left_behind_is_a_note(base: Path) -> None:
    tree = base / "tree"
    make_tree(tree, 1, files=6)
    inner = MemoryStorage()
    client = Client(inner, base / "client")
    client.create(pack_size=8 * 1024)

    crash = Fault(3, Outcome.CRASH_BEFORE, frozenset({"put"}))  # after the session and a pack
    with pytest.raises(SimulatedCrash):
        client.but(storage=FaultyStorage(inner, [crash])).snapshot(tree)
    later = client.but(clock=lambda: client.clock() + 2 * 24 * 3600 * 10**9)
    report = checked(later, Everything())
    assert report.damage == []
    texts = " ".join(each.message for each in report.of(Severity.NOTE))
    assert "broke off 2d" in texts
    assert "1 pack (" in texts
    assert report.done.orphans.count == 1


def test_a_damaged_pack_that_nobody_relies_on_is_a_note(base: Path) -> None:
    history = make_history(base, snapshots=1, pack_size=8 * 1024)
    orphan = clone(history.storage)
    for each in (*listed(orphan, names.RUNS), *listed(orphan, names.SNAPSHOTS)):
        orphan.delete(each)
    pack = listed(orphan, names.PACKS)[0]
    orphan.put(pack, orphan.get(pack)[:-1] + b"?")
    report = checked(another_client(history.client, base / "other").but(storage=orphan), Everything())
    assert report.damage == []
    assert report.about(pack).severity is Severity.NOTE
