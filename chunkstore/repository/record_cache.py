"""Snapshot records and amendments, kept on this machine as they are stored: sealed.

Objects of these kinds are never replaced, so that name and length say which one it is; what is in the cache is authenticated
each time it is used, as if it came from the storage. So a listing is all that `snapshots` asks the storage for, and new
objects; and a copy that is not what it was is fetched again. Nothing here is flushed: a power cut costs a request.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chunkstore.repository.places import make_private_directory


@dataclass(frozen=True, slots=True)
class RecordCache:
    """Files below `directory`, by the names of their objects. Trouble with them is as if they were not there."""

    directory: Path

    def get(self, name: str, size: int) -> bytes | None:
        """What is here of an object that is `size` bytes long; None when there is nothing of that length."""
        try:
            data = (self.directory / name).read_bytes()
        except OSError:
            return None
        return data if len(data) == size else None

    def put(self, name: str, data: bytes) -> None:
        """Keep a copy of an object."""
        path = self.directory / name
        with contextlib.suppress(OSError):
            make_private_directory(path.parent)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise

    def names(self, prefix: str) -> list[str]:
        """The names of the objects below `prefix` (`snapshots/`) that are here."""
        with contextlib.suppress(OSError):
            return [prefix + name for name in os.listdir(self.directory / prefix) if not name.startswith(".new-")]
        return []

    def keep_only(self, prefix: str, names: Iterable[str]) -> None:
        """Forget all objects below `prefix` (`snapshots/`) but these: the others are gone from the storage."""
        kept = {name[len(prefix) :] for name in names}
        with contextlib.suppress(OSError):
            for name in os.listdir(self.directory / prefix):
                if name not in kept and not name.startswith(".new-"):
                    (self.directory / prefix / name).unlink(missing_ok=True)
