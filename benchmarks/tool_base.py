"""What is the same for all tools that are compared: a home of its own, an environment, the questions they are asked."""

from __future__ import annotations

import os
import shlex
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Command = list[str]
SOCKET_ROOM = 60
"""Bytes: gpg makes sockets below the directory for temporary files, whose paths have 107 at most."""


@dataclass(frozen=True, slots=True)
class Key:
    """A throw-away GPG key pair without a passphrase."""

    home: Path
    fingerprint: str


@dataclass(frozen=True)
class Tool(ABC):
    """A tool that is run as `program` (it may have arguments) with `environment`, and keeps everything in `home`.

    Snapshots are of `tree`, numbered from 0; only the last is asked for.
    """

    home: Path
    key: Key
    program: str
    name = ""
    mtime_unit_ns = 1
    """The unit in which a restore of everything brings times back; `one_file_unit_ns` that of one file, 0: not at all."""
    one_file_unit_ns = 1
    keeps_link_times = True

    @property
    def repository(self) -> Path:
        return self.home / "repository"

    @property
    def command(self) -> Command:
        return shlex.split(self.program)

    def version(self) -> Command:
        return [*self.command, "--version"]

    def environment(self) -> Mapping[str, str]:
        """The caller's PATH and locale, and a home that holds nothing of the user's."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.home) if len(str(self.home)) < SOCKET_ROOM else tempfile.gettempdir(),
            "GNUPGHOME": str(self.key.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
        }

    @abstractmethod
    def init(self) -> Command:
        """Makes the repository."""

    @abstractmethod
    def snapshot(self, tree: Path, number: int) -> Command:
        """Takes snapshot `number`."""

    @abstractmethod
    def restore(self, tree: Path, number: int, target: Path) -> Command:
        """Brings snapshot `number`, the last one, back into `target`, which exists and is empty."""

    @abstractmethod
    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        """Brings the file `path` (relative to `tree`) of snapshot `number` back, somewhere below `target`."""

    @abstractmethod
    def snapshots(self) -> Command:
        """Lists the snapshots."""

    @abstractmethod
    def contents(self, tree: Path, number: int) -> Command:
        """Lists every path in snapshot `number`, the last one."""


def inside(directory: Path, command: Command) -> Command:
    """The command, run in that directory."""
    return ["env", "-C", str(directory), *command]
