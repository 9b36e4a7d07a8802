"""A real sshd on a free port, with throw-away keys, run by whoever runs the tests, and the homes of its users.

Needs no root. `as_user` starts it as another user, for which root is needed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from chunkstore.storage.ssh_options import SshOptions

START_S = 20
TRIES = 5

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
AuthorizedKeysFile {authorized_keys}
PidFile none
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
MaxStartups 100
Subsystem sftp internal-sftp
"""


def sshd_program() -> str:
    """Where sshd is; it wants to be started by its whole path. Skips the test where there is none."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")
    if program is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs sshd and ssh-keygen (Debian: openssh-server and openssh-client)")
    return program


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A key pair: the private half at `path`, the public one at `path`.pub."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class SshServer:
    """A server that is running. `folder` holds its keys and its log, `key` lets in as `user`."""

    folder: Path
    port: int
    user: str
    process: subprocess.Popen[bytes]

    @property
    def key(self) -> Path:
        return self.folder / "user_key"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def known_hosts_line(self) -> str:
        return f"[127.0.0.1]:{self.port} {(self.folder / 'host_key.pub').read_text()}"

    def url(self, path: os.PathLike[str] | str) -> str:
        return f"sftp://{self.user}@127.0.0.1:{self.port}{os.fspath(path)}"

    def home(self, folder: Path, *, config: str = "") -> Path:
        """A new home directory of somebody who knows the server and is let in."""
        ssh = folder / ".ssh"
        ssh.mkdir(parents=True, mode=0o700)
        shutil.copy(self.key, ssh / "id_ed25519")
        shutil.copy(f"{self.key}.pub", ssh / "id_ed25519.pub")
        (ssh / "known_hosts").write_text(self.known_hosts_line)
        (ssh / "config").write_text(config)
        return folder

    def options(self, home: Path) -> SshOptions:
        """What the command line would find there."""
        return SshOptions(str(home), self.user, connect_timeout=20, answer_timeout=60, system_files=False)

    def sessions(self) -> list[int]:
        """The processes that serve connections."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listed.splitlines())}
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found - {self.process.pid})

    def signal_sessions(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to all that serve connections; how many there were."""
        sessions = self.sessions()
        for pid in sessions:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(sessions)

    def stop(self) -> None:
        """Kill it and all that serve connections."""
        sessions = self.sessions()
        self.process.kill()
        self.process.wait()
        for pid in sessions:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def ssh_server(
    folder: Path, *, extra: str = "", as_user: str | None = None, port: int | None = None
) -> Iterator[SshServer]:
    """Start a server, stop it afterwards. `extra`: lines for its configuration. A `folder` that was used keeps its keys."""
    program = sshd_program()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "user_key"):
        if not (folder / name).exists():
            make_key(folder / name)
    (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
    if os.geteuid() == 0 and as_user is None:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # compiled into sshd; only root's needs it
    if as_user:
        account = pwd.getpwnam(as_user)
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
    server = _start(program, folder, extra, as_user, port)
    try:
        yield server
    finally:
        server.stop()


def _start(program: str, folder: Path, extra: str, as_user: str | None, fixed_port: int | None) -> SshServer:
    user = as_user or pwd.getpwuid(os.geteuid()).pw_name
    for _ in range(TRIES):
        port = fixed_port or free_port()
        settings = CONFIG.format(port=port, host_key=folder / "host_key", authorized_keys=folder / "authorized_keys")
        (folder / "config").write_text(settings + extra)
        command = [program, "-D", "-f", str(folder / "config"), "-E", str(folder / "log")]
        if as_user:
            account = pwd.getpwnam(as_user)
            command = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", *command]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        server = SshServer(folder, port, user, process)
        if _answers(server):
            return server
        server.stop()  # most likely somebody else took the port
    raise AssertionError(server.log)


def _answers(server: SshServer) -> bool:
    deadline = time.monotonic() + START_S
    while server.process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.settimeout(5)
            if connection.recv(4) == b"SSH-":
                return True
        time.sleep(0.02)
    return False
