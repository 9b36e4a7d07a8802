"""When a long run commits what it has so far."""

from __future__ import annotations

from collections.abc import Callable


class CheckpointSchedule:
    """`due` after so many ns of the clock that is given, if at least one chunk was stored since; 0: never."""

    def __init__(self, every: int, clock: Callable[[], int]) -> None:
        self._every = every
        self._clock = clock
        self.begin_anew(0)

    def begin_anew(self, chunks: int) -> None:
        """The next one is so long from now; so many chunks are stored by now."""
        self._since = self._clock() if self._every else 0
        self._chunks = chunks
        self.due = False

    def look(self, chunks: int) -> None:
        """Called often: whether the time has come, where so many chunks are stored by now. A clock that was set back
        counts as if it had.
        """
        if self._every and chunks != self._chunks:
            self.due = not 0 <= self._clock() - self._since < self._every
