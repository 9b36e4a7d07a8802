"""The command line as people run it: a process of its own, on a machine of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 120
Argument = str | bytes | os.PathLike[str]


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object of version 1 on one line and nothing else."""
        assert self.stdout.endswith(b"\n"), self
        assert self.stdout.count(b"\n") == 1, self
        value = json.loads(self.stdout)
        assert isinstance(value, dict), self
        assert value["version"] == 1, self
        return value


class Machine:
    """A home, a state and a cache directory, a gpg homedir, and a repository that all its commands mean.

    The processes inherit nothing: what they see of the environment is `environment`.
    """

    def __init__(self, root: Path, gnupg: os.PathLike[str] | str | None, repository: Path | None = None) -> None:
        self.root = root
        self.home = root / "home"
        self.state = root / "state"
        self.cache = root / "cache"
        self.repository = repository or root / "repository"
        self.gnupg = gnupg
        self.home.mkdir(parents=True, exist_ok=True)

    def environment(self, **changes: str | None) -> dict[str, str]:
        """What the processes get; None takes a variable away."""
        variables: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.state),
            "XDG_CACHE_HOME": str(self.cache),
            "GNUPGHOME": str(self.gnupg) if self.gnupg else None,
            "CHUNKSTORE_REPOSITORY": str(self.repository),
            **changes,
        }
        return {name: value for name, value in variables.items() if value is not None}

    def start(
        self,
        *arguments: Argument,
        before: Sequence[str] = (),
        environment: Mapping[str, str | None] | None = None,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Begin a command; `before` goes in front of it (`strace`), `options` to Popen."""
        command = [*before, sys.executable, "-m", "chunkstore_cli", *map(os.fspath, arguments)]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            command, env=self.environment(**(environment or {})), **{"cwd": self.root, **streams, **options}
        )

    def run(
        self,
        *arguments: Argument,
        before: Sequence[str] = (),
        environment: Mapping[str, str | None] | None = None,
        **options: Any,
    ) -> Result:
        """Run a command to its end."""
        return finish(self.start(*arguments, before=before, environment=environment, **options))

    def done(self, *arguments: Argument, **options: Any) -> Result:
        """Run a command that must succeed and has nothing to complain about."""
        result = self.run(*arguments, **options)
        assert (result.code, result.stderr) == (0, ""), result
        return result

    def snapshot(self, *paths: Argument, **options: Any) -> str:
        """Make a snapshot; its id."""
        snapshot_id: str = self.done("snapshot", "--json", *paths, **options).json["snapshot"]["id"]
        return snapshot_id

    def restore(self, snapshot: Argument, target: Path, **options: Any) -> Path:
        """Restore; the target."""
        self.done("restore", snapshot, target, **options)
        return target

    # -- the repository, from behind

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every stored object by name."""
        files = (path for path in self.repository.rglob("*") if path.is_file())
        named = {path.relative_to(self.repository).as_posix(): path for path in files}
        return {name: path.read_bytes() for name, path in sorted(named.items()) if name.startswith(prefix)}

    def names(self, prefix: str = "") -> set[str]:
        """The names of the stored objects."""
        files = (path for path in self.repository.rglob("*") if path.is_file())
        named = {path.relative_to(self.repository).as_posix() for path in files}
        return {name for name in named if name.startswith(prefix)}

    def forget_everything(self) -> None:
        """Delete the local state and the cache."""
        self.forget_cache()
        shutil.rmtree(self.state)

    def forget_cache(self) -> None:
        if self.cache.exists():
            shutil.rmtree(self.cache)

    def copy_to(self, root: Path) -> Machine:
        """A machine with a copy of everything, repository included."""
        other = Machine(root, self.gnupg)
        for mine, its in ((self.state, other.state), (self.cache, other.cache), (self.repository, other.repository)):
            if mine.exists():
                shutil.copytree(mine, its)
        return other


def finish(process: subprocess.Popen[bytes], timeout: float = TIMEOUT_S) -> Result:
    """Wait for a process that was started; one that hangs is killed and fails the test."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Result(process.returncode, stdout or b"", (stderr or b"").decode(errors="backslashreplace"))


def stop_when(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], number: signal.Signals = signal.SIGINT
) -> float:
    """Send a signal to a running process once `ready()`; the time when it was sent, by `time.monotonic`."""
    deadline = time.monotonic() + TIMEOUT_S
    while not ready():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        process.send_signal(number)
    return time.monotonic()
