"""Heads and bodies of HTTP/1.1 messages, read from a socket as they are sent."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace

_BLOCK = 64 * 1024


@dataclass(frozen=True)
class Head:
    """The first line and the headers of a request or an answer."""

    first: str
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return next((value for key, value in self.fields if key.lower() == name), "")

    def without(self, *names: str) -> Head:
        return replace(self, fields=tuple(each for each in self.fields if each[0].lower() not in names))

    def encoded(self) -> bytes:
        lines = [self.first, *(f"{key}: {value}" for key, value in self.fields)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


class Stream:
    """A socket and what was read of it too early."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self._rest = b""

    def head(self) -> Head | None:
        """The next head; None at the end."""
        while b"\r\n\r\n" not in self._rest:
            more = self.link.recv(_BLOCK)
            if not more:
                return None
            self._rest += more
        head, self._rest = self._rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        return Head(first, tuple((key, value.strip()) for key, _, value in pairs))

    def exactly(self, size: int) -> bytes:
        """So many bytes; fewer where the other side ended."""
        pieces, left = [], size
        while left:
            piece = self._rest[:left] or self.link.recv(min(left, 1 << 20))
            if not piece:
                break
            self._rest = self._rest[len(piece) :]
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def body(self, head: Head) -> bytes:
        """All of a body, as it is sent: chunks are left as they are."""
        if "chunked" not in head.get("transfer-encoding").lower():
            size = int(head.get("content-length") or 0)
            content = self.exactly(size)
            if len(content) < size:
                raise ConnectionError("the body ended early")
            return content
        raw = b""
        while True:
            line = self._line()
            size = int(line.split(b";")[0], 16)
            raw += line + self.exactly(size + 2)
            if size == 0:
                return raw

    def _line(self) -> bytes:
        while b"\n" not in self._rest:
            more = self.link.recv(_BLOCK)
            if not more:
                raise ConnectionError("the body ended early")
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return line + b"\n"


def status(head: Head) -> int:
    return int(head.first.split(" ", 2)[1])
