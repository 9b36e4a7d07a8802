"""The backup tools that are compared: how each makes a repository, takes a snapshot, restores and lists.

All encrypt, all compress with zstd near level 3 (restic and rustic `auto` or default, borg `zstd,3`, kopia `zstd`,
chunkstore its default) except duplicity, whose compression is gpg's zlib, and what `peers.md` says of bupstash. Each
keeps its repository, caches and state in a home of its own. `missing` says why a tool can not run here.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from tool_base import Command, Key, Tool
from tool_peers import Borg, Bupstash, Duplicity, Kopia, Restic, Rustic

__all__ = ["TOOLS", "Chunkstore", "Command", "Key", "Restic", "Tool", "missing", "version_of"]


class Chunkstore(Tool):
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


KINDS: tuple[type[Tool], ...] = (Chunkstore, Restic, Rustic, Borg, Kopia, Bupstash, Duplicity)
TOOLS = {kind.name: kind for kind in KINDS}


def missing(tool: Tool) -> str | None:
    """Why the tool can not run here, or None."""
    if not shutil.which(tool.command[0]):
        return f"{tool.command[0]}: not on PATH"
    answer = subprocess.run(tool.version(), capture_output=True, text=True, check=False)
    if answer.returncode:
        last = (answer.stderr.strip() or "no message").splitlines()[-1]
        return f"{shlex.join(tool.version())} failed ({answer.returncode}): {last}"
    return None


def version_of(tool: Tool) -> str:
    """The first line of what the tool says about its version."""
    answer = subprocess.run(tool.version(), capture_output=True, text=True, check=False)
    return (answer.stdout.strip() or "?").splitlines()[0]
