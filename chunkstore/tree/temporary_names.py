"""The names that files have while they are being written."""

from __future__ import annotations

import re
from hashlib import blake2b

from chunkstore.errors import TargetError
from chunkstore.tree.display import display_path

_TEMPORARY = re.compile(rb"\.chunkstore-[0-9a-f]{16}\.partial")


def temporary_name(name: bytes) -> bytes:
    """The same for the same `name`, so that an interrupted restore finds again what it began."""
    return b".chunkstore-%b.partial" % blake2b(name, digest_size=8).hexdigest().encode()


def is_temporary(name: bytes) -> bool:
    """Whether a file of this name may be what an interrupted restore left."""
    return _TEMPORARY.fullmatch(name) is not None


class Claims:
    """Keeps entries that have such a name themselves, from the snapshot of an interrupted restore, apart from ours."""

    def __init__(self) -> None:
        self._claimed: set[bytes] = set()
        self._used: set[bytes] = set()

    def claim(self, relative: bytes) -> None:
        """Say that an entry is to be at `relative`. Raises `TargetError` if a file is just being written there."""
        if relative.endswith(b".partial") and is_temporary(relative.rpartition(b"/")[2]):
            if relative in self._used:
                raise TargetError(f"{display_path(relative)}: the name is in use for a file that is being written")
            self._claimed.add(relative)

    def temporary(self, relative: bytes) -> bytes:
        """The path, beside `relative`, of the temporary file for it; no entry has it, nor another file."""
        parent, slash, name = relative.rpartition(b"/")
        path = parent + slash + temporary_name(name)
        while path in self._claimed or path in self._used:
            name += b"/"  # which no name contains
            path = parent + slash + temporary_name(name)
        return path

    def use(self, temporary: bytes) -> None:
        """Say that a file is being written at this path, until it is `free`d."""
        self._used.add(temporary)

    def free(self, temporary: bytes) -> None:
        self._used.discard(temporary)
