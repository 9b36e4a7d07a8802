"""What copies read and store: only what is new, and what is cut as snapshots made in the destination cut it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chunkstore.errors import Interrupted
from chunkstore.format import names
from chunkstore.operations.copy.copying import Fate
from tests.copying import (
    MIB,
    OTHER,
    Both,
    both,
    fresh_client,
    listed_snapshots,
    small_and_large,
    until,
    usual_pair,
    without_chunks,
)
from tests.engine import KIB, chunk_ids, describe, indexed_packs, make_tree


@pytest.fixture
def pair(tmp_path: Path) -> Both:
    return both(tmp_path / "machine", fresh_client(tmp_path / "a", 1), fresh_client(tmp_path / "b", 2, **OTHER))


@pytest.fixture
def usual(tmp_path: Path) -> Both:
    return usual_pair(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    make_tree(tmp_path / "tree", seed=1)
    return tmp_path / "tree"


def test_of_a_second_snapshot_only_what_changed_is_read(usual: Both, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    dice = small_and_large(tree)
    usual.source.snapshot(tree)
    first = usual.copy(packs_per_index_object=32)
    with (tree / "large").open("r+b") as file:
        file.seek(20 * MIB + 5)
        file.write(dice.randbytes(400 * KIB))
    (tree / "small" / "50").write_bytes(dice.randbytes(9 * KIB))
    usual.source.snapshot(tree)
    second = usual.copy()
    assert second.fates == [Fate.THERE, Fate.COPIED]
    assert usual.destination.restored([*second.copies.values()][1]) == describe(tree)
    print(f"\nread {first.read / MIB:.1f} MiB, then {second.read / MIB:.1f}; stored {second.stored / MIB:.2f}")
    assert 40 * MIB < first.read < 46 * MIB
    assert second.read < 11 * MIB
    assert second.stored < 2 * MIB
    usual.source.snapshot(tree, force=True)
    third = usual.copy()
    assert third.read < MIB / 2
    assert third.stored < 100 * KIB


def test_without_the_map_content_is_read_again_and_not_stored_again(usual: Both, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    small_and_large(tree)
    usual.source.snapshot(tree)
    usual.copy()
    usual.source.snapshot(tree, tags=("again",))
    done = usual.without_map().copy()
    assert done.read > 40 * MIB
    assert done.stored < 100 * KIB


def test_content_that_the_destination_has_lost_is_read_again_whatever_the_map_says(pair: Both, tree: Path) -> None:
    pair.source.snapshot(tree)
    pair.copy()
    for info in [*pair.destination.storage.list("")]:
        if info.name.startswith((names.PACKS, names.RUNS, names.SNAPSHOTS)):
            pair.destination.storage.delete(info.name)
    (copied,) = pair.copy().copies.values()
    assert pair.destination.restored_afresh(copied) == describe(tree)


def test_copies_and_snapshots_made_here_find_each_others_chunks(usual: Both, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    small_and_large(tree)
    usual.source.snapshot(tree)
    usual.copy()
    made = usual.destination.but(base=tmp_path / "b").snapshot(tree)
    assert made.result.statistics.bytes_read > 40 * MIB
    assert made.result.statistics.bytes_new == 0


def test_what_a_snapshot_made_here_stored_is_not_stored_by_a_copy(usual: Both, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    small_and_large(tree)
    usual.destination.but(base=tmp_path / "b").snapshot(tree)
    usual.source.snapshot(tree)
    assert usual.copy().stored < 100 * KIB


SMALLER, LARGER, FIXED = "pyfastcdc:4K,16K,64K", "pyfastcdc:64K,256K,1M", "fixed:100000"


@pytest.mark.parametrize(
    ("there", "here"), [(SMALLER, SMALLER), (SMALLER, LARGER), (LARGER, SMALLER), (LARGER, FIXED), (FIXED, LARGER)]
)
def test_large_files_are_cut_as_if_they_had_been_stored_here(tmp_path: Path, there: str, here: str) -> None:
    """Whatever was known of them, and wherever they changed: the chunks are those of a snapshot made here."""
    sized = {"frame_size": MIB, "pack_size": 8 * MIB}
    pair = both(
        tmp_path / "machine",
        fresh_client(tmp_path / "a", 1, chunker=there, **sized),
        fresh_client(tmp_path / "b", 2, chunker=here, **sized),
    )
    dice = random.Random(f"{there} {here}")
    large = tmp_path / "tree" / "large"
    large.parent.mkdir()
    content = bytearray(dice.randbytes(8 * MIB + dice.randrange(MIB)))
    for _ in range(3):
        large.write_bytes(content)
        pair.source.snapshot(large)
        pair.copy()
        for _ in range(dice.randrange(1, 4)):
            at = dice.choice((0, len(content) - 1, dice.randrange(len(content))))
            content[at : at + dice.choice((0, 1, 30_000))] = dice.randbytes(dice.choice((0, 1, 7, 40_000)))
        if len(content) <= 8 * MIB:
            content += dice.randbytes(MIB)
        del content[len(content) - dice.randrange(3) :]
    copies = [each.record for each in listed_snapshots(pair.destination)]
    originals = [each.record.id for each in listed_snapshots(pair.source)]
    for original, copied in zip(originals, copies, strict=True):
        wanted = pair.source.stored(original)
        assert without_chunks(pair.destination.stored(copied.id)) == without_chunks(wanted)
        large.write_bytes(wanted[str(large).encode()].content)
        made = pair.destination.but(base=tmp_path / "b").snapshot(large, force=True)
        assert made.result.statistics.bytes_new == 0


def test_an_interrupted_copy_goes_on_where_it_was(usual: Both, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    small_and_large(tree)
    usual.source.snapshot(tree)
    with pytest.raises(Interrupted):
        usual.but(stop=until(130)).copy()
    assert listed_snapshots(usual.destination) == []
    assert not [*usual.destination.storage.list(names.SESSIONS)]
    kept = sum(info.size for info in usual.destination.storage.list(names.PACKS))
    assert kept > 10 * MIB
    done = usual.copy()
    assert done.fates == [Fate.COPIED]
    assert done.stored < 42 * MIB - kept
    assert done.read < 48 * MIB - kept
    assert usual.destination.restored(next(iter(done.copies.values()))) == describe(tree)
    ids = chunk_ids(indexed_packs(usual.destination.open()))
    assert len(ids) == len(set(ids))
