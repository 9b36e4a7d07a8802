"""The only module that starts processes of ourselves: for work that would wait for the interpreter's lock in threads.

A thread that makes many short calls of the system, or of native code, gives the lock away at each of them and has to wait
for it again. A helper has its own. It is asked and answers through two pipes; a message is its length (4 bytes,
big-endian) and so many bytes, and each is answered by one. Nothing secret may be among the arguments, which every user sees.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from chunkstore.errors import HelperEnded

Buffer = bytes | bytearray | memoryview

_LENGTH = 4
_PIPE_BYTES = 1 << 20
"""Of one that is asked for; a system may give less."""
_ENDED = "a process that helps this one ended unexpectedly"


class Helper:
    """A process, and the pipes to it. One thread at a time; `close` it."""

    def __init__(self, process: subprocess.Popen[bytes], requests: int, answers: int) -> None:
        """Takes over the writing end of one pipe and the reading end of the other; see `start`."""
        self.process = process
        self._requests = requests
        self._answers = answers

    @classmethod
    def start(cls, module: str, *arguments: object, keep: Sequence[int] = ()) -> Helper:
        """Run `main(requests, answers, *arguments)` of a module; the descriptors `keep` stay open there.

        Arguments are plain values, the first two descriptors. Raises `OSError` where the system lets us start none.
        """
        with ExitStack() as undo, ExitStack() as theirs:
            (to_read, requests), (answers, to_answer) = os.pipe(), os.pipe()
            for own, other in ((requests, to_read), (answers, to_answer)):
                undo.callback(os.close, own)
                theirs.callback(os.close, other)
                _widen(own)
            passed = ", ".join(map(repr, (to_read, to_answer, *arguments)))
            program = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main({passed})"
            process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(to_read, to_answer, *keep),
            )
            undo.pop_all()
            return cls(process, requests, answers)

    def ask(self, *pieces: Buffer) -> bytearray:
        """The answer to a message that is given in pieces. Raises `HelperEnded`."""
        try:
            _write(self._requests, pieces)
        except BrokenPipeError as e:
            raise HelperEnded(_ENDED) from e
        answer = bytearray()
        if not _read(self._answers, answer):
            raise HelperEnded(_ENDED)
        return answer

    def close(self) -> None:
        """Let it end when it has done what it was asked for. Idempotent."""
        for end in (self._requests, self._answers):
            if end >= 0:
                os.close(end)
        self._requests = self._answers = -1
        self.process.wait()


def serve(requests: int, answers: int, answer: Callable[[memoryview], Buffer]) -> None:
    """In the helper: answer until the pipe is closed. A request is valid until it is answered.

    An interrupt from a terminal is for who started us, who closes the pipe then.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = bytearray()
    with suppress(BrokenPipeError):
        while _read(requests, request):
            _write(answers, [answer(memoryview(request))])


def _widen(pipe: int) -> None:
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # macOS has none
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _write(pipe: int, pieces: Sequence[Buffer]) -> None:
    size = sum(map(len, pieces))
    left = [memoryview(size.to_bytes(_LENGTH, "big")), *(memoryview(piece) for piece in pieces)]
    while left:
        written = os.writev(pipe, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if left:
            left[0] = left[0][written:]


def _read(pipe: int, message: bytearray) -> bool:
    """Put the next message in place of what is in `message`; False at the end."""
    head = bytearray(_LENGTH)
    if not _fill(pipe, memoryview(head)):
        return False
    size = int.from_bytes(head, "big")
    if len(message) != size:
        message[:] = bytes(size)
    return _fill(pipe, memoryview(message))


def _fill(pipe: int, view: memoryview) -> bool:
    while view:
        count = os.readv(pipe, [view])
        if not count:
            return False
        view = view[count:]
    return True
