"""Writing small files in another process.

Creating a small file takes the system as long as finding out what is in it takes us, and threads can not do both at
once: each of the five calls for a file has to wait for the interpreter's lock when it returns.

    take -> batch -> [thread: pipe -> `file_writer`, another process: created, written, attributes set -> pipe] -> what failed

The other process gets the open directory of the target and what is to be written, no keys, and knows no repository. A
batch is the length of its heads and of its contents (4 bytes each), the heads (msgpack: path, length, mode, uid, gid, mtime,
extra of each file) and the contents, joined. It is answered by a msgpack array: what could not be set and how often; and
for each file that failed its number, whether the target is full, and the error.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Generic, NamedTuple, TypeVar

import msgpack

from chunkstore.errors import TargetError
from chunkstore.format.entries import Entry
from chunkstore.parallel import OrderedPool
from chunkstore.tree.attributes import Ownership
from chunkstore.tree.creating import Data
from chunkstore.tree.inode_flags import SEALING
from chunkstore.tree.problems import TargetFull, WriterEnded
from chunkstore.tree.target import Target

_BATCH_BYTES = 256 << 10
_BATCH_FILES = 64
_BYTES_WAITING = 16 << 20
"""Of batches that were not answered; what the other process has to do while this one finds out what is next."""
_PIPE_BYTES = 1 << 20
"""Of one that is asked for; a system may give less."""
_ENDED = "the process that writes files ended unexpectedly"
T = TypeVar("T")


class Written(NamedTuple, Generic[T]):
    """What became of a file: no `error` if it is there."""

    purpose: T
    size: int
    error: TargetError | None


class _Batch(NamedTuple, Generic[T]):
    """Files that are sent together: their heads, their contents, and what they are for and how long."""

    heads: list[bytes]
    contents: list[Data]
    files: list[tuple[T, int]]

    def message(self) -> bytes:
        heads, contents = b"".join(self.heads), b"".join(self.contents)
        return b"".join((len(heads).to_bytes(4, "big"), len(contents).to_bytes(4, "big"), heads, contents))


class _Answer(NamedTuple, Generic[T]):
    """What could not be set, how often, and by their number the files that failed: (the target is full, the error)."""

    files: list[tuple[T, int]]
    not_set: dict[str, int]
    failed: dict[int, tuple[bool, str]]


class Writers(Generic[T]):
    """Processes that write files to an empty target. One thread at a time; `close` it."""

    def __init__(self, target: Target, processes: Sequence[Process]) -> None:
        """Takes over the processes; see `start`."""
        self._target = target
        self._processes = processes
        self._idle = deque(processes)
        window = _BYTES_WAITING // _BATCH_BYTES
        self._sending = OrderedPool[_Batch[T], _Answer[T]](self._send, len(processes), window, "write")
        self._pack = msgpack.Packer().pack
        self._batch = _Batch[T]([], [], [])
        self._size = 0
        self._done: list[Written[T]] = []

    @classmethod
    def start(cls, target: Target, count: int = 1) -> Writers[T] | None:
        """None where the system lets us start none."""
        processes: list[Process] = []
        try:
            for _ in range(count):
                processes.append(Process.start(target))
        except OSError:
            if not processes:
                return None
        return cls(target, processes)

    def take(self, relative: bytes, data: Data, entry: Entry, purpose: T) -> bool:
        """Whether this file will be written: its directory has been made. False for what is not for here.

        `entry` is as `Target.here` gave it. Raises `TargetFull`.
        """
        if entry.extra is not None and entry.flags & SEALING:
            return False
        if relative.endswith(b".partial"):  # may be the name of a file that is being written
            return False
        size = len(data)
        try:
            head = self._pack((relative, size, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.extra))
        except OverflowError:  # a time of more than 64 bits
            return False
        batch = self._batch
        batch.heads.append(head)
        batch.contents.append(data)
        batch.files.append((purpose, size))
        self._size += size
        if self._size >= _BATCH_BYTES or len(batch.files) == _BATCH_FILES:
            self._hand_over()
        return True

    def results(self) -> list[Written[T]]:
        """What is known since the last call."""
        done, self._done = self._done, []
        return done

    def finish(self) -> list[Written[T]]:
        """As `results`, when everything that was taken is done."""
        if self._batch.files:
            self._hand_over()
        for answer in self._sending.drain():
            self._note(answer)
        return self.results()

    def close(self) -> None:
        """End the processes; what they were not given yet they do not write. Idempotent."""
        self._sending.close()
        for each in self._processes:
            each.close()

    def _hand_over(self) -> None:
        batch, self._batch, self._size = self._batch, _Batch[T]([], [], []), 0
        for answer in self._sending.submit(batch):
            self._note(answer)

    def _send(self, batch: _Batch[T]) -> _Answer[T]:
        """Worker: as many of them as processes."""
        process = self._idle.popleft()
        try:
            not_set, failed = process.write(batch.message())
        finally:
            self._idle.append(process)
        return _Answer(batch.files, not_set, {number: (full, message) for number, full, message in failed})

    def _note(self, answer: _Answer[T]) -> None:
        self._target.not_set.update(answer.not_set)
        for number, (purpose, size) in enumerate(answer.files):
            full, message = answer.failed.get(number, (False, None))
            if full:
                raise TargetFull(message)
            self._done.append(Written(purpose, size, TargetError(message) if message else None))


class Process:
    """One process and the pipes to it."""

    def __init__(self, process: subprocess.Popen[bytes], batches: int, answers: int) -> None:
        """Takes over the writing end of one pipe and the reading end of the other."""
        self.process = process
        self._batches = batches
        self._answers = answers
        self._unpacker = msgpack.Unpacker(use_list=True)

    @classmethod
    def start(cls, target: Target) -> Process:
        """Raises `OSError` where the system lets us start none."""
        with ExitStack() as undo, ExitStack() as theirs:
            ends = []
            for _ in range(2):
                reading, writing = os.pipe()
                ends += [reading, writing]
                own, other = (writing, reading) if len(ends) == 2 else (reading, writing)
                undo.callback(os.close, own)
                theirs.callback(os.close, other)
            process = _start(target, ends[0], ends[3])
            undo.pop_all()
            return cls(process, ends[1], ends[2])

    def write(self, batch: bytes) -> tuple[dict[str, int], list[tuple[int, bool, str]]]:
        """What came of a batch. Raises `WriterEnded`."""
        left = memoryview(batch)
        try:
            while left:
                left = left[os.write(self._batches, left) :]
        except BrokenPipeError as e:
            raise WriterEnded(_ENDED) from e
        while answer := os.read(self._answers, 1 << 16):
            self._unpacker.feed(answer)
            for not_set, failed in self._unpacker:
                return not_set, failed
        raise WriterEnded(_ENDED)

    def close(self) -> None:
        """Let it end when it has written what it was given. Idempotent."""
        for end in (self._batches, self._answers):
            if end >= 0:
                os.close(end)
        self._batches = self._answers = -1
        self.process.wait()


def _start(target: Target, batches: int, answers: int) -> subprocess.Popen[bytes]:
    ownership = Ownership.NUMBERS if target.ownership is Ownership.NAMES else target.ownership
    root = target.fileno()
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # macOS has none
        with suppress(OSError):
            fcntl.fcntl(batches, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from chunkstore.tree.file_writer import main
main({batches}, {answers}, {root}, {target.path!r}, {ownership.value!r})
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(batches, answers, root),
    )
