"""Buffers are used again when nobody looks into them, and never before."""

from __future__ import annotations

import threading
from random import Random

from chunkstore.buffers import Buffers


def test_what_is_looked_into_is_given_to_nobody_else() -> None:
    buffers = Buffers(100, 4)
    views = [buffers.take() for _ in range(4)]
    for number, view in enumerate(views):
        view[:] = bytes([number]) * 100
    assert [bytes(view) for view in views] == [bytes([number]) * 100 for number in range(4)]


def test_a_part_of_a_view_keeps_the_buffer_as_well() -> None:
    buffers = Buffers(100, 4)
    part = buffers.take()[10:20]
    part[:] = b"0123456789"
    for _ in range(4):
        buffers.take()[:] = bytes(100)
    assert bytes(part) == b"0123456789"


def test_a_buffer_comes_back_when_the_last_view_is_gone() -> None:
    buffers = Buffers(100, 1)
    view = buffers.take()
    view[:] = b"x" * 100
    part = view[50:]
    del view
    assert bytes(buffers.take()) == bytes(100), "another one: there is a part of the first"
    del part
    assert bytes(buffers.take()) == b"x" * 100
    assert len(buffers.take()) == 100


def test_more_than_are_kept_can_be_had() -> None:
    buffers = Buffers(8, 2)
    views = [buffers.take() for _ in range(5)]
    for number, view in enumerate(views):
        view[:] = bytes([number]) * 8
    assert [view[0] for view in views] == [0, 1, 2, 3, 4]


def test_threads_never_share_one() -> None:
    buffers = Buffers(4096, 3)
    wrong: list[int] = []

    def work(number: int) -> None:
        dice, held = Random(number), []
        for _ in range(500):
            view = buffers.take()
            view[:] = bytes([number]) * 4096
            held.append(view)
            if len(held) > dice.randrange(4):
                taken = held.pop(dice.randrange(len(held)))
                if bytes(taken) != bytes([number]) * 4096:
                    wrong.append(number)
                del taken

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
