"""A storage in memory: the reference for what the others have to do, and a quick one for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from chunkstore.errors import ObjectMissing
from chunkstore.storage.protocol import Buffer, ObjectInfo, check_name, check_prefix, check_range


class MemoryStorage:
    """Objects in a dict behind a lock; gone with the process. See `Storage`.

    `clock` gives the time of what is stored, in seconds since 1970; without one no object has a time.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, bytes] = {}
        self._times: dict[str, float] = {}

    @property
    def location(self) -> str:
        return "memory:"

    def put(self, name: str, data: Buffer) -> None:
        check_name(name)
        content = bytes(data)
        with self._lock:
            self._keep(name, content)

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        check_name(name)
        content = bytes(data)
        with self._lock:
            if name in self._objects:
                return False
            self._keep(name, content)
            return True

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        check_name(name)
        check_range(offset, length)
        content = self._content(name)
        return content[offset:] if length is None else content[offset : offset + length]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        with self._lock:
            found = [
                ObjectInfo(name, len(data), self._times.get(name))
                for name, data in self._objects.items()
                if name.startswith(prefix)
            ]
        return iter(sorted(found, key=lambda info: info.name))

    def stat(self, name: str) -> ObjectInfo:
        check_name(name)
        return ObjectInfo(name, len(self._content(name)), self._times.get(name))

    def delete(self, name: str) -> None:
        check_name(name)
        with self._lock:
            self._objects.pop(name, None)
            self._times.pop(name, None)

    def _keep(self, name: str, content: bytes) -> None:
        """Under the lock."""
        self._objects[name] = content
        self._times.pop(name, None)
        if self.clock is not None:
            self._times[name] = self.clock()

    def _content(self, name: str) -> bytes:
        with self._lock:
            content = self._objects.get(name)
        if content is None:
            raise ObjectMissing(name)
        return content
