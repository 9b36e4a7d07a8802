"""Small files of a large restore are written by another process, so that two processors have work."""

from __future__ import annotations

from chunkstore.operations.restore.underway import File
from chunkstore.tree.overwriting import Overwrite
from chunkstore.tree.target import Target
from chunkstore.tree.writer_process import Writers, Written
from chunkstore.tree.writing import Data

_AFTER = 1000
"""Files that are written here before another process is worth starting."""


class Elsewhere:
    """Hands files to the other process, once there were enough of them; only in targets that were empty.

    Elsewhere nothing can be in the way of a file, so that nothing has to be decided.
    """

    def __init__(self, target: Target, workers: int, after: int = _AFTER) -> None:
        """Without `workers` everything is done here."""
        self._target = target
        self._left = after
        self._off = not workers or target.overwrite is not Overwrite.REFUSE
        self._process: Writers[File] | None = None

    def take(self, file: File, data: Data) -> bool:
        """Whether the file, whole, will be written. Raises `TargetFull`."""
        if self._off:
            return False
        if self._process is None:
            self._left -= 1
            if self._left >= 0:
                return False
            self._process = Writers.start(self._target)
            if self._process is None:
                self._off = True
                return False
        found = file.placed.found
        return self._process.take(file.placed.relative, data, self._target.here(found.entry, found.owners), file)

    def results(self) -> list[Written[File]]:
        """What became of files since the last call."""
        return self._process.results() if self._process else []

    def finish(self) -> list[Written[File]]:
        """The same for all the others: everything is written."""
        return self._process.finish() if self._process else []

    def close(self) -> None:
        """End the other process."""
        if self._process is not None:
            self._process.close()
