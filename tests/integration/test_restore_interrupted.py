"""A restore that ended too early goes on where it was: what is there is not fetched again."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from chunkstore.operations.catalog import read_record
from chunkstore.operations.restore.restoring import restore
from chunkstore.operations.restore.values import RestoreOptions
from chunkstore.progress import Silent
from chunkstore.tree.target import Target
from chunkstore.tree.temporary_names import is_temporary
from tests.engine import KIB, Client, Taken
from tests.restoring import ALWAYS, IF_CHANGED, opened, restored
from tests.storages import Fresh, everywhere
from tests.trees import age, below, look, noise, plant

BIG = 1500 * KIB
FILES = 60


@pytest.fixture
def client(fresh: Fresh, tmp_path: Path) -> Client:
    client = Client(fresh().open(), tmp_path / "client")
    client.create("pyfastcdc:2K,4K,16K", frame_size=16 * KIB, pack_size=256 * KIB)
    return client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    many = {b"%03d" % number: noise(5 * KIB, number) for number in range(2, FILES + 2)}
    plant(root, {b"many": many, b"big": noise(BIG), b"other": noise(BIG, 77), b"link": "big"})
    os.link(root / "many" / "002", root / "second name")
    age(root)
    return root


class Ending(Silent):
    """Ends the run once so many bytes are written."""

    def __init__(self, size: int, end: Callable[[], None]) -> None:
        super().__init__()
        self._left = size
        self._end = end

    def advance(self, files: int, size: int) -> None:
        self._left -= 0 if files else size  # what is finished, or was there already
        if self._left <= 0:
            self._end()


def run(client: Client, taken: Taken, target: Path, progress: Silent) -> None:
    signed = read_record(client.open("read"), taken.id)
    assert signed is not None
    with opened(client) as (read, _), Target.prepare(os.fsencode(target), overwrite=IF_CHANGED) as place:
        manifest = read.manifest(signed.record)
        restore(read.reader, manifest, signed.record, None, place, 0, progress, RestoreOptions())


def interrupt() -> None:
    raise KeyboardInterrupt


def killed(client: Client, taken: Taken, target: Path, size: int) -> None:
    """In a process of its own, which gets no chance to tidy up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns about threads, of which pytest-xdist has some
        child = os.fork()
    if not child:
        try:
            run(client, taken, target, Ending(size, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def asked_by_interrupt(client: Client, taken: Taken, target: Path, size: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(client, taken, target, Ending(size, interrupt))


ENDS = [killed, asked_by_interrupt]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("size", [1, 5 * KIB, 200 * KIB, BIG, 2 * BIG, 2 * BIG + 200 * KIB])
def test_what_was_written_is_not_fetched_again(
    client: Client, source: Path, tmp_path: Path, end: Callable[..., None], size: int
) -> None:
    taken = client.snapshot(source)
    whole = restored(client, taken, tmp_path / "whole")
    target = tmp_path / "target"
    end(client, taken, target, size)
    done, _, asked = restored(client, taken, target, IF_CHANGED)
    assert (done.problems, done.kept) == ([], 0)
    assert below(target) == below(source)
    assert not [path for path in look(target) if is_temporary(path.rpartition(b"/")[2])]
    assert done.bytes <= whole.done.bytes - size + 16 * KIB
    if size >= 200 * KIB:
        assert asked < whole.asked - size // 2
    again = restored(client, taken, target, IF_CHANGED)
    assert (again.done.files, again.done.updated, again.done.hard_links, again.done.bytes) == (0, 0, 0, 0)


@pytest.mark.parametrize("end", ENDS)
def test_nothing_unfinished_has_the_name_of_a_file(
    client: Client, source: Path, tmp_path: Path, end: Callable[..., None]
) -> None:
    taken = client.snapshot(source)
    for size in (KIB, 50 * KIB, 500 * KIB, 2500 * KIB):
        target = tmp_path / f"{size}"
        end(client, taken, target, size)
        expected = look(source)
        for path, seen in look(target).items():
            if not is_temporary(path.rpartition(b"/")[2]):
                assert (seen.kind, seen.content) == (expected[path].kind, expected[path].content)


@pytest.mark.parametrize("end", ENDS)
def test_a_change_in_place_goes_on(client: Client, source: Path, tmp_path: Path, end: Callable[..., None]) -> None:
    taken = client.snapshot(source)
    target = tmp_path / "target"
    restored(client, taken, target)
    (target / "big").write_bytes(noise(BIG, 5))
    end(client, taken, target, BIG // 2)
    done = restored(client, taken, target, IF_CHANGED).done
    assert (done.updated, done.problems) == (1, [])
    assert done.bytes <= BIG // 2 + 16 * KIB
    assert below(target) == below(source)


@everywhere
def test_what_is_left_of_another_version_is_checked(client: Client, source: Path, tmp_path: Path) -> None:
    """A newer snapshot goes on with what an older one left: what is the same is used, the rest is not believed."""
    first, target = client.snapshot(source), tmp_path / "target"
    asked_by_interrupt(client, first, target, 5 * KIB * FILES + BIG // 2)
    with (source / "big").open("r+b") as file:
        file.seek(100)
        file.write(b"another version")
    second = client.snapshot(source)
    left = [path for path in look(target) if is_temporary(path.rpartition(b"/")[2])]
    assert len(left) == 1
    restored(client, second, target, ALWAYS)
    assert below(target) == below(source)
