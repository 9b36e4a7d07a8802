"""What `snapshot` reads instead of files: standard input, or what another program writes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from chunkstore.errors import Interrupted, SourceError
from chunkstore.tree.display import display_path

from .standard_input import take

_PATIENCE_S = 5.0
"""After this long a command that was asked to end is killed."""
_LOOK_S = 0.1


class StandardInput:
    """Standard input to its end."""

    def __init__(self) -> None:
        take()

    def fileno(self) -> int:
        return sys.stdin.fileno()

    def readinto(self, view: memoryview) -> int:
        return os.readv(self.fileno(), [view])

    def end(self) -> None:
        """An end of standard input is always a good one."""


class CommandOutput:
    """What a running command writes to its standard output."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], output: IO[bytes], stop: Callable[[], bool]
    ) -> None:
        self._name = name
        self._process = process
        self._output = output
        self._stop = stop

    def fileno(self) -> int:
        return self._output.fileno()

    def readinto(self, view: memoryview) -> int:
        return os.readv(self.fileno(), [view])

    def end(self) -> None:
        """Wait for the command; `SourceError` unless its exit code is 0."""
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_LOOK_S)
                break
            if self._stop():
                raise Interrupted("interrupted; what was stored so far will be used by the next snapshot")
        if code:
            how = f"ended with exit code {code}" if code > 0 else f"was ended by {_signal_name(-code)}"
            raise SourceError(f"no snapshot was made: the command {self._name} {how}")


@contextlib.contextmanager
def output_of(command: Sequence[bytes], stop: Callable[[], bool]) -> Iterator[CommandOutput]:
    """Run a command; what of it, and of what it started, is still running in the end gets ended.

    It has no standard input and no terminal: it can ask nothing. Raises `SourceError` when it can not be run.
    """
    name = display_path(command[0])
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
    except OSError as e:
        reason = "command not found" if isinstance(e, FileNotFoundError) else e.strerror
        raise SourceError(f"{name}: {reason}") from e
    assert process.stdout is not None
    try:
        yield CommandOutput(name, process, process.stdout, stop)
    finally:
        process.stdout.close()
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The first signal asks; what does not listen is killed."""
    for number, patience in ((signal.SIGTERM, _PATIENCE_S), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
