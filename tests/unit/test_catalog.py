"""What the catalog of snapshots says, in the presence of amendments, damage, and objects that nobody should have put."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chunkstore.errors import Damaged, InvalidArgument, SnapshotNotFound
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import (
    Amendment,
    SnapshotRecord,
    Tombstone,
    encode_amendment,
    encode_record,
    encode_tombstone,
    record_body,
)
from chunkstore.ids import ChunkId, SnapshotId
from chunkstore.operations.catalog import Snapshot, current, read_record, records, snapshots
from chunkstore.operations.snapshot_choice import (
    EVERYTHING,
    SnapshotFilter,
    all_that_fit,
    choose,
    is_snapshot_name,
    matching,
    pick,
)
from chunkstore.operations.snapshot_groups import grouped
from chunkstore.operations.tagging import MAX_TAG_SIZE, Change, amend, check_tag
from chunkstore.progress import Silent
from chunkstore.repository.repository import Repository
from chunkstore.storage import MemoryStorage
from tests.engine import Client, flip, listed

S = 10**9
RANDOM = random.Random(3).randbytes


@pytest.fixture
def client(tmp_path: Path) -> Client:
    made = Client(MemoryStorage(), tmp_path)
    made.create()
    return made


@pytest.fixture
def repository(client: Client) -> Repository:
    return client.open("write")


def snapshot_id(number: int) -> SnapshotId:
    return SnapshotId(f"{number:04x}" + "0" * 28)


def record(number: int, **changes: object) -> SnapshotRecord:
    """The record of a snapshot of this number, taken `number` seconds after 1970."""
    made = SnapshotRecord(
        id=snapshot_id(number),
        time=number * S,
        end=number * S,
        host="host",
        user="user",
        roots=(b"/home",),
        tags=(),
        description="",
        content_root=ChunkId(bytes(32)),
        reference_root=ChunkId(bytes(32)),
        client=bytes(16),
        sequence=0,
        previous=b"",
        generation=0,
        partial=False,
        errors=0,
        statistics={},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def put(repository: Repository, *made: SnapshotRecord) -> None:
    for each in made:
        data = encode_record(record_body(each), None)
        assert repository.create(ObjectKind.SNAPSHOT, names.snapshot(each.id), data, RANDOM)


def say(repository: Repository, number: int, time: int, name: str = "", **said: object) -> str:
    """Store an amendment of the snapshot of this number; its name."""
    body = encode_amendment(Amendment(snapshot_id(number), time, **said))  # type: ignore[arg-type]
    name = names.amendment(name or RANDOM(16).hex())
    assert repository.create(ObjectKind.AMENDMENT, name, body, RANDOM)
    return name


def found(repository: Repository, workers: int = 0) -> dict[str, Snapshot]:
    """All snapshots by the first digits of their ids; there must be nothing to complain about."""
    progress = Silent()
    listed = {each.record.id[:4]: each for each in snapshots(repository, progress, workers)}
    assert not progress.warnings
    return listed


def only(repository: Repository) -> Snapshot:
    (each,) = found(repository).values()
    return each


# -- amendments


def test_without_amendments_a_snapshot_is_as_it_was_committed(repository: Repository) -> None:
    put(repository, record(1, tags=("b", "a", "b"), description="text"))
    each = only(repository)
    assert (each.tags, each.description, each.pinned, each.amended_at) == (("b", "a"), "text", False, None)
    assert each.record == record(1, tags=("b", "a", "b"), description="text")


def test_an_amendment_takes_tags_away_before_it_adds_some(repository: Repository) -> None:
    put(repository, record(1, tags=("a", "b", "c")))
    say(repository, 1, 5, remove_tags=("a", "b", "not there"), add_tags=("d", "b", "c"))
    each = only(repository)
    assert each.tags == ("c", "d", "b")
    assert each.record.tags == ("a", "b", "c")
    assert each.amended_at == 5


def test_amendments_count_in_the_order_of_time_whatever_their_names(repository: Repository) -> None:
    put(repository, record(1, description="first"))
    say(repository, 1, 30, "0" * 32, description="last", pinned=False)
    say(repository, 1, 10, "f" * 32, description="second", pinned=True, add_tags=("x",))
    say(repository, 1, 20, "8" * 32, remove_tags=("x",))
    each = only(repository)
    assert (each.description, each.pinned, each.tags, each.amended_at) == ("last", False, (), 30)


def test_amendments_of_one_time_count_in_the_order_of_their_names(repository: Repository) -> None:
    put(repository, record(1))
    say(repository, 1, 10, "b" * 32, description="b")
    say(repository, 1, 10, "a" * 32, description="a")
    assert only(repository).description == "b"


def test_what_an_amendment_does_not_name_stays(repository: Repository) -> None:
    put(repository, record(1, description="text", tags=("a",)))
    say(repository, 1, 10, pinned=True)
    each = only(repository)
    assert (each.description, each.tags, each.pinned) == ("text", ("a",), True)
    say(repository, 1, 11, description="")
    assert only(repository).description == ""
    assert only(repository).pinned


def test_each_snapshot_has_its_own_amendments(repository: Repository) -> None:
    put(repository, record(1), record(2), record(3))
    say(repository, 1, 10, add_tags=("one",))
    say(repository, 3, 10, add_tags=("three",))
    assert {key: each.tags for key, each in found(repository).items()} == {
        "0001": ("one",),
        "0002": (),
        "0003": ("three",),
    }


def test_workers_find_the_same(repository: Repository) -> None:
    put(repository, *(record(number, tags=(f"t{number}",)) for number in range(1, 40)))
    for number in range(1, 40, 2):
        say(repository, number, 10, add_tags=("odd",))
        say(repository, number, 11, remove_tags=("odd",), description="was odd")
    assert found(repository, 3) == found(repository)


def test_an_amendment_of_a_snapshot_that_is_not_there_means_nothing(repository: Repository) -> None:
    put(repository, record(1))
    say(repository, 2, 10, add_tags=("forged",))
    assert list(found(repository)) == ["0001"]


def test_an_amendment_makes_no_snapshot_of_a_tombstone(repository: Repository) -> None:
    body = encode_tombstone(Tombstone(snapshot_id(1), 5))
    assert repository.create(ObjectKind.TOMBSTONE, names.snapshot(snapshot_id(1)), body, RANDOM)
    say(repository, 1, 10, add_tags=("undead",))
    assert found(repository) == {}


def damaged(repository: Repository) -> str:
    name = say(repository, 1, 20, description="lost")
    flip(repository.storage, name)
    return name


def cut_off(repository: Repository) -> str:
    name = say(repository, 1, 20, description="lost")
    repository.storage.put(name, repository.storage.get(name)[:50])
    return name


def malformed(repository: Repository) -> str:
    name = names.amendment("1" * 32)
    assert repository.create(ObjectKind.AMENDMENT, name, b"\x80", RANDOM)
    return name


def of_another_name(repository: Repository) -> str:
    made, name = say(repository, 1, 20, description="lost"), names.amendment("2" * 32)
    repository.storage.put(name, repository.storage.get(made))
    repository.storage.delete(made)
    return name


def of_another_kind(repository: Repository) -> str:
    name = names.amendment("3" * 32)
    data = encode_record(record_body(record(9)), None)
    assert repository.create(ObjectKind.SNAPSHOT, name, data, RANDOM)
    return name


def of_another_format(repository: Repository) -> str:
    name = say(repository, 1, 20, description="lost")
    data = bytearray(repository.storage.get(name))
    data[8] = 2
    repository.storage.put(name, data)
    return name


def foreign(repository: Repository) -> str:
    name = f"{names.AMENDMENTS}notes.txt"
    repository.storage.put(name, b"what is this")
    return name


@pytest.mark.parametrize(
    "harm", [damaged, cut_off, malformed, of_another_name, of_another_kind, of_another_format, foreign]
)
def test_a_bad_amendment_is_named_once_and_ignored(repository: Repository, harm: Callable[[Repository], str]) -> None:
    put(repository, record(1), record(2))
    say(repository, 1, 10, add_tags=("good",))
    name, progress = harm(repository), Silent()
    tags = {each.record.id[:4]: (each.tags, each.description) for each in snapshots(repository, progress)}
    assert tags == {"0001": (("good",), ""), "0002": ((), "")}
    (warning,) = progress.warnings
    assert name in warning
    assert "left out" in warning


def test_a_bad_record_is_named_once_and_left_out(repository: Repository) -> None:
    put(repository, record(1), record(2))
    flip(repository.storage, names.snapshot(snapshot_id(2)))
    repository.storage.put(f"{names.SNAPSHOTS}notes.txt", b"")
    repository = replace(repository, records=None)  # the machine that made it has a copy that is whole
    for workers in (0, 2):
        progress = Silent()
        assert [each.record.id for each in snapshots(repository, progress, workers)] == [snapshot_id(1)]
        assert len(progress.warnings) == 2
        assert names.snapshot(snapshot_id(2)) in "".join(progress.warnings)
        assert [each.record.id for each in records(repository, Silent(), workers)] == [snapshot_id(1)]
    with pytest.raises(Damaged):
        choose(repository, "0002", EVERYTHING, Silent())


# -- choosing


def chosen(repository: Repository, which: str, wanted: SnapshotFilter = EVERYTHING) -> int:
    """The number of the snapshot; both ways of choosing agree."""
    each = choose(repository, which, wanted, Silent())
    assert pick([*snapshots(repository, Silent())], which, wanted) == each
    return int(each.record.id[:4], 16)


@pytest.fixture
def several(repository: Repository) -> Repository:
    put(
        repository,
        record(1, host="a", roots=(b"/etc", b"/home"), tags=("daily",)),
        record(2, host="b", roots=(b"/home",), tags=("daily", "kept")),
        record(3, host="a", roots=(b"/home",), tags=("monthly",)),
        record(4, host="b", roots=(b"/srv",)),
        record(5, host="c", roots=(b"/etc",), partial=True),
    )
    return repository


@pytest.mark.parametrize(
    ("which", "wanted", "number"),
    [
        ("latest", EVERYTHING, 4),
        ("latest~0", EVERYTHING, 4),
        ("latest~1", EVERYTHING, 3),
        ("latest~3", EVERYTHING, 1),
        ("latest", SnapshotFilter(hosts=("a",)), 3),
        ("latest~1", SnapshotFilter(hosts=("a",)), 1),
        ("latest", SnapshotFilter(hosts=("a", "b")), 4),
        ("latest", SnapshotFilter(tags=(frozenset({"daily"}),)), 2),
        ("latest", SnapshotFilter(tags=(frozenset({"daily", "kept"}),)), 2),
        ("latest", SnapshotFilter(tags=(frozenset({"daily", "kept"}), frozenset({"monthly"}))), 3),
        ("latest", SnapshotFilter(roots=(b"/home",)), 3),
        ("latest", SnapshotFilter(roots=(b"/home", b"/etc")), 1),
        ("latest", SnapshotFilter(not_after=4 * S), 4),
        ("latest", SnapshotFilter(not_after=4 * S - 1), 3),
        ("latest~2", SnapshotFilter(not_after=3 * S), 1),
        ("latest", SnapshotFilter(not_after=10**30), 4),
        ("latest", SnapshotFilter(hosts=("b",), not_after=3 * S), 2),
        ("0005", EVERYTHING, 5),
        ("0003000", EVERYTHING, 3),
        ("0002" + "0" * 28, EVERYTHING, 2),
    ],
)
def test_which_snapshot_is_meant(several: Repository, which: str, wanted: SnapshotFilter, number: int) -> None:
    assert chosen(several, which, wanted) == number


@pytest.mark.parametrize(
    ("which", "wanted", "said"),
    [
        ("latest~4", EVERYTHING, "latest~3 is the oldest"),
        ("latest~999999999", EVERYTHING, "latest~3 is the oldest"),
        ("latest~1", SnapshotFilter(tags=(frozenset({"kept"}),)), "latest is the only snapshot"),
        ("latest", SnapshotFilter(hosts=("nobody",)), "hosts: a, b$"),
        ("latest", SnapshotFilter(hosts=("c",)), "all that fit are partial.*00050000 of"),
        ("latest", SnapshotFilter(tags=(frozenset({"daily", "monthly"}),)), "tags: daily, kept, monthly$"),
        ("latest", SnapshotFilter(roots=(b"/srv", b"/etc")), "paths: /etc, /home, /srv$"),
        ("latest", SnapshotFilter(not_after=S - 1), "the oldest is of 1970-01-01 00:00:01 UTC"),
        ("latest", SnapshotFilter(not_after=-(10**30)), "the oldest is of 1970-01-01 00:00:01 UTC"),
        ("latest", SnapshotFilter(hosts=("b",), not_after=S), "the oldest is of 1970-01-01 00:00:02 UTC"),
        ("0009", EVERYTHING, "no snapshot has an id that starts with '0009'"),
        ("000", EVERYTHING, "at least 4 digits"),
        ("", EVERYTHING, "is no snapshot"),
        ("latest~", EVERYTHING, "is no snapshot"),
        ("latest~-1", EVERYTHING, "is no snapshot"),
        ("latest~1~1", EVERYTHING, "is no snapshot"),
        ("latest~1234567890", EVERYTHING, "is no snapshot"),
        ("Latest", EVERYTHING, "is no snapshot"),
        ("0" * 33, EVERYTHING, "is no snapshot"),
    ],
)
def test_when_none_fits_the_message_says_what_there_is(
    several: Repository, which: str, wanted: SnapshotFilter, said: str
) -> None:
    with pytest.raises(SnapshotNotFound, match=said):
        choose(several, which, wanted, Silent())
    with pytest.raises(SnapshotNotFound, match=said):
        pick([*snapshots(several, Silent())], which, wanted)


def test_an_id_that_fits_two_is_no_choice(repository: Repository) -> None:
    put(repository, record(1), record(1, id=SnapshotId("0001" + "1" * 28)))
    with pytest.raises(SnapshotNotFound, match="fits 2 snapshots"):
        chosen(repository, "0001")
    assert chosen(repository, "00011") == 1


def test_an_id_is_not_narrowed_by_a_filter(several: Repository) -> None:
    for wanted in (SnapshotFilter(hosts=("a",)), SnapshotFilter(not_after=0), SnapshotFilter(roots=(b"/etc",))):
        with pytest.raises(InvalidArgument, match="give `latest`"):
            choose(several, "0001", wanted, Silent())


def test_of_equal_times_the_larger_id_is_the_later(repository: Repository) -> None:
    put(repository, record(2, time=7), record(1, time=7), record(3, time=7))
    assert [chosen(repository, f"latest~{n}") for n in range(3)] == [3, 2, 1]
    assert [each.record.id for each in matching(repository, EVERYTHING, Silent())] == [
        snapshot_id(number) for number in (1, 2, 3)
    ]


def test_a_record_from_the_future_is_the_latest_until_a_time_is_given(repository: Repository) -> None:
    put(repository, record(1), record(2, time=2**63 - 1))
    assert chosen(repository, "latest") == 2
    assert chosen(repository, "latest", SnapshotFilter(not_after=100 * S)) == 1


def test_partial_snapshots_are_listed_and_chosen_by_id_only(repository: Repository) -> None:
    put(repository, record(1, partial=True))
    assert [each.record.id for each in matching(repository, EVERYTHING, Silent())] == [snapshot_id(1)]
    with pytest.raises(SnapshotNotFound, match="partial"):
        chosen(repository, "latest")
    assert chosen(repository, "0001") == 1


def test_tags_are_looked_for_as_they_count_now(several: Repository) -> None:
    say(several, 4, 10, add_tags=("kept",))
    say(several, 2, 10, remove_tags=("kept",))
    wanted = SnapshotFilter(tags=(frozenset({"kept"}),))
    assert chosen(several, "latest", wanted) == 4
    assert [each.record.id for each in matching(several, wanted, Silent())] == [snapshot_id(4)]
    assert choose(several, "0004", EVERYTHING, Silent()).tags == ("kept",)


def test_all_that_fit_or_none(several: Repository) -> None:
    among = [*snapshots(several, Silent())]
    assert len(all_that_fit(among, EVERYTHING)) == 5
    assert [each.record.host for each in all_that_fit(among, SnapshotFilter(hosts=("c",)))] == ["c"]
    with pytest.raises(SnapshotNotFound, match="hosts: a, b, c"):
        all_that_fit(among, SnapshotFilter(hosts=("nobody",)))
    with pytest.raises(SnapshotNotFound, match="no snapshot yet"):
        all_that_fit([], EVERYTHING)


def test_a_message_lists_some_and_can_not_talk_to_the_terminal(repository: Repository) -> None:
    put(repository, *(record(number, host=f"\x1b{number:02}") for number in range(1, 20)))
    with pytest.raises(SnapshotNotFound) as raised:
        chosen(repository, "latest", SnapshotFilter(hosts=("nobody",)))
    assert "\x1b" not in str(raised.value)
    assert "\\x1b08 and 11 more" in str(raised.value)


def test_what_could_name_a_snapshot() -> None:
    assert all(map(is_snapshot_name, ("latest", "latest~3", "beef", "BEEF0", "0" * 32)))
    assert not any(map(is_snapshot_name, ("", "out", "./beef", "latest~", "abc", "0" * 33, "/latest")))


# -- groups


def numbers(group_snapshots: tuple[Snapshot, ...]) -> list[int]:
    return [int(each.record.id[:4], 16) for each in group_snapshots]


def test_groups_of_hosts_paths_and_tags(several: Repository) -> None:
    all_of_them = matching(several, EVERYTHING, Silent())

    def groups(*keys: str, newest: int | None = None) -> list[list[int]]:
        return [numbers(each.snapshots) for each in grouped(all_of_them, keys, newest)]

    assert groups() == [[1, 2, 3, 4, 5]]
    assert groups(newest=2) == [[4, 5]]
    assert groups(newest=20) == [[1, 2, 3, 4, 5]]
    assert groups("host") == [[1, 3], [2, 4], [5]]
    assert groups("host", newest=1) == [[3], [4], [5]]
    assert groups("paths") == [[5], [1], [2, 3], [4]]
    assert groups("tags") == [[4, 5], [1], [2], [3]]
    assert groups("host", "paths") == [[1], [3], [2], [4], [5]]
    first = grouped(all_of_them, ("host", "paths"))[0]
    assert (first.host, first.paths, first.tags) == ("a", (b"/etc", b"/home"), None)
    assert grouped([], ("host",)) == grouped([], ()) == []


# -- saying something later


@pytest.fixture
def one(repository: Repository) -> Iterator[Repository]:
    """A repository with a snapshot whose record object must never change."""
    put(repository, record(1, tags=("a", "b"), description="text"))
    before = repository.storage.get(names.snapshot(snapshot_id(1)))
    yield repository
    assert repository.storage.get(names.snapshot(snapshot_id(1))) == before


@pytest.mark.parametrize(
    ("change", "tags", "description", "pinned"),
    [
        (Change(add=("c", "a", "c")), ("a", "b", "c"), "text", False),
        (Change(remove=("a", "z")), ("b",), "text", False),
        (Change(add=("c",), remove=("b",)), ("a", "c"), "text", False),
        (Change(exactly=("x", "b")), ("b", "x"), "text", False),
        (Change(exactly=()), (), "text", False),
        (Change(description=""), ("a", "b"), "", False),
        (Change(description="other\nlines"), ("a", "b"), "other\nlines", False),
        (Change(pinned=True), ("a", "b"), "text", True),
        (Change(add=("c",), pinned=True, description="text"), ("a", "b", "c"), "text", True),
    ],
)
def test_what_is_said_later_counts(
    client: Client, one: Repository, change: Change, tags: tuple[str, ...], description: str, pinned: bool
) -> None:
    now = amend(one, only(one), change, client.around)
    assert now == only(one)
    assert now is not None
    assert (now.tags, now.description, now.pinned) == (tags, description, pinned)
    (name,) = listed(one.storage, names.AMENDMENTS)
    before = one.storage.get(name)
    assert amend(one, now, change, client.around) is None
    assert listed(one.storage, names.AMENDMENTS) == [name]
    assert one.storage.get(name) == before


@pytest.mark.parametrize(
    "change",
    [
        Change(),
        Change(add=("a",)),
        Change(remove=("z",)),
        Change(exactly=("b", "a")),
        Change(description="text"),
        Change(pinned=False),
    ],
)
def test_nothing_is_written_where_nothing_changes(client: Client, one: Repository, change: Change) -> None:
    assert amend(one, only(one), change, client.around) is None
    assert listed(one.storage, names.AMENDMENTS) == []


def test_what_is_said_after_something_was_seen_counts_after_it(client: Client, one: Repository) -> None:
    """However far the clock of the other client is ahead."""
    far = 2**62
    say(one, 1, far, add_tags=("c",), pinned=True)
    now = amend(one, only(one), Change(remove=("c",), pinned=False), client.around)
    assert now == only(one)
    assert (only(one).tags, only(one).pinned, only(one).amended_at) == (("a", "b"), False, far + 1)


def test_two_clients_add_tags_at_the_same_time_and_both_count(client: Client, one: Repository) -> None:
    seen = only(one)
    amend(one, seen, Change(add=("mine",)), client.around)
    amend(one, seen, Change(add=("theirs",)), client.around)
    assert set(only(one).tags) == {"a", "b", "mine", "theirs"}


def test_one_snapshot_with_its_amendments(one: Repository) -> None:
    say(one, 1, 10, add_tags=("c",))
    signed = read_record(one, snapshot_id(1))
    assert signed is not None
    assert current(one, signed, Silent()) == only(one)


@pytest.mark.parametrize(
    "tag", ["a", "two words", "ünïcode", "x" * MAX_TAG_SIZE, "ä" * (MAX_TAG_SIZE // 2), "-a", "#1/2:3"]
)
def test_what_can_be_a_tag(tag: str) -> None:
    assert check_tag(tag) == tag


@pytest.mark.parametrize(
    "tag",
    ["", " ", " a", "a ", "a,b", ",", "a\n", "a\nb", "a\tb", "\x1b", "\x7f", "\u202e", "\udcff", "x" * 201, "ä" * 101],
)
def test_what_can_not_be_a_tag(tag: str) -> None:
    with pytest.raises(InvalidArgument, match=r"not a (tag|text)"):
        check_tag(tag)
    with pytest.raises(InvalidArgument):
        Change(add=(tag,))
    with pytest.raises(InvalidArgument):
        Change(exactly=(tag,))
    Change(remove=(tag,))  # it may be there from elsewhere


def test_changes_that_contradict_themselves() -> None:
    for kind in ({"add": ("a",), "remove": ("a",)}, {"add": ("a",), "exactly": ()}, {"description": "\udcff"}):
        with pytest.raises(InvalidArgument):
            Change(**kind)
    assert not Change()
    assert Change(exactly=())
    assert Change(pinned=False)
