"""Writing small files in another process.

Creating a small file takes the system as long as finding out what is in it takes us, and threads can not do both at
once: each of the five calls for a file has to wait for the interpreter's lock when it returns.

    take -> batch -> [thread: pipe -> `file_writer`, another process: created, written, attributes set -> pipe] -> what failed

The other process gets the open directory of the target and what is to be written (`format.file_batches`), no keys, and
knows no repository.
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

from chunkstore.errors import TargetError
from chunkstore.format.entries import Entry
from chunkstore.format.file_batches import Answer, Answers, Failure, Heads, encode_batch
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


class Writers(Generic[T]):
    """Processes that write files to an empty target. One thread at a time; `close` it."""

    def __init__(self, target: Target, processes: Sequence[Process]) -> None:
        """Takes over the processes; see `start`."""
        self._target = target
        self._processes = processes
        self._idle = deque(processes)
        window = _BYTES_WAITING // _BATCH_BYTES
        self._sending = OrderedPool[_Batch[T], tuple[_Batch[T], Answer]](self._send, len(processes), window, "write")
        self._heads = Heads()
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
            head = self._heads.encode(relative, size, entry)
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
        for batch, answer in self._sending.drain():
            self._note(batch, answer)
        return self.results()

    def close(self) -> None:
        """End the processes; what they were not given yet they do not write. Idempotent."""
        self._sending.close()
        for each in self._processes:
            each.close()

    def _hand_over(self) -> None:
        batch, self._batch, self._size = self._batch, _Batch[T]([], [], []), 0
        for each, answer in self._sending.submit(batch):
            self._note(each, answer)

    def _send(self, batch: _Batch[T]) -> tuple[_Batch[T], Answer]:
        """Worker: as many of them as processes."""
        process = self._idle.popleft()
        try:
            return batch, process.write(encode_batch(batch.heads, batch.contents))
        finally:
            self._idle.append(process)

    def _note(self, batch: _Batch[T], answer: Answer) -> None:
        self._target.not_set.update(answer.not_set)
        failed: dict[int, Failure] = {each.number: each for each in answer.failures}
        for number, (purpose, size) in enumerate(batch.files):
            failure = failed.get(number)
            if failure is not None and failure.full:
                raise TargetFull(failure.message)
            self._done.append(Written(purpose, size, TargetError(failure.message) if failure else None))


class Process:
    """One process and the pipes to it."""

    def __init__(self, process: subprocess.Popen[bytes], batches: int, answers: int) -> None:
        """Takes over the writing end of one pipe and the reading end of the other."""
        self.process = process
        self._batches = batches
        self._answers = answers
        self._received = Answers()

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

    def write(self, batch: bytes) -> Answer:
        """What came of a batch. Raises `WriterEnded`."""
        left = memoryview(batch)
        try:
            while left:
                left = left[os.write(self._batches, left) :]
        except BrokenPipeError as e:
            raise WriterEnded(_ENDED) from e
        while data := os.read(self._answers, 1 << 16):
            if (answer := self._received.feed(data)) is not None:
                return answer
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
