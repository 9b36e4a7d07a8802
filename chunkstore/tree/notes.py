"""What is left to do when everything is written, kept on disk until then."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from chunkstore.format.entries import Entry

_LENGTH = 4


class Notes:
    """A stack of (relative path, what its entry says of attributes) in an unnamed file in the directory `scratch`.

    A note is JSON, so that no number is too large for it, with bytes as the first 256 characters, followed by its
    length, so that it can be read backwards. An `OSError` of the file is raised as it is.
    """

    def __init__(self, scratch: str | None) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (closed in close)
        self._end = 0

    def push(self, relative: bytes, entry: Entry) -> None:
        """Note what is to become of what is at `relative`."""
        extra = {key: value for key, value in (entry.extra or {}).items() if key in ("ancestor", "flags", "atime")}
        xattrs = {_text(name): _text(value) for name, value in entry.xattrs.items()}
        fields = [entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime_ns]
        note = json.dumps([_text(relative), fields, extra, xattrs], ensure_ascii=False).encode()
        self._file.write(note + len(note).to_bytes(_LENGTH, "big"))
        self._end += len(note) + _LENGTH

    def pop_all(self) -> Iterator[tuple[bytes, Entry]]:
        """All notes, the last one first; each is forgotten once it is out."""
        self._file.flush()
        fd = self._file.fileno()
        while self._end:
            length = int.from_bytes(os.pread(fd, _LENGTH, self._end - _LENGTH), "big")
            self._end -= length + _LENGTH
            yield _read(os.pread(fd, length, self._end))
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        """Forget all notes."""
        with suppress(OSError):  # a full disk: what could not be written is not needed any more
            self._file.close()


def _read(note: bytes) -> tuple[bytes, Entry]:
    path, (kind, mode, uid, gid, mtime_ns), extra, xattrs = json.loads(note)
    relative = _bytes(path)
    if xattrs:
        extra["xattrs"] = {_bytes(name): _bytes(value) for name, value in xattrs.items()}
    name = relative.rpartition(b"/")[2]
    return relative, Entry(name, kind, mode, uid, gid, mtime_ns, 0, 0, 0, 0, extra or None)


def _text(data: Any) -> str:
    return bytes(data).decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
