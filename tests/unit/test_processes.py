"""processes.py: helpers that are really started."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chunkstore.errors import HelperEnded
from chunkstore.processes import Helper, serve
from tests.targets import count_open


def main(requests: int, answers: int, prefix: bytes) -> None:
    """A helper that says what it was asked, behind what it was started with; it breaks off when asked to."""

    def answer(request: memoryview) -> bytes:
        if request == b"break off":
            sys.exit(3)
        return prefix + request

    serve(requests, answers, answer)


@pytest.fixture
def helper() -> Iterator[Helper]:
    with closing(Helper.start(__name__, b"you said '\xff\": ")) as helper:
        yield helper


@pytest.mark.parametrize("size", [0, 1, 1 << 16, 5 << 20])
def test_messages_of_any_size(helper: Helper, size: int) -> None:
    data = os.urandom(size)
    for pieces in ([data], [data[: size // 2], memoryview(data)[size // 2 :]], [b"", bytearray(data), b""]):
        assert helper.ask(*pieces) == b"you said '\xff\": " + data


def test_it_ends_when_it_is_closed(helper: Helper) -> None:
    assert helper.ask(b"x")
    helper.process.send_signal(signal.SIGINT)
    assert helper.ask(b"y")
    helper.close()
    helper.close()
    assert helper.process.returncode == 0


@pytest.mark.parametrize("size", [1, 5 << 20])
def test_it_is_killed(helper: Helper, size: int) -> None:
    helper.process.kill()
    with pytest.raises(HelperEnded):
        helper.ask(bytes(size))


def test_it_is_killed_in_the_midst(helper: Helper) -> None:
    helper.process.send_signal(signal.SIGSTOP)
    killing = threading.Timer(0.2, helper.process.kill)
    killing.start()
    with pytest.raises(HelperEnded):
        helper.ask(bytes(5 << 20))
    killing.join()


def test_it_breaks_off(helper: Helper) -> None:
    with pytest.raises(HelperEnded):
        helper.ask(b"break off")
    helper.close()
    assert helper.process.returncode == 3


def test_it_gets_what_it_shall_keep_and_nothing_else(tmp_path: Path) -> None:
    before = count_open()
    kept = os.open(tmp_path, os.O_RDONLY)
    other = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(other, True)
    try:
        with closing(Helper.start(__name__, b"", keep=[kept])) as helper:
            assert helper.ask(b"x") == b"x"
            there = {os.readlink(each) for each in Path(f"/proc/{helper.process.pid}/fd").iterdir()}
            numbers = {int(each.name) for each in Path(f"/proc/{helper.process.pid}/fd").iterdir()}
        assert str(tmp_path) in there
        assert kept in numbers
        assert other not in numbers
    finally:
        os.close(kept)
        os.close(other)
    assert count_open() == before


def test_none_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    before = count_open()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OSError):
        Helper.start(__name__, b"")
    assert count_open() == before
