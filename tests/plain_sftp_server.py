"""An SFTP server that is not OpenSSH: paramiko's, without any extension, in threads of the test.

What it does with a rename onto a file that is there can be chosen: version 3 says that it fails, not all obey.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko
from paramiko import SFTPAttributes, SFTPHandle, SFTPServer, SFTPServerInterface

from tests.ssh_server import make_key


class Files(SFTPServerInterface):
    """The files of this machine, by their own paths."""

    replaces = False

    def list_folder(self, path: str) -> list[SFTPAttributes] | int:
        try:
            names = os.listdir(path)
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)
        found = []
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # gone since
                found.append(SFTPAttributes.from_stat(os.lstat(os.path.join(path, name)), name))
        return found

    def stat(self, path: str) -> SFTPAttributes | int:
        return self._attributes(path, follow=True)

    def lstat(self, path: str) -> SFTPAttributes | int:
        return self._attributes(path, follow=False)

    def open(self, path: str, flags: int, attr: SFTPAttributes) -> SFTPHandle | int:
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)
        handle = SFTPHandle(flags)
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        handle.filename = path  # type: ignore[attr-defined]
        handle.readfile = None if writes else os.fdopen(descriptor, "rb")  # type: ignore[attr-defined]
        handle.writefile = os.fdopen(descriptor, "wb") if writes else None  # type: ignore[attr-defined]
        handle.stat = lambda: self._attributes(path, follow=True)  # type: ignore[method-assign]
        return handle

    def remove(self, path: str) -> int:
        return self._done(os.unlink, path)

    def rename(self, oldpath: str, newpath: str) -> int:
        return self._done(os.rename, oldpath, newpath) if self.replaces else self._done(_move, oldpath, newpath)

    def mkdir(self, path: str, attr: SFTPAttributes) -> int:
        return self._done(os.mkdir, path, 0o700)

    def _attributes(self, path: str, *, follow: bool) -> SFTPAttributes | int:
        try:
            return SFTPAttributes.from_stat(os.stat(path, follow_symlinks=follow))
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)

    def _done(self, action: object, *arguments: object) -> int:
        try:
            action(*arguments)  # type: ignore[operator]
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)
        return paramiko.SFTP_OK


class ReplacingFiles(Files):
    """Renames over what is there."""

    replaces = True


class _Everybody(paramiko.ServerInterface):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


def _move(source: str, target: str) -> None:
    os.link(source, target)
    os.unlink(source)


@contextmanager
def plain_sftp_server(folder: Path, files: type[Files]) -> Iterator[tuple[int, str]]:
    """Its port, and the line for known_hosts."""
    folder.mkdir(parents=True, exist_ok=True)
    make_key(folder / "host_key")
    key = paramiko.PKey.from_path(folder / "host_key")
    transports: list[paramiko.Transport] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    transport = paramiko.Transport(connection)
                    transports.append(transport)
                    transport.add_server_key(key)
                    transport.set_subsystem_handler("sftp", SFTPServer, files)
                    transport.start_server(server=_Everybody(), event=threading.Event())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        try:
            yield port, f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}"
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for transport in transports:
                transport.close()
