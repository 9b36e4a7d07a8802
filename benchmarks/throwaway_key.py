"""A GPG key pair for one benchmark run, in a home directory with a short path; agent and files go afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools import Key

USER = "chunkstore benchmark <benchmark@example.invalid>"


@contextmanager
def throwaway_key() -> Iterator[Key]:
    """A cv25519 key pair without a passphrase."""
    home = Path(tempfile.mkdtemp(prefix="ck-"))
    try:
        _gpg(home, "--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", USER, "future-default")
        yield Key(home, _fingerprint(home))
    finally:
        environment = {**os.environ, "GNUPGHOME": str(home)}
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)
        shutil.rmtree(home, ignore_errors=True)


def _fingerprint(home: Path) -> str:
    listed = _gpg(home, "--with-colons", "--list-secret-keys")
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))


def _gpg(home: Path, *arguments: str) -> str:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
