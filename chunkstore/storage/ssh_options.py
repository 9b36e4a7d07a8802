"""Whose SSH it is: what the command line looks up for SFTP storages, so that the library need not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

StartProxy: TypeAlias = Callable[[str], socket.socket]

_SYSTEM_CONFIG: Final = "/etc/ssh/ssh_config"
_SYSTEM_KNOWN_HOSTS: Final = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_KEY_NAMES: Final = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True, slots=True)
class SshOptions:
    """The user whose keys, known hosts and configuration of SSH count.

    `home`: the directory that has `.ssh`. `user`: the login name where neither the URL nor the configuration has one.
    `use_agent`: ask the agent at SSH_AUTH_SOCK, which paramiko reads from the environment itself. `start_proxy`: starts
    a ProxyCommand through the shell, and gives the socket that is its standard input and output; None: refused.
    `connect_timeout`: seconds for each step of making a connection, unless the configuration has ConnectTimeout;
    `answer_timeout`: seconds without a byte from a server that owes an answer. `system_files=False` leaves out what
    is in /etc/ssh.
    """

    home: str
    user: str
    use_agent: bool = False
    start_proxy: StartProxy | None = None
    connect_timeout: float = 30.0
    answer_timeout: float = 120.0
    system_files: bool = True

    @property
    def config_files(self) -> tuple[str, ...]:
        """Configurations; the first one that has a value counts."""
        return (self.in_ssh("config"), *((_SYSTEM_CONFIG,) if self.system_files else ()))

    @property
    def user_known_hosts(self) -> tuple[str, ...]:
        """Where the user's host keys are, unless the configuration says otherwise."""
        return self.in_ssh("known_hosts"), self.in_ssh("known_hosts2")

    @property
    def system_known_hosts(self) -> tuple[str, ...]:
        """Where the machine's host keys are, unless the configuration says otherwise."""
        return _SYSTEM_KNOWN_HOSTS if self.system_files else ()

    @property
    def key_files(self) -> tuple[str, ...]:
        """Private keys to try where the configuration names none."""
        return tuple(self.in_ssh(name) for name in _KEY_NAMES)

    def in_ssh(self, name: str) -> str:
        """The path of a file in `.ssh`."""
        return os.path.join(self.home, ".ssh", name)
