"""Restores so large that another process writes their small files."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chunkstore.processes import Helper
from chunkstore.tree.problems import WriterEnded
from tests.engine import KIB, Client
from tests.restoring import REFUSE, restored
from tests.storages import Fresh
from tests.trees import age, look, noise, plant

FILES = 2500
"""More than twice as many as make a restore start the process."""


@pytest.fixture
def client(fresh: Fresh, tmp_path: Path) -> Client:
    client = Client(fresh().open(), tmp_path / "client")
    client.create("pyfastcdc:2K,4K,16K", frame_size=64 * KIB, pack_size=1024 * KIB)
    return client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    many = {b"%04d" % number: noise(number % 700, number) for number in range(FILES)}
    plant(root, {b"many": many, b"big": noise(300 * KIB), b"z": {b"deep": {b"last": b"last"}}, b"link": "many/0001"})
    for number in range(0, FILES, 5):  # every fifth has another name, beside it or not
        os.link(root / "many" / f"{number:04}", root / ("z" if number % 2 else "many") / f"{number:04} again")
    age(root)
    return root


class Watched:
    """Counts what the other process is given, and may kill it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kill_at: int | None = None) -> None:
        self.batches = 0
        self._kill_at = kill_at
        self._ask = Helper.ask
        monkeypatch.setattr(Helper, "ask", lambda helper, *batch: self._count(helper, batch))

    def _count(self, helper: Helper, batch: Any) -> Any:
        self.batches += 1
        if self.batches == self._kill_at:
            helper.process.send_signal(signal.SIGKILL)
        return self._ask(helper, *batch)


@pytest.mark.parametrize("verify", [False, True])
def test_it_is_as_if_one_process_had_done_it(
    client: Client, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    taken = client.snapshot(source)
    watched = Watched(monkeypatch)
    alone = restored(client, taken, tmp_path / "alone", REFUSE, verify=verify)
    assert not watched.batches
    both = restored(replace(client, workers=2), taken, tmp_path / "both", REFUSE, verify=verify)
    assert watched.batches > 10
    assert look(tmp_path / "both") == look(tmp_path / "alone") == look(source)
    assert both.done == alone.done
    assert both.steps == alone.steps
    assert os.path.samefile(tmp_path / "both" / "many" / "2480", tmp_path / "both" / "many" / "2480 again")


def test_it_is_killed(client: Client, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = client.snapshot(source)
    watched = Watched(monkeypatch, kill_at=5)
    with pytest.raises(WriterEnded, match="ended unexpectedly"):
        restored(replace(client, workers=2), taken, tmp_path / "target", REFUSE)
    assert watched.batches >= 5
    assert (tmp_path / "target" / "many" / "0100").exists()
    restored(client, taken, tmp_path / "target")
    assert look(tmp_path / "target") == look(source)


def test_one_file_that_can_not_be_written(
    client: Client, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else puts something into the way."""
    taken = client.snapshot(source)
    target = tmp_path / "target"
    start = Helper.start

    def in_the_way(*arguments: Any, **options: Any) -> Helper:
        (target / "many" / f"{FILES - 1}").write_bytes(b"mine")
        return start(*arguments, **options)

    monkeypatch.setattr(Helper, "start", in_the_way)
    told = restored(replace(client, workers=2), taken, target, REFUSE)
    assert len(told.done.problems) == 1
    assert f"many/{FILES - 1}: File exists" in told.done.problems[0]
    assert (target / "many" / f"{FILES - 1}").read_bytes() == b"mine"
