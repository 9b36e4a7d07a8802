"""The other side of `writer_process`: reads batches of files from a pipe and writes them, until the pipe is closed.

python -m chunkstore.tree.file_writer BATCHES ANSWERS ROOT OWNERSHIP PATH      the first three are open descriptors
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

from chunkstore.errors import TargetError
from chunkstore.format.file_batches import SIZES, Failure, decode_files, decode_sizes, encode_answer
from chunkstore.tree.attributes import Ownership
from chunkstore.tree.overwriting import Overwrite
from chunkstore.tree.problems import TargetFull
from chunkstore.tree.target import Target


def main(batches: int, answers: int, root: int, path: bytes, ownership: str) -> None:
    """Serve one restore into the open directory `root`, whose path is `path`; the first two are ends of pipes.

    An interrupt is for who started us: then the pipe is closed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    there = Target(root, path, Overwrite.REFUSE, Ownership(ownership), None, delete=False)
    with suppress(BrokenPipeError), there as target:
        serve(batches, answers, target)


def serve(batches: int, answers: int, target: Target) -> None:
    """Write what comes, and say of each batch what failed."""
    with open(batches, "rb", buffering=0) as pipe:
        while sizes := _exactly(pipe, SIZES):
            heads, contents = (_exactly(pipe, size) for size in decode_sizes(sizes))
            failures = _write(target, heads, contents)
            _say(answers, encode_answer(dict(target.not_set), failures))
            target.not_set.clear()


def _write(target: Target, heads: bytes, contents: bytes) -> list[Failure]:
    failures: list[Failure] = []
    for number, (relative, data, entry) in enumerate(decode_files(heads, memoryview(contents))):
        try:
            target.write_whole(relative, data, entry)
        except TargetError as e:
            failures.append(Failure(number, isinstance(e, TargetFull), str(e)))
            if isinstance(e, TargetFull):
                break
    return failures


def _exactly(pipe: Any, size: int) -> bytes:
    """So many bytes; nothing at the end."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = pipe.readinto(view)
        if not count:
            return b""
        view = view[count:]
    return bytes(data)


def _say(answers: int, answer: bytes) -> None:
    while answer:
        answer = answer[os.write(answers, answer) :]
