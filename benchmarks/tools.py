"""The backup tools that are compared: how each makes a repository, takes a snapshot and restores the last one.

All encrypt, all compress with zstd near level 3 (restic `auto`, borg `zstd,3`, chunkstore its default) except
duplicity, whose compression is gpg's zlib. Each keeps its repository, caches and state in a home of its own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Command = list[str]


@dataclass(frozen=True, slots=True)
class Key:
    """A throw-away GPG key pair without a passphrase."""

    home: Path
    fingerprint: str


class Tool(Protocol):
    """One tool; commands run with `environment`, snapshots are of `tree`, numbered from 0.

    It keeps times in units of `mtime_unit_ns`, those of symbolic links only if `keeps_link_times`.
    """

    name: str
    home: Path
    mtime_unit_ns: int
    keeps_link_times: bool

    @property
    def repository(self) -> Path: ...
    def version(self) -> Command: ...
    def environment(self) -> Mapping[str, str]: ...
    def init(self) -> Command: ...
    def snapshot(self, tree: Path, number: int) -> Command: ...
    def restore(self, tree: Path, number: int, target: Path) -> Command:
        """Brings snapshot `number`, the last one, back into `target`, which exists and is empty."""


@dataclass(frozen=True)
class _Peer:
    home: Path
    key: Key
    program: str
    name = ""
    mtime_unit_ns = 1
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
            "TMPDIR": str(self.home),
            "GNUPGHOME": str(self.key.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
        }


class Chunkstore(_Peer):
    name = "chunkstore"

    @property
    def _on_repository(self) -> Command:
        return [*self.command, "-r", str(self.repository)]

    def init(self) -> Command:
        return [*self._on_repository, "init", "--encrypt-to", self.key.fingerprint]

    def snapshot(self, tree: Path, number: int) -> Command:
        return [*self._on_repository, "snapshot", str(tree), "--quiet"]

    def restore(self, tree: Path, number: int, target: Path) -> Command:
        return [*self._on_repository, "restore", "latest", str(target)]


class Restic(_Peer):
    name = "restic"

    def version(self) -> Command:
        return [*self.command, "version"]

    def environment(self) -> Mapping[str, str]:
        repository = {"RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": "benchmark"}
        return {**super().environment(), **repository, "RESTIC_CACHE_DIR": str(self.home / "cache")}

    def init(self) -> Command:
        return [*self.command, "init", "--quiet"]

    def snapshot(self, tree: Path, number: int) -> Command:
        return [*self.command, "backup", "--quiet", "--compression", "auto", str(tree)]

    def restore(self, tree: Path, number: int, target: Path) -> Command:
        return [*self.command, "restore", "--quiet", f"latest:{tree}", "--target", str(target)]


class Borg(_Peer):
    name = "borg"

    def environment(self) -> Mapping[str, str]:
        settings = {"BORG_REPO": str(self.repository), "BORG_PASSPHRASE": "benchmark"}
        return {**super().environment(), **settings, "BORG_BASE_DIR": str(self.home)}

    def init(self) -> Command:
        return [*self.command, "init", "--encryption", "repokey-blake2"]

    def snapshot(self, tree: Path, number: int) -> Command:
        """borg strips nothing on restore, hence the change of directory."""
        return _inside(tree, [*self.command, "create", "--compression", "zstd,3", f"::{number}", "."])

    def restore(self, tree: Path, number: int, target: Path) -> Command:
        return _inside(target, [*self.command, "extract", f"::{number}"])


class Duplicity(_Peer):
    name = "duplicity"
    mtime_unit_ns = 1_000_000_000
    keeps_link_times = False

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "PASSPHRASE": ""}

    def init(self) -> Command:
        self.repository.mkdir()
        return ["true"]

    @property
    def _options(self) -> Command:
        return [
            *("--encrypt-key", self.key.fingerprint, "--gpg-options", "--trust-model always"),
            *("--archive-dir", str(self.home / "archive"), "--no-print-statistics"),
        ]

    def snapshot(self, tree: Path, number: int) -> Command:
        return [*self.command, "backup", *self._options, str(tree), self.repository.as_uri()]

    def restore(self, tree: Path, number: int, target: Path) -> Command:
        return [*self.command, "restore", "--force", *self._options, self.repository.as_uri(), str(target)]


TOOLS: dict[str, type[_Peer]] = {kind.name: kind for kind in (Chunkstore, Restic, Borg, Duplicity)}


def missing(tool: _Peer) -> str | None:
    """Why the tool can not run here, or None."""
    if not shutil.which(tool.command[0]):
        return f"{tool.command[0]}: not on PATH"
    answer = subprocess.run(tool.version(), capture_output=True, text=True, check=False)
    if answer.returncode:
        last = (answer.stderr.strip() or "no message").splitlines()[-1]
        return f"{shlex.join(tool.version())} failed ({answer.returncode}): {last}"
    return None


def version_of(tool: _Peer) -> str:
    """The first line of what the tool says about its version."""
    answer = subprocess.run(tool.version(), capture_output=True, text=True, check=False)
    return (answer.stdout.strip() or "?").splitlines()[0]


def _inside(directory: Path, command: Command) -> Command:
    return ["env", "-C", str(directory), *command]
