"""Writing small files in another process.

Creating a small file takes the system as long as finding out what is in it takes us, and threads can not do both at
once: each of the five calls for a file has to wait for the interpreter's lock when it returns.

    take -> batch -> [thread: pipe -> `file_writer`, another process: created, written, attributes set -> pipe] -> what failed

The other process gets the open directory of the target and what is to be written (`format.file_batches`), no keys, and
knows no repository.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from chunkstore.errors import HelperEnded, TargetError
from chunkstore.format.entries import Entry
from chunkstore.format.file_batches import Answer, Failure, Heads, decode_answer, encode_heads
from chunkstore.parallel import OrderedPool
from chunkstore.processes import Helper
from chunkstore.tree.attributes import Ownership
from chunkstore.tree.inode_flags import SEALING
from chunkstore.tree.problems import TargetFull, WriterEnded
from chunkstore.tree.target import Target
from chunkstore.tree.writing import Data

_BATCH_BYTES = 256 << 10
_BATCH_FILES = 64
_BYTES_WAITING = 16 << 20
"""Of batches that were not answered; what the other process has to do while this one finds out what is next."""
_MODULE = "chunkstore.tree.file_writer"
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

    def __init__(self, target: Target, helpers: Sequence[Helper]) -> None:
        """Takes over the helpers; see `start`."""
        self._target = target
        self._helpers = helpers
        self._idle = deque(helpers)
        window = _BYTES_WAITING // _BATCH_BYTES
        self._sending = OrderedPool[_Batch[T], tuple[_Batch[T], Answer]](self._send, len(helpers), window, "write")
        self._heads = Heads()
        self._batch = _Batch[T]([], [], [])
        self._size = 0
        self._done: list[Written[T]] = []

    @classmethod
    def start(cls, target: Target, count: int = 1) -> Writers[T] | None:
        """None where none can be started, or can not find this library: the program may be packed in one file, for one."""
        ownership = Ownership.NUMBERS if target.ownership is Ownership.NAMES else target.ownership
        root = target.fileno()
        helpers: list[Helper] = []
        try:
            for _ in range(count):
                helpers.append(Helper.start(_MODULE, root, target.path, ownership.value, keep=[root]))
            for each in helpers:
                each.ask(*encode_heads([]))
        except (OSError, HelperEnded):
            for each in helpers:
                each.close()
            return None
        return cls(target, helpers)

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
        for each in self._helpers:
            each.close()

    def _hand_over(self) -> None:
        batch, self._batch, self._size = self._batch, _Batch[T]([], [], []), 0
        for each, answer in self._sending.submit(batch):
            self._note(each, answer)

    def _send(self, batch: _Batch[T]) -> tuple[_Batch[T], Answer]:
        """Worker: as many of them as processes."""
        helper = self._idle.popleft()
        try:
            return batch, decode_answer(helper.ask(*encode_heads(batch.heads), *batch.contents))
        except HelperEnded as e:
            raise WriterEnded("the process that writes files ended unexpectedly") from e
        finally:
            self._idle.append(helper)

    def _note(self, batch: _Batch[T], answer: Answer) -> None:
        self._target.not_set.update(answer.not_set)
        failed: dict[int, Failure] = {each.number: each for each in answer.failures}
        for number, (purpose, size) in enumerate(batch.files):
            failure = failed.get(number)
            if failure is not None and failure.full:
                raise TargetFull(failure.message)
            self._done.append(Written(purpose, size, TargetError(failure.message) if failure else None))
