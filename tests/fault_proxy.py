"""An HTTP proxy in front of a server that spoils what it is told to spoil, and counts what goes through.

It passes every header on, the host's too, so that signatures stay valid: a client uses its address as the endpoint.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from urllib.parse import parse_qs, unquote, urlsplit

from tests.http_messages import Head, Stream, status

_PATIENCE_S = 60.0
_ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>a fault</Message></Error>"
_CODES = {500: "InternalError", 503: "SlowDown"}


class Trouble(Enum):
    """What is done to a request or its answer."""

    STATUS = "an answer with an error status; the server sees nothing"
    RESET_BEFORE = "a reset after the head of the request; the server sees nothing"
    RESET_IN_REQUEST = "a reset after `at` bytes of the body; the server sees so many and no more"
    LOST_ANSWER = "the server does the work, then a reset"
    TRUNCATED_ANSWER = "the answer ends after `at` bytes of its body, in a clean way"
    RESET_IN_ANSWER = "the same with a reset"
    CORRUPT_REQUEST = "the bit at byte `at` of the body is another when the server gets it"
    CORRUPT_ANSWER = "the bit at byte `at` of the body is another when the client gets it"
    STALL = "nothing at all for `seconds`, then all is well"
    THROTTLE = "the bodies pass at `rate` bytes a second"


@dataclass(frozen=True, slots=True)
class Rule:
    """Some of the requests whose method and target fit: after `skip` of them, `times` of them.

    `method` must match whole, `target` (path and query, %-decoded) somewhere; both are regular expressions. A body of at
    most `at` bytes is spoilt at its end.
    """

    trouble: Trouble
    method: str = ".*"
    target: str = ""
    skip: int = 0
    times: int = 1
    status: int = 503
    at: int = 0
    seconds: float = 0.0
    rate: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Passed:
    """A request that came: what it was, what came of it, bytes of bodies. `status` 0: no answer was given."""

    method: str
    target: str
    status: int
    sent: int
    received: int
    trouble: Trouble | None

    @property
    def verb(self) -> str:
        """PUT, GET, HEAD, DELETE; LIST for a listing; POST for a batch of deletions."""
        return "LIST" if "list-type" in parse_qs(urlsplit(self.target).query, keep_blank_values=True) else self.method

    def kind(self, prefix: str = "") -> str:
        """The kind of object: the first segment of its name below `prefix` (bucket, slash, prefix), or of the listing."""
        parts = urlsplit(self.target)
        if self.verb == "LIST":
            start = prefix.partition("/")[2]
            return parse_qs(parts.query).get("prefix", [""])[0].removeprefix(start).split("/")[0]
        return unquote(parts.path).lstrip("/").removeprefix(prefix).split("/")[0]


@dataclass
class _State:
    """What the connections share."""

    rules: list[Rule] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class FaultProxy:
    """Listens on a free port of this machine while it is open; see `proxied`."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self._state = _State()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def spoil(self, *rules: Rule) -> None:
        """Add rules; of those that fit a request the first one counts."""
        with self._state.lock:
            self._state.rules += rules

    def heal(self) -> None:
        """Forget all rules."""
        with self._state.lock:
            self._state.rules.clear()

    @property
    def pending(self) -> Sequence[Rule]:
        """The rules that have not done all they were to do."""
        with self._state.lock:
            return tuple(self._state.rules)

    @property
    def passed(self) -> Sequence[Passed]:
        """All requests since the beginning, or since `forget`, in the order in which they ended."""
        with self._state.lock:
            return tuple(self._state.passed)

    def forget(self) -> None:
        """Count from zero."""
        with self._state.lock:
            self._state.passed.clear()

    def counts(self, prefix: str = "") -> Counter[tuple[str, str]]:
        """(verb, kind of object) -> number of requests."""
        return Counter((each.verb, each.kind(prefix)) for each in self.passed)

    # -- connections

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            with self._state.lock:
                self._open.add(client)
                self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        connection = _Connection(client, self.target, self._state, self._closing)
        # Whatever breaks: the client sees a connection that ends, as it would without us.
        with suppress(OSError, ValueError):
            while connection.exchange():
                pass
        connection.close()
        with self._state.lock:
            self._open.discard(client)

    def open(self) -> None:
        """Begin to listen."""
        thread = threading.Thread(target=self._accept, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """End all connections and threads."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._state.lock:
            sockets, threads = [*self._open], [*self._threads]
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(timeout=5)


@contextmanager
def proxied(endpoint: str) -> Iterator[FaultProxy]:
    """A proxy in front of `http://host:port`."""
    parts = urlsplit(endpoint)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = FaultProxy(parts.hostname, parts.port)
    proxy.open()
    try:
        yield proxy
    finally:
        proxy.close()


class _Connection:
    """One client and its own connection to the server."""

    def __init__(self, client: socket.socket, target: tuple[str, int], state: _State, closing: threading.Event) -> None:
        client.settimeout(_PATIENCE_S)
        self._client = Stream(client)
        self._target = target
        self._server: Stream | None = None
        self._state = state
        self._closing = closing
        self._noted = False

    def close(self) -> None:
        for stream in (self._client, self._server):
            if stream is not None:
                stream.link.close()

    def exchange(self) -> bool:
        """One request and its answer. False: the connection has ended."""
        head = self._client.head()
        if head is None:
            return False
        method, target, _ = head.first.split(" ", 2)
        rule = self._rule(method, unquote(target))
        self._noted = False
        passed = Passed(method, target, 0, 0, 0, rule.trouble if rule else None)
        try:
            return self._answer(head, passed, rule)
        finally:
            self._note(passed)

    def _note(self, passed: Passed) -> None:
        """Write down what comes of a request, once, before the client can know it."""
        if not self._noted:
            self._noted = True
            with self._state.lock:
                self._state.passed.append(passed)

    def _rule(self, method: str, target: str) -> Rule | None:
        with self._state.lock:
            for place, rule in enumerate(self._state.rules):
                if not (re.fullmatch(rule.method, method) and re.search(rule.target, target)):
                    continue
                if rule.skip:
                    self._state.rules[place] = replace(rule, skip=rule.skip - 1)
                    continue
                if rule.times > 1:
                    self._state.rules[place] = replace(rule, times=rule.times - 1)
                else:
                    del self._state.rules[place]
                return rule
        return None

    def _answer(self, head: Head, passed: Passed, rule: Rule | None) -> bool:
        trouble = rule.trouble if rule else None
        if trouble is Trouble.RESET_BEFORE:
            return self._reset(passed)
        if rule and trouble is Trouble.STALL:
            self._closing.wait(rule.seconds)
        if head.get("expect"):
            self._client.link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._client.body(head)
        passed = replace(passed, sent=len(body))
        if rule and trouble is Trouble.STATUS:
            self._note(replace(passed, status=rule.status))
            self._refuse(rule.status, passed.method)
            return True
        if rule and trouble is Trouble.CORRUPT_REQUEST:
            body = _flipped(body, rule.at)
        server = self._connected()
        server.link.sendall(head.without("expect").encoded())
        if rule and trouble is Trouble.RESET_IN_REQUEST:
            server.link.sendall(body[: min(rule.at, len(body) - 1)])
            return self._reset(passed)
        self._send(server.link, body, rule)
        answer = self._final_head(server)
        content = b"" if passed.method == "HEAD" or status(answer) in (204, 304) else server.body(answer)
        passed = replace(passed, received=len(content))
        if trouble is Trouble.LOST_ANSWER:
            return self._reset(passed)
        self._note(replace(passed, status=status(answer)))
        return self._pass_on(answer, content, rule, passed)

    def _pass_on(self, answer: Head, content: bytes, rule: Rule | None, passed: Passed) -> bool:
        """Give the answer to the client, spoilt or not."""
        client = self._client.link
        client.sendall(answer.encoded())
        if rule and rule.trouble in (Trouble.TRUNCATED_ANSWER, Trouble.RESET_IN_ANSWER):
            client.sendall(content[: min(rule.at, max(len(content) - 1, 0))])
            return self._reset(passed) if rule.trouble is Trouble.RESET_IN_ANSWER else False
        if rule and rule.trouble is Trouble.CORRUPT_ANSWER:
            content = _flipped(content, rule.at)
        self._send(client, content, rule)
        return answer.get("connection").lower() != "close"

    def _final_head(self, server: Stream) -> Head:
        while (head := server.head()) is not None:
            if status(head) >= 200:
                return head
        raise ConnectionError("the server gave no answer")

    def _connected(self) -> Stream:
        """The connection to the server. Each request has one of its own: an idle one may have been closed."""
        if self._server is not None:
            self._server.link.close()
        link = socket.create_connection(self._target, timeout=_PATIENCE_S)
        self._server = Stream(link)
        return self._server

    def _refuse(self, status: int, method: str) -> None:
        content = _ERROR.format(code=_CODES.get(status, "Error")).encode()
        head = f"HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {len(content)}\r\n\r\n"
        self._client.link.sendall(head.encode() + (b"" if method == "HEAD" else content))

    def _send(self, link: socket.socket, content: bytes, rule: Rule | None) -> None:
        if rule is None or rule.trouble is not Trouble.THROTTLE:
            link.sendall(content)
            return
        piece = max(rule.rate // 10, 1)
        for start in range(0, len(content), piece):
            link.sendall(content[start : start + piece])
            time.sleep(piece / rule.rate)

    def _reset(self, passed: Passed) -> bool:
        """End the client's connection as a machine that knows nothing of it does."""
        self._note(passed)
        self._client.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def _flipped(body: bytes, at: int) -> bytes:
    if not body:
        return body
    changed = bytearray(body)
    changed[min(at, len(body) - 1)] ^= 1
    return bytes(changed)
