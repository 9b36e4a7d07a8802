"""The backup tools that are compared: how each makes a repository, takes a snapshot, restores and lists.

All encrypt, all compress with zstd near level 3 (restic and rustic `auto` or default, borg `zstd,3`, kopia `zstd`,
chunkstore its default) except duplicity, whose compression is gpg's zlib, and what `peers.md` says of bupstash. Each
keeps its repository, caches and state in a home of its own. `missing` says why a tool can not run here.
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
    """One tool; commands run with `environment`, snapshots are of `tree`, numbered from 0; only the last is asked for."""

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

    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        """Brings the file `path` (relative to `tree`) of snapshot `number` back, somewhere below `target`."""

    def snapshots(self) -> Command:
        """Lists the snapshots."""

    def contents(self, tree: Path, number: int) -> Command:
        """Lists every path in snapshot `number`, the last one."""


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

    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        return [*self._on_repository, "restore", f"latest:{tree / path}", str(target)]

    def snapshots(self) -> Command:
        return [*self._on_repository, "snapshots"]

    def contents(self, tree: Path, number: int) -> Command:
        return [*self._on_repository, "ls", "--recursive", "latest"]


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

    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        """Of its directory, so that nothing else is walked; the name is a pattern."""
        folder, name = os.path.split(tree / path)
        return [
            *self.command,
            "restore",
            "--quiet",
            f"latest:{folder}",
            "--target",
            str(target),
            "--include",
            f"/{name}",
        ]

    def snapshots(self) -> Command:
        return [*self.command, "snapshots"]

    def contents(self, tree: Path, number: int) -> Command:
        return [*self.command, "ls", "latest"]


class Rustic(_Peer):
    name = "rustic"

    def environment(self) -> Mapping[str, str]:
        repository = {"RUSTIC_REPOSITORY": str(self.repository), "RUSTIC_PASSWORD": "benchmark"}
        return {**super().environment(), **repository, "RUSTIC_CACHE_DIR": str(self.home / "cache")}

    def _run(self, *arguments: str) -> Command:
        return [*self.command, "--no-progress", "--log-level", "warn", *arguments]

    def init(self) -> Command:
        return self._run("init")

    def snapshot(self, tree: Path, number: int) -> Command:
        return self._run("backup", str(tree))

    def restore(self, tree: Path, number: int, target: Path) -> Command:
        return self._run("restore", f"latest:{tree}", str(target))

    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        return self._run("restore", f"latest:{tree / path}", str(target))

    def snapshots(self) -> Command:
        return self._run("snapshots")

    def contents(self, tree: Path, number: int) -> Command:
        return self._run("ls", "latest")


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

    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        return _inside(target, [*self.command, "extract", f"::{number}", f"pp:{path}"])

    def snapshots(self) -> Command:
        return [*self.command, "list"]

    def contents(self, tree: Path, number: int) -> Command:
        return [*self.command, "list", f"::{number}"]


class Bupstash(_Peer):
    name = "bupstash"

    def environment(self) -> Mapping[str, str]:
        settings = {"BUPSTASH_REPOSITORY": str(self.repository), "BUPSTASH_KEY": str(self.home / "key")}
        return {**super().environment(), **settings, "BUPSTASH_CACHE_DIR": str(self.home / "cache")}

    def init(self) -> Command:
        program = shlex.join(self.command)
        return ["sh", "-c", f"{program} new-key -o {shlex.quote(str(self.home / 'key'))} && {program} init"]

    def snapshot(self, tree: Path, number: int) -> Command:
        return [*self.command, "put", "--quiet", f"number={number}", str(tree)]

    def restore(self, tree: Path, number: int, target: Path) -> Command:
        return [*self.command, "restore", "--quiet", "--into", str(target), f"number={number}"]

    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        """It writes to standard output."""
        get = shlex.join([*self.command, "get", "--quiet", "--pick", path, f"number={number}"])
        return ["sh", "-c", f"{get} > {shlex.quote(str(target / os.path.basename(path)))}"]

    def snapshots(self) -> Command:
        return [*self.command, "list", "--quiet"]

    def contents(self, tree: Path, number: int) -> Command:
        return [*self.command, "list-contents", "--quiet", f"number={number}"]


class Kopia(_Peer):
    """By its manual only: never run by who wrote this."""

    name = "kopia"

    def environment(self) -> Mapping[str, str]:
        settings = {
            "KOPIA_PASSWORD": "benchmark",
            "KOPIA_CONFIG_PATH": str(self.home / "kopia.config"),
            "KOPIA_CACHE_DIRECTORY": str(self.home / "cache"),
            "KOPIA_LOG_DIR": str(self.home / "logs"),
            "KOPIA_CHECK_FOR_UPDATES": "false",
        }
        return {**super().environment(), **settings}

    def init(self) -> Command:
        create = shlex.join([*self.command, "repository", "create", "filesystem", "--path", str(self.repository)])
        return [
            "sh",
            "-c",
            f"{create} && {shlex.join([*self.command, 'policy', 'set', '--global', '--compression=zstd'])}",
        ]

    def snapshot(self, tree: Path, number: int) -> Command:
        return [*self.command, "snapshot", "create", "--no-progress", str(tree)]

    def restore(self, tree: Path, number: int, target: Path) -> Command:
        return self._restored("", tree, target)

    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        return self._restored(f"/{path}", tree, target / os.path.basename(path))

    def _restored(self, path: str, tree: Path, target: Path) -> Command:
        """The newest snapshot is `latest` of its source to kopia."""
        source = f"{tree}{path}"
        return [*self.command, "snapshot", "restore", "--snapshot-time", "latest", source, str(target)]

    def snapshots(self) -> Command:
        return [*self.command, "snapshot", "list"]

    def contents(self, tree: Path, number: int) -> Command:
        return [*self.command, "list", "--recursive", str(tree)]


class Duplicity(_Peer):
    name = "duplicity"
    mtime_unit_ns = 1_000_000_000
    keeps_link_times = False

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "PASSPHRASE": ""}

    def init(self) -> Command:
        self.repository.mkdir()
        return ["true"]

    def _run(self, verb: str, *arguments: str) -> Command:
        """gpg knows of no owner's trust here, hence `always`."""
        keys = ("--encrypt-key", self.key.fingerprint, "--gpg-options", "--trust-model always")
        return [*self.command, verb, *keys, "--archive-dir", str(self.home / "archive"), *arguments]

    def snapshot(self, tree: Path, number: int) -> Command:
        return self._run("backup", "--no-print-statistics", str(tree), self.repository.as_uri())

    def restore(self, tree: Path, number: int, target: Path) -> Command:
        return self._run("restore", "--force", "--no-print-statistics", self.repository.as_uri(), str(target))

    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        file = str(target / os.path.basename(path))
        return self._run("restore", "--path-to-restore", path, self.repository.as_uri(), file)

    def snapshots(self) -> Command:
        return self._run("collection-status", self.repository.as_uri())

    def contents(self, tree: Path, number: int) -> Command:
        return self._run("list-current-files", self.repository.as_uri())


TOOLS: dict[str, type[_Peer]] = {
    kind.name: kind for kind in (Chunkstore, Restic, Rustic, Borg, Kopia, Bupstash, Duplicity)
}


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
