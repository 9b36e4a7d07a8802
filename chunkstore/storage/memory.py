"""A storage in memory: the reference for what the others have to do, and a quick one for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from chunkstore.errors import ObjectMissing
from chunkstore.storage.protocol import Buffer, ObjectInfo, check_name, check_prefix, check_range


class MemoryStorage:
    """Objects in a dict behind a lock; gone with the process. See `Storage`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, bytes] = {}

    @property
    def location(self) -> str:
        return "memory:"

    def put(self, name: str, data: Buffer) -> None:
        check_name(name)
        content = bytes(data)
        with self._lock:
            self._objects[name] = content

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        check_name(name)
        content = bytes(data)
        with self._lock:
            if name in self._objects:
                return False
            self._objects[name] = content
            return True

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        check_name(name)
        check_range(offset, length)
        content = self._content(name)
        return content[offset:] if length is None else content[offset : offset + length]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        with self._lock:
            found = [ObjectInfo(name, len(data)) for name, data in self._objects.items() if name.startswith(prefix)]
        return iter(sorted(found, key=lambda info: info.name))

    def stat(self, name: str) -> ObjectInfo:
        check_name(name)
        return ObjectInfo(name, len(self._content(name)))

    def delete(self, name: str) -> None:
        check_name(name)
        with self._lock:
            self._objects.pop(name, None)

    def _content(self, name: str) -> bytes:
        with self._lock:
            content = self._objects.get(name)
        if content is None:
            raise ObjectMissing(name)
        return content
