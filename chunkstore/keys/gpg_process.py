"""One run of gpg at a time: started and fed by python-gnupg, read by us.

python-gnupg decodes what gpg says and cuts it with `str.splitlines`, so that a user id with U+0085 in it forges
status lines; it knows no time limit, and logs what it reads. So the one method of it that reads a process is
replaced: bytes are cut at "\\n" only, a run that takes too long is killed, and python-gnupg never sees a
plaintext or a key listing (its listing parser fails on hostile user ids).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from subprocess import Popen, TimeoutExpired
from typing import IO, Any

from chunkstore.errors import GpgFailed

_STATUS = b"[GNUPG:] "


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of gpg ended. `status` has keyword and arguments; `output` may be secret and is not in the repr."""

    exit_code: int
    status: tuple[tuple[str, str], ...] = field(repr=False)
    output: bytes = field(repr=False)
    complaint: str

    def all(self, keyword: str) -> list[list[str]]:
        """The arguments of each status line of this keyword."""
        return [arguments.split(" ") for word, arguments in self.status if word == keyword]

    def count(self, keyword: str) -> int:
        return len(self.all(keyword))

    def error_codes(self, keyword: str, where: str) -> list[int]:
        """The libgpg-error values that "ERROR" or "FAILURE" lines give for one place in gpg."""
        lines = self.all(keyword)
        return [int(line[1]) for line in lines if line[0] == where and len(line) > 1 and line[1].isdecimal()]


class Gpg:
    """gpg with one homedir (None: gpg's own default) and one set of options; `timeout` is in seconds."""

    def __init__(self, *, binary: str, homedir: str | None, options: Sequence[str], timeout: float) -> None:
        try:
            self._driver = _driver_class()(timeout, gpgbinary=binary, gnupghome=homedir, options=list(options))
        except OSError as error:
            raise GpgFailed(f"gpg can not be run as {binary!r}: install gnupg") from error
        except ValueError as error:
            raise GpgFailed(
                f"gpg does not work with homedir {homedir or 'default'}: {printable(str(error))}"
            ) from error
        self.configuration: bytes = self._driver.outcome.output

    def run(self, verb: str, *arguments: object, **named: object) -> Outcome:
        """Call the method `verb` of `gnupg.GPG` and tell how gpg ended; what the method returns is not looked at."""
        self._driver.outcome = None
        try:
            getattr(self._driver, verb)(*arguments, **named)
        except OSError as error:
            # With an outcome: gpg ended before it had read all of its input, and its exit code tells why.
            if self._driver.outcome is None:
                raise GpgFailed(f"gpg can not be run: {error}") from error
        outcome: Outcome | None = self._driver.outcome
        if outcome is None:
            raise GpgFailed("this version of python-gnupg is not supported")
        return outcome


def printable(text: str) -> str:
    """`text` without anything that could move the cursor, break the line or turn the direction of writing."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


@functools.cache
def _driver_class() -> Any:
    """`gnupg.GPG` with its reading of processes replaced (made late: importing gnupg takes 40 ms)."""
    import gnupg

    # It logs pieces of what goes through it. A filter, because it survives `logging.config`; a level does not.
    gnupg.logger.addFilter(lambda _record: False)

    class Driver(gnupg.GPG):  # type: ignore[misc]
        def __init__(self, timeout: float, **named: object) -> None:
            self.timeout = timeout
            self.outcome: Outcome | None = None
            self.started = False
            super().__init__(**named)
            self.started = True

        def _collect_output(
            self, process: Popen[bytes], result: Any, writer: object = None, stdin: IO[bytes] | None = None
        ) -> None:
            process.stdin = None  # python-gnupg's writer feeds and closes it; communicate() would close it too early
            try:
                output, messages = _read_to_end(process, self.timeout)
            finally:
                if writer is None and stdin is not None:
                    stdin.close()
            self.outcome = _outcome(process.returncode, output, messages)
            result.returncode = process.returncode
            result.stderr = self.outcome.complaint
            result.data = b"" if self.started else output  # at the start python-gnupg asks for the version

    return Driver


def _read_to_end(process: Popen[bytes], timeout: float) -> tuple[bytes, bytes]:
    try:
        return process.communicate(timeout=timeout)
    except TimeoutExpired:
        pass  # raised below, outside: this exception holds what was read, a plaintext perhaps
    finally:
        if process.returncode is None:
            _kill(process)
    raise GpgFailed(f"gpg did not end within {timeout:g} s")


def _kill(process: Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()  # not drained: a child of gpg may keep the other end open
    process.wait()


def _outcome(exit_code: int, output: bytes, messages: bytes) -> Outcome:
    lines = messages.split(b"\n")
    status: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith(_STATUS):
            keyword, _, arguments = line.removeprefix(_STATUS).decode("utf-8", "replace").partition(" ")
            status.append((keyword, arguments))
    return Outcome(exit_code, tuple(status), output, _complaint(lines))


def _complaint(lines: Sequence[bytes]) -> str:
    """The last thing gpg said to people, short; its debug lines can hold secrets and are left out."""
    said = [line for line in lines if line.startswith(b"gpg: ") and not line.startswith(b"gpg: DBG:")]
    return printable(said[-1].decode("utf-8", "replace").strip()[:200]) if said else "gpg gave no reason"
