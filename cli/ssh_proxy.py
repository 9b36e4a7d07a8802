"""ProxyCommand of ssh_config(5): a process whose standard input and output lead to an SSH server."""

from __future__ import annotations

import socket
import subprocess

from chunkstore.parallel import in_background


def start_proxy(command: str) -> socket.socket:
    """Start a command through the shell, as ssh does; what it reads and writes. It ends when that is closed.

    It has no terminal, so that it can not ask anything, and a Ctrl-C is not for it: what is under way is finished first.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    in_background(lambda: _reap(process))
    return ours


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.wait()
