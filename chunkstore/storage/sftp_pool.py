"""A few sessions that threads share: each takes one for a while, and makes one when none is free."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chunkstore.storage.sftp_session import ConnectionLost, SftpSession


class SessionPool:
    """At most `size` sessions at a time; who comes then waits for his turn. A session that broke is not given out again."""

    def __init__(self, connect: Callable[[], SftpSession], size: int) -> None:
        self._connect = connect
        self.size = size
        self._turns = _Turns(size)
        # One after the other: servers refuse those who open many connections at once (MaxStartups of sshd).
        self._connecting = threading.Lock()
        self._lock = threading.Lock()
        self._free: list[SftpSession] = []

    @contextmanager
    def session(self) -> Iterator[SftpSession]:
        """A session for the block alone. Never take a second one inside it: there may be just one."""
        with self._turns.turn():
            session = self._take()
            try:
                yield session
            except ConnectionLost:
                self.close()  # the others have most likely broken with it
                raise
            finally:
                self._give_back(session)

    def close(self) -> None:
        """Close the sessions that are free; the pool can be used further."""
        with self._lock:
            free, self._free = self._free, []
        for session in free:
            session.close()

    def _take(self) -> SftpSession:
        """The session that was used last, or a new one."""
        if session := self._take_free():
            return session
        with self._connecting:
            return self._take_free() or self._connect()

    def _take_free(self) -> SftpSession | None:
        with self._lock:
            return self._free.pop() if self._free else None

    def _give_back(self, session: SftpSession) -> None:
        if not session.idle:
            session.close()
            return
        with self._lock:
            self._free.append(session)


class _Turns:
    """A semaphore that is fair. With the one of `threading`, who comes back at once keeps the others waiting."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._count = count
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        mine = threading.Event()
        with self._lock:
            if self._count:
                self._count -= 1
                mine.set()
            else:
                self._waiting.append(mine)
        try:
            mine.wait()
            yield
        finally:
            self._end(mine)

    def _end(self, mine: threading.Event) -> None:
        """Hand the turn on; give up waiting for it, if an interruption came before it."""
        with self._lock:
            if not mine.is_set():
                self._waiting.remove(mine)
            elif self._waiting:
                self._waiting.popleft().set()
            else:
                self._count += 1
