"""One SFTP session over one channel: requests out, answers in, many of them under way at once.

paramiko's own client moves 32 KiB a request, throws away which extensions a server offers and what it answered, and
starts a thread for each read-ahead. This one starts none, and asks for as much as the server allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from paramiko import SSHException

from chunkstore.errors import StorageUnreachable
from chunkstore.storage import sftp_packets as packets
from chunkstore.storage.sftp_packets import Attributes, Fields, Garbled, Kind, Refused, string, u32

FSYNC: Final = b"fsync@openssh.com"
HARDLINK: Final = b"hardlink@openssh.com"
LIMITS: Final = b"limits@openssh.com"
POSIX_RENAME: Final = b"posix-rename@openssh.com"
STATVFS: Final = b"statvfs@openssh.com"

# What every server takes; OpenSSH 8.5 and later say that they take 255 KiB.
_SMALL_TRANSFER: Final = 32 * 1024
_LARGE_TRANSFER: Final = 255 * 1024
IN_FLIGHT: Final = 4 << 20
"""Bytes that were asked for or sent and have no answer yet; also the window of the channel."""

_SEND_AT_ONCE: Final = 32 * 1024


class ConnectionLost(StorageUnreachable):
    """The connection broke, or the server does not answer any more. Another connection may work."""

    def __init__(self, shown: str, reason: str) -> None:
        super().__init__(f"{shown}: the connection broke: {reason}", transient=True)
        self.reason = reason


BROKEN: Final = (OSError, EOFError, SSHException)
"""What paramiko raises when a connection does."""


class Pipe(Protocol):
    """What is needed of a channel of paramiko."""

    def send(self, s: bytes, /) -> int: ...

    def recv(self, nbytes: int, /) -> bytes: ...


class SftpSession:
    """Requests of one thread at a time. Errors: Refused, Garbled, ConnectionLost (with `shown`, the server's name).

    After an error that left answers outstanding the session is not `idle` and is of no more use.
    """

    def __init__(self, pipe: Pipe, shown: str, close: Callable[[], None]) -> None:
        self._pipe = pipe
        self._shown = shown
        self.close: Final = close
        self._number = 0
        self._outstanding: set[int] = set()
        self._early: dict[int, tuple[int, Fields]] = {}
        self._broken = False
        self.extensions: Final = self._greet()
        self.transfer: Final = self._transfer_size()

    @property
    def idle(self) -> bool:
        """Whether the session can take the next request, and nothing is left from the last one."""
        return not self._broken and not self._outstanding

    # -- requests and answers

    def post(self, kind: Kind, *fields: bytes | memoryview) -> int:
        """Send a request; its number, for `answer`."""
        self._number = (self._number + 1) & 0xFFFFFFFF
        self._outstanding.add(self._number)
        self._send(kind, u32(self._number), *fields)
        return self._number

    def answer(self, number: int) -> tuple[int, Fields]:
        """The answer to a request, which may be a refusal."""
        while number not in self._early:
            kind, fields = self._receive()
            got = fields.u32()
            if got not in self._outstanding or got in self._early:
                raise self.garbled("an answer to nothing")
            self._early[got] = (kind, fields)
        self._outstanding.discard(number)
        return self._early.pop(number)

    def fields(self, number: int, kind: Kind) -> Fields:
        """The answer to a request, which must be of a kind."""
        answered, fields = self.answer(number)
        if answered == kind:
            return fields
        refusal = fields.refusal() if answered == Kind.STATUS else None
        raise refusal or self.garbled("an answer of the wrong kind")

    def finish(self, number: int) -> None:
        """Take the answer to a request that has only a status."""
        if refusal := self.refusal(number):
            raise refusal

    def refusal(self, number: int) -> Refused | None:
        """The answer to a request that has only a status; None: it was done."""
        kind, fields = self.answer(number)
        if kind != Kind.STATUS:
            raise self.garbled("an answer of the wrong kind")
        return fields.refusal()

    def call(self, kind: Kind, *fields: bytes) -> None:
        """A request that has only a status, and its answer."""
        self.finish(self.post(kind, *fields))

    def extended(self, name: bytes, *fields: bytes) -> None:
        """A request that the server offers beyond the standard, with its answer."""
        self.call(Kind.EXTENDED, string(name), *fields)

    # -- files

    def open(self, path: bytes, flags: int, attributes: bytes = packets.NO_ATTRIBUTES) -> bytes:
        """A handle."""
        number = self.post(Kind.OPEN, string(path), u32(flags), attributes)
        return self.fields(number, Kind.HANDLE).string()

    def stat(self, path: bytes, *, follow: bool = True) -> Attributes:
        kind = Kind.STAT if follow else Kind.LSTAT
        return self.fields(self.post(kind, string(path)), Kind.ATTRS).attributes()

    def close_all(self, handles: Iterable[bytes]) -> None:
        """Close handles; that one can not be closed is no matter."""
        for number in [self.post(Kind.CLOSE, string(handle)) for handle in handles]:
            self.refusal(number)

    def free_bytes(self, path: bytes) -> int | None:
        """How much an ordinary user can still write to the file system of `path`; None where the server does not tell."""
        if STATVFS not in self.extensions:
            return None
        fields = self.fields(self.post(Kind.EXTENDED, string(STATVFS), string(path)), Kind.EXTENDED_REPLY)
        _, fragment, _, _, available, _, _, names = (fields.u64() for _ in range(8))
        return fragment * available if names else 0

    # -- the connection

    def _greet(self) -> frozenset[bytes]:
        """Begin; the names of the extensions that the server offers."""
        self._send(Kind.INIT, u32(packets.VERSION))
        kind, fields = self._receive()
        if kind != Kind.VERSION or fields.u32() < packets.VERSION:
            raise self.garbled("SFTP version 3 is needed")
        return frozenset(name for name, _ in fields.pairs())

    def _transfer_size(self) -> int:
        """How many bytes a request may move."""
        if LIMITS not in self.extensions:
            return _SMALL_TRANSFER
        fields = self.fields(self.post(Kind.EXTENDED, string(LIMITS)), Kind.EXTENDED_REPLY)
        packet, read, write = fields.u64(), fields.u64(), fields.u64()
        # 0 says that there is no limit. A packet holds a handle and numbers too.
        offered = [size for size in (packet - 1024 if packet else 0, read, write) if size > 0]
        return max(_SMALL_TRANSFER, min(_LARGE_TRANSFER, *offered))

    def _send(self, kind: Kind, *fields: bytes | memoryview) -> None:
        length = 1 + sum(map(len, fields))
        packet = memoryview(b"".join((packets.HEADER.pack(length, kind), *fields)))
        try:
            while packet:
                # Cut here: paramiko would copy the whole rest for each piece it sends.
                sent = self._pipe.send(bytes(packet[:_SEND_AT_ONCE]))
                if not sent:
                    raise self._lost("the server closed it")
                packet = packet[sent:]
        except BROKEN as error:
            raise self._lost(_reason(error)) from error

    def _receive(self) -> tuple[int, Fields]:
        length, kind = packets.HEADER.unpack(self._exactly(packets.HEADER.size))
        if not 5 <= length <= packets.MOST_BYTES:
            raise self.garbled("a packet of an impossible length; does the account's shell print something?")
        return kind, Fields(self._exactly(length - 1))

    def _exactly(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while size > 0:
            try:
                piece = self._pipe.recv(size)
            except BROKEN as error:
                raise self._lost(_reason(error)) from error
            if not piece:
                raise self._lost("the server closed it")
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _lost(self, reason: str) -> ConnectionLost:
        self._broken = True
        return ConnectionLost(self._shown, reason)

    def garbled(self, what: str) -> Garbled:
        """The error for what must not be in an answer; the session is of no more use."""
        self._broken = True
        return Garbled(f"what the server sends is not SFTP: {what}")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the server stopped answering"
    return str(error) or type(error).__name__
