"""The other side of `writer_process`: reads batches of files from a pipe and writes them, until the pipe is closed.

python -m chunkstore.tree.file_writer BATCHES ANSWERS ROOT OWNERSHIP PATH      the first three are open descriptors
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

import msgpack

from chunkstore.errors import TargetError
from chunkstore.format.entries import FILE, Entry
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
        while sizes := _exactly(pipe, 8):
            heads = _exactly(pipe, int.from_bytes(sizes[:4], "big"))
            contents = memoryview(_exactly(pipe, int.from_bytes(sizes[4:], "big")))
            failed = _write(target, heads, contents)
            _say(answers, msgpack.packb((dict(target.not_set), failed)))
            target.not_set.clear()


def _write(target: Target, heads: bytes, contents: memoryview) -> list[tuple[int, bool, str]]:
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=len(heads))
    unpacker.feed(heads)
    failed: list[tuple[int, bool, str]] = []
    at = 0
    for number, (relative, size, *fields) in enumerate(unpacker):
        try:
            target.write_whole(relative, contents[at : at + size], _entry(relative, size, *fields))
        except TargetError as e:
            failed.append((number, isinstance(e, TargetFull), str(e)))
            if isinstance(e, TargetFull):
                break
        at += size
    return failed


def _entry(
    relative: bytes, size: int, mode: int, uid: int, gid: int, mtime_ns: int, extra: dict[str, Any] | None
) -> Entry:
    return Entry(relative, FILE, mode, uid, gid, mtime_ns, 0, 0, size, 1, extra)


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
