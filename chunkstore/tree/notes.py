"""What directories are to become when everything in them is written, kept on disk until then."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from chunkstore.format.entries import DIRECTORY, Entry

_LENGTH = 4
_NO_TIME = b"-"


class DirectoryNotes:
    """A stack of (relative path, mode, owner, modification time) in an unnamed file in the directory `scratch`.

    A note is text, so that no number is too large for it, followed by its length, so that it can be read backwards.
    The time of an ancestor is `-`: manifests do not have it.
    An `OSError` of the file is raised as it is.
    """

    def __init__(self, scratch: str | None) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (closed in close)
        self._end = 0

    def push(self, relative: bytes, entry: Entry) -> None:
        """Note what the directory at `relative` is to become."""
        time = _NO_TIME if entry.ancestor else b"%d" % entry.mtime_ns
        note = b"%d %d %d %b %b" % (entry.mode, entry.uid, entry.gid, time, relative)
        self._file.write(note + len(note).to_bytes(_LENGTH, "big"))
        self._end += len(note) + _LENGTH

    def pop_all(self) -> Iterator[tuple[bytes, Entry]]:
        """All notes, the last one first; each is forgotten once it is out."""
        self._file.flush()
        fd = self._file.fileno()
        while self._end:
            length = int.from_bytes(os.pread(fd, _LENGTH, self._end - _LENGTH), "big")
            self._end -= length + _LENGTH
            mode, uid, gid, time, relative = os.pread(fd, length, self._end).split(b" ", 4)
            name = relative.rpartition(b"/")[2]
            mtime_ns, extra = (0, {"ancestor": True}) if time == _NO_TIME else (int(time), None)
            yield relative, Entry(name, DIRECTORY, int(mode), int(uid), int(gid), mtime_ns, 0, 0, 0, 0, extra)
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        """Forget all notes."""
        with suppress(OSError):  # a full disk: what could not be written is not needed any more
            self._file.close()
