"""Throw-away gpg homedirs with quickly made keys. Their paths are short: an agent's socket allows about 100 characters."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

# gpg-agent measures for two seconds how often to hash a passphrase unless it is told.
QUICK_AGENT = "s2k-count 65536\n"
PASSPHRASE = "correct horse 7 battery"
LONG_AGO = "20200101T000000!"


class GnupgHome:
    """A homedir driven by the gpg command itself, not by the code under test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def gpg(self, *arguments: str | bytes, data: bytes = b"") -> bytes:
        """Run gpg, which must succeed; its standard output."""
        command = ["gpg", "--homedir", str(self.path), "--batch", "--no-tty", "--quiet", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def make_key(
        self,
        user_id: str | bytes,
        *,
        algorithm: str = "future-default",
        usage: str = "default",
        expires: str = "never",
        passphrase: str = "",
        at: str | None = None,
    ) -> str:
        """Fingerprint of a new key: ed25519 that signs, cv25519 that encrypts. `at` sets gpg's clock."""
        clock = ["--faked-system-time", at] if at else []
        self.gpg(
            *clock,
            *("--pinentry-mode", "loopback", "--passphrase", passphrase),
            *("--quick-gen-key", user_id, algorithm, usage, expires),
        )
        return self.fingerprints()[-1]

    def fingerprints(self) -> list[str]:
        """The primary fingerprints, oldest first."""
        lines = self.gpg("--with-colons", "--list-keys").decode(errors="replace").split("\n")
        return [following.split(":")[9] for record, following in pairwise(lines) if record.startswith("pub:")]

    def subkeys(self, fingerprint: str) -> list[str]:
        lines = self.gpg("--with-colons", "--list-keys", "--with-subkey-fingerprint", fingerprint)
        fingerprints = [line.split(":")[9] for line in lines.decode().split("\n") if line.startswith("fpr:")]
        return fingerprints[1:]

    def public_key(self, *fingerprints: str) -> bytes:
        return self.gpg("--export", *fingerprints)

    def secret_key(self, fingerprint: str) -> bytes:
        return self.gpg("--export-secret-keys", fingerprint)

    def revoke(self, fingerprint: str) -> None:
        certificate = (self.path / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text()
        self.gpg("--import", data=certificate.replace(":-----BEGIN", "-----BEGIN").encode())

    def edit(self, fingerprint: str, *answers: str) -> None:
        """`gpg --edit-key`, answered line by line."""
        command = ["gpg", "--homedir", str(self.path), "--no-tty", "--command-fd", "0", "--edit-key", fingerprint]
        script = "\n".join([*answers, "save", ""]).encode()
        subprocess.run(command, input=script, capture_output=True, timeout=60, check=True)

    def configure(self, text: str, file: str = "gpg.conf") -> None:
        (self.path / file).write_text(text)

    def pinentry(self, passphrase: str | None) -> Path:
        """Let the agent ask a program that knows the passphrase (None: that waits for ever); the file it leaves if run."""
        asked = self.path / "asked"
        program = self.path / "pinentry"
        answer = f'echo "D {passphrase}"; echo OK' if passphrase is not None else "exec sleep 20"
        program.write_text(
            f'#!/bin/sh\ntouch {asked}\necho "OK at your service"\nwhile read -r line; do case "$line" in\n'
            f"GETPIN*) {answer};;\nBYE*) echo OK; exit 0;;\n*) echo OK;;\nesac; done\n"
        )
        program.chmod(0o700)
        self.configure(f"{QUICK_AGENT}pinentry-program {program}\n", "gpg-agent.conf")
        self.stop_agent()
        return asked

    def stop_agent(self) -> None:
        """Also makes it forget passphrases."""
        subprocess.run(["gpgconf", "--homedir", str(self.path), "--kill", "all"], capture_output=True, timeout=20)


@contextmanager
def gnupg_home() -> Iterator[GnupgHome]:
    """An empty homedir; afterwards its agent is stopped and it is removed."""
    home = GnupgHome(Path(tempfile.mkdtemp(prefix="g-", dir="/tmp")))
    home.configure(QUICK_AGENT, "gpg-agent.conf")
    try:
        yield home
    finally:
        home.stop_agent()
        shutil.rmtree(home.path, ignore_errors=True)


@pytest.fixture(name="home")
def fixture_home() -> Iterator[GnupgHome]:
    with gnupg_home() as home:
        yield home
