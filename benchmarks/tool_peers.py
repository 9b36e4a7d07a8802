"""The other tools: how each makes a repository, takes a snapshot, restores and lists. See `tools.py`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from tool_base import Command, Tool, inside


class Restic(Tool):
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


class Rustic(Tool):
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


class Borg(Tool):
    name = "borg"

    def environment(self) -> Mapping[str, str]:
        settings = {"BORG_REPO": str(self.repository), "BORG_PASSPHRASE": "benchmark"}
        return {**super().environment(), **settings, "BORG_BASE_DIR": str(self.home)}

    def init(self) -> Command:
        return [*self.command, "init", "--encryption", "repokey-blake2"]

    def snapshot(self, tree: Path, number: int) -> Command:
        """borg strips nothing on restore, hence the change of directory."""
        return inside(tree, [*self.command, "create", "--compression", "zstd,3", f"::{number}", "."])

    def restore(self, tree: Path, number: int, target: Path) -> Command:
        return inside(target, [*self.command, "extract", f"::{number}"])

    def restore_one(self, tree: Path, path: str, number: int, target: Path) -> Command:
        return inside(target, [*self.command, "extract", f"::{number}", f"pp:{path}"])

    def snapshots(self) -> Command:
        return [*self.command, "list"]

    def contents(self, tree: Path, number: int) -> Command:
        return [*self.command, "list", f"::{number}"]


class Bupstash(Tool):
    name = "bupstash"
    one_file_unit_ns = 0

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


class Kopia(Tool):
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


class Duplicity(Tool):
    name = "duplicity"
    mtime_unit_ns = one_file_unit_ns = 1_000_000_000
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
