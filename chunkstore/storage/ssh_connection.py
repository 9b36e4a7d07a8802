"""A connection to an SSH server: reach it, check its host key, log in, begin SFTP."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Final, TypeAlias

import paramiko

from chunkstore.errors import InvalidArgument, StorageUnreachable
from chunkstore.parallel import in_background
from chunkstore.storage import ssh_known_hosts as known_hosts
from chunkstore.storage.sftp_packets import Garbled, Refused
from chunkstore.storage.sftp_session import BROKEN, IN_FLIGHT, ConnectionLost, SftpSession
from chunkstore.storage.ssh_config import SshTarget, find_target
from chunkstore.storage.ssh_known_hosts import KnownKey
from chunkstore.storage.ssh_login import Keyring, log_in
from chunkstore.storage.ssh_options import SshOptions

# No name begins with a hyphen or holds what a shell understands: a ProxyCommand may contain both.
_AUTHORITY: Final = re.compile(
    r"(?:(?P<user>[^\s@:/\\'\"`$;&<>|(){}*?!#~-][^\s@:/\\'\"`$;&<>|(){}*?!#]*)@)?"
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>\w[\w.-]*))(?::(?P<port>\d{1,5}))?"
)
_MOST_JUMPS: Final = 8
# Encrypts and authenticates in one call, so that little is left for Python to do.
_FAST_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_RSA: Final = ("rsa-sha2-512", "rsa-sha2-256")


Stream: TypeAlias = socket.socket | paramiko.Channel


class SshConnector:
    """Makes SFTP sessions with one host, each over a connection of its own. Call it from one thread at a time.

    StorageUnreachable, transient where trying again may help. A key that is not accepted is not tried again.
    """

    def __init__(self, target: SshTarget, options: SshOptions) -> None:
        self._target = target
        self._options = options
        # Public halves of the keys that were accepted, by server.
        self._accepted: dict[str, bytes] = {}
        self._worked = False
        # Without a handler, Python shows what paramiko logs on stderr; the errors raised here say it all.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())

    def __call__(self) -> SftpSession:
        opened: list[paramiko.Transport] = []

        def close() -> None:
            for transport in reversed(opened):
                with suppress(*BROKEN):
                    transport.close()
                    # paramiko does that only once the connection has begun.
                    transport.sock.close()

        try:
            stream = self._stream(self._target, opened, 0)
            transport = self._transport(self._target, stream, opened)
            session = self._begin(transport, close)
        except BaseException:
            close()
            raise
        self._worked = True
        return session

    def _transport(self, target: SshTarget, stream: Stream, opened: list[paramiko.Transport]) -> paramiko.Transport:
        """A connection over `stream` that is logged in; put into `opened` as soon as it is to be closed."""
        transport = paramiko.Transport(stream)
        opened.append(transport)
        timeout = target.connect_timeout
        transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = timeout
        transport.channel_timeout = timeout
        known = _known_keys(target)
        _prefer(transport, [key.kind for key in known if not key.revoked])
        try:
            transport.start_client(timeout=timeout)
            host_key = transport.get_remote_server_key()
        except BROKEN as error:
            # When the time is up, the first call just returns, and the second one finds nothing.
            reason = f"no answer within {timeout:.0f} s" if transport.is_active() else _reason(error)
            raise self._unreachable(target, f"SSH can not begin: {reason}") from error
        check_host_key(host_key, target, known)
        with closing(Keyring(target, use_agent=self._options.use_agent)) as keyring:
            before = self._accepted.get(target.shown)
            self._accepted[target.shown] = log_in(transport, target, keyring, before)
        if target.keep_alive:
            transport.set_keepalive(target.keep_alive)
        return transport

    def _stream(self, target: SshTarget, opened: list[paramiko.Transport], depth: int) -> Stream:
        """What leads to the host: through other hosts, a command, or directly."""
        if depth > _MOST_JUMPS:
            raise InvalidArgument(f"{target.shown}: ProxyJump leads through too many hosts, or in a circle")
        if target.jumps:
            return self._through(target, opened, depth)
        if target.proxy_command:
            return self._through_command(target, target.proxy_command)
        try:
            stream = socket.create_connection((target.host, target.port), timeout=target.connect_timeout)
        except socket.gaierror as error:
            gone = error.errno == socket.EAI_NONAME and not self._worked
            reason = f"there is no such host, or no way to look it up ({error.strerror})"
            raise StorageUnreachable(f"{target.shown}: {reason}", transient=not gone) from error
        except TimeoutError as error:
            raise self._unreachable(target, f"no answer within {target.connect_timeout:.0f} s") from error
        except OSError as error:
            raise self._unreachable(target, error.strerror or str(error)) from error
        _tune(stream, self._options.answer_timeout)
        return stream

    def _through(self, target: SshTarget, opened: list[paramiko.Transport], depth: int) -> Stream:
        """A channel through the hosts of ProxyJump, each with a configuration of its own."""
        via: paramiko.Transport | None = None
        for text in target.jumps:
            user, host, port = parse_authority(text.removeprefix("ssh://"))
            jump = find_target(host, user, port, self._options)
            stream = self._channel(via, jump) if via else self._stream(jump, opened, depth + 1)
            via = self._transport(jump, stream, opened)
        assert via is not None
        return self._channel(via, target)

    def _through_command(self, target: SshTarget, command: str) -> Stream:
        if self._options.start_proxy is None:
            raise InvalidArgument(f"{target.shown}: a ProxyCommand can not be started from here")
        try:
            return self._options.start_proxy(command)
        except OSError as error:
            raise self._unreachable(target, f"its ProxyCommand does not start: {error.strerror}") from error

    def _channel(self, via: paramiko.Transport, target: SshTarget) -> Stream:
        try:
            channel = via.open_channel("direct-tcpip", (target.host, target.port), ("127.0.0.1", 0))
        except BROKEN as error:
            raise self._unreachable(target, f"not to be reached from the host before it: {_reason(error)}") from error
        _close_quietly(channel)
        return channel

    def _begin(self, transport: paramiko.Transport, close: Callable[[], None]) -> SftpSession:
        """Begin SFTP on a connection."""
        shown = self._target.shown
        try:
            channel = transport.open_session(window_size=IN_FLIGHT)
            channel.settimeout(self._options.answer_timeout)
            _ask_for_sftp(channel, self._target.connect_timeout)
            return SftpSession(channel, shown, close)
        except ConnectionLost as error:
            raise StorageUnreachable(
                f"{shown}: logged in, but SFTP does not begin: {error.reason}. Is it allowed for this account?",
                transient=self._worked,
            ) from error
        except (*BROKEN, Garbled, Refused) as error:
            raise StorageUnreachable(
                f"{shown}: logged in, but SFTP does not begin: {_reason(error)}. Is it allowed for this account?",
                transient=self._worked,
            ) from error

    def _unreachable(self, target: SshTarget, reason: str) -> StorageUnreachable:
        return StorageUnreachable(f"{target.shown}: {reason}", transient=True)


def parse_authority(text: str) -> tuple[str | None, str, int | None]:
    """`[user@]host[:port]` -> user, host, port. InvalidArgument, without repeating it, for anything else."""
    match = _AUTHORITY.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or port == 0 or (port or 0) >= 1 << 16:
        raise InvalidArgument("not a host of SSH; it is written [user@]host[:port]")
    return match["user"], match["address"] or match["host"], port


def check_host_key(key: paramiko.PKey, target: SshTarget, known: Sequence[KnownKey]) -> None:
    """StorageUnreachable unless this is the key that the host is known by."""
    blob, names = key.asbytes(), _names(target)
    verdict = known_hosts.judge(blob, known)
    if verdict == "known":
        return
    shows = f"{target.shown} shows the host key {key.get_name()} {known_hosts.fingerprint(blob)}"
    if verdict == "revoked":
        raise StorageUnreachable(f"{shows}, which is marked as revoked")
    if verdict == "changed":
        where = ", ".join(each.where for each in known if not each.revoked)
        raise StorageUnreachable(
            f"{shows}, but is known by another one ({where}). Either the host was set up anew, or somebody is in "
            f"between. Ask its owner; if the new key is right, run `ssh-keygen -R '{names[0]}'` and connect once with ssh"
        )
    port = "" if target.port == known_hosts.SSH_PORT else f"-p {target.port} "
    raise StorageUnreachable(
        f"{shows}, which is in no file of known hosts. Compare it with what the host's owner says; if it is right, "
        f"run `ssh {port}{target.user}@{target.host}` once and accept it"
    )


def _names(target: SshTarget) -> tuple[str, ...]:
    if target.host_key_alias:
        return known_hosts.names_of(target.host_key_alias, known_hosts.SSH_PORT)
    return known_hosts.names_of(target.host, target.port)


def _known_keys(target: SshTarget) -> Sequence[KnownKey]:
    try:
        every = known_hosts.read_known_hosts(target.known_hosts)
    except OSError as error:
        raise StorageUnreachable(f"{error.filename}: {error.strerror}; host keys can not be checked") from error
    return known_hosts.keys_of(_names(target), every)


def _prefer(transport: paramiko.Transport, kinds: Sequence[str]) -> None:
    """Ask the host for a key of a kind that is known of it, and for ciphers that are quick here."""
    security = transport.get_security_options()
    known = [kind for each in kinds for kind in (_RSA if each == "ssh-rsa" else (each,))]
    security.key_types = _first(known, security.key_types)
    security.ciphers = _first(_FAST_CIPHERS, security.ciphers)


def _first(wanted: Sequence[str], offered: Sequence[str]) -> tuple[str, ...]:
    """What is offered, in an order that begins with what is wanted."""
    ahead = tuple(dict.fromkeys(each for each in wanted if each in offered))
    return ahead + tuple(each for each in offered if each not in ahead)


def _tune(stream: socket.socket, timeout: float) -> None:
    """Small requests go out at once; a connection whose other end is gone ends, even while it is being written to."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1000))


def _close_quietly(channel: paramiko.Channel) -> None:
    """To close the channel never fails from now on: paramiko also does it in a thread of its own, and would complain."""
    close = channel.close

    def quietly() -> None:
        with suppress(*BROKEN):
            close()

    channel.close = quietly  # type: ignore[method-assign]


def _ask_for_sftp(channel: paramiko.Channel, timeout: float) -> None:
    """Have the server start SFTP. paramiko waits for its answer for ever, hence a thread of its own that may be left."""
    failed: list[Exception] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            channel.invoke_subsystem("sftp")
        except BROKEN as error:
            failed.append(error)
        answered.set()

    in_background(ask)
    if not answered.wait(timeout):
        raise TimeoutError("the server stopped answering")
    if failed:
        raise failed[0]


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
