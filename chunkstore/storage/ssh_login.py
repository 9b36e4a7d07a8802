"""Logging in with keys: those an agent holds and those in files. Nothing is ever asked of a person."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import UnknownKeyType

from chunkstore.errors import StorageUnreachable
from chunkstore.storage.sftp_session import BROKEN
from chunkstore.storage.ssh_config import SshTarget
from chunkstore.storage.ssh_known_hosts import fingerprint

_PUBLIC_KEY: Final = ("ssh-", "ecdsa-", "sk-")


@dataclass(frozen=True, slots=True)
class Login:
    """A key that may open the door, and what to call it in messages."""

    key: paramiko.PKey
    shown: str


class Keyring:
    """The keys of a user for a host, in the order in which they are tried. To be closed, for the agent's sake."""

    def __init__(self, target: SshTarget, *, use_agent: bool) -> None:
        self._target = target
        self._use_agent = use_agent
        self.unusable: Final[list[str]] = []
        """Key files that were passed over, and why."""
        self._agent: paramiko.Agent | None = None

    def close(self) -> None:
        """Forget the agent; its keys are of no more use."""
        if self._agent:
            self._agent.close()

    def __iter__(self) -> Iterator[Login]:
        """Keys named in the configuration come first: servers hang up after some that they do not know."""
        agent = self._agent_keys()
        if self._target.explicit_keys:
            named = {blob for file in self._target.key_files if (blob := _public_half(file))}
            yield from (login for login in agent if login.key.asbytes() in named)
            yield from self._file_keys()
            agent = [login for login in agent if login.key.asbytes() not in named]
            if not self._target.identities_only:
                yield from agent
        else:
            yield from () if self._target.identities_only else agent
            yield from self._file_keys()

    def _agent_keys(self) -> list[Login]:
        if not self._use_agent:
            return []
        try:
            self._agent = paramiko.Agent()
            keys = self._agent.get_keys()
        except BROKEN as error:
            self.unusable.append(f"the agent ({error})")
            return []
        return [Login(key, f"{key.get_name()} {fingerprint(key.asbytes())} of the agent") for key in keys]

    def _file_keys(self) -> Iterator[Login]:
        for file in self._target.key_files:
            try:
                key = paramiko.PKey.from_path(file)
            except FileNotFoundError:
                if self._target.explicit_keys:
                    self.unusable.append(f"{file} (not there)")
            except (paramiko.PasswordRequiredException, TypeError):
                self.unusable.append(f"{file} (has a passphrase: load it into an agent with ssh-add)")
            except OSError as error:
                self.unusable.append(f"{file} ({error.strerror})")
            except (paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm, ValueError):
                # A public half alone stands for a key of the agent.
                if _public_half(file) is None:
                    self.unusable.append(f"{file} (not a private key of a kind known here)")
            else:
                yield Login(key, file)


def log_in(transport: paramiko.Transport, target: SshTarget, keyring: Keyring, before: bytes | None) -> bytes:
    """Log in with the first key that is accepted, the one accepted `before` ahead of all others; which one it was.

    StorageUnreachable tells what was tried. It is transient only where the connection broke while the key accepted `before`
    was shown again: servers lock out who keeps trying.
    """
    tried: list[str] = []
    for login in sorted(keyring, key=lambda login: login.key.asbytes() != before):
        tried.append(login.shown)
        try:
            missing = transport.auth_publickey(target.user, login.key)
        except paramiko.BadAuthenticationType as error:
            raise _refused(target, tried, keyring, f"it accepts only {', '.join(error.allowed_types)}") from error
        except paramiko.AuthenticationException:
            if transport.is_active():
                continue
            raise _hung_up(target, tried, keyring, login, before) from None
        except BROKEN as error:
            raise _hung_up(target, tried, keyring, login, before) from error
        if missing:
            raise _refused(target, tried, keyring, f"besides a key it wants {', '.join(missing)}")
        return login.key.asbytes()
    raise _refused(target, tried, keyring, "")


def _hung_up(
    target: SshTarget, tried: list[str], keyring: Keyring, login: Login, before: bytes | None
) -> StorageUnreachable:
    """A server that accepted this very key before did not refuse it now: the connection broke."""
    if login.key.asbytes() == before:
        return StorageUnreachable(f"{target.shown}: the connection broke while logging in", transient=True)
    return _refused(target, tried, keyring, "it hung up")


def _refused(target: SshTarget, tried: list[str], keyring: Keyring, said: str) -> StorageUnreachable:
    parts = [f"{target.shown} does not let us in" + (f": {said}" if said else "")]
    parts.append(f"Keys tried: {', '.join(tried)}" if tried else "There was no key to try")
    if keyring.unusable:
        parts.append(f"Not usable: {', '.join(keyring.unusable)}")
    parts.append("The public key must be in the account's authorized_keys there; passwords are not used")
    return StorageUnreachable(". ".join(parts))


def _public_half(file: str) -> bytes | None:
    """The public key in a file or in the .pub beside it, as it goes over the wire; None where there is none."""
    for path in (f"{file}.pub", file):
        try:
            with open(path, encoding="ascii") as text:
                fields = text.read(100_000).split()
            if fields[:1] and fields[0].startswith(_PUBLIC_KEY):
                return base64.b64decode(fields[1], validate=True)
        except (OSError, ValueError, IndexError, binascii.Error):
            continue
    return None
