"""What a long run tells while it is under way. Verbs call it; the command line draws it; tests pass `Silent`."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from the thread that decides, often: an implementation that draws must limit its own rate."""

    def total(self, files: int, size: int) -> None:
        """What there is to do in all, in files and bytes, as far as it is known."""

    def advance(self, files: int, size: int) -> None:
        """So much more is done."""

    def current(self, path: bytes) -> None:
        """What is being worked on."""

    def stored(self, path: bytes, size: int, new: bool) -> None:
        """A file of so many bytes is stored: `new`, or changed since the last snapshot."""

    def warn(self, message: str) -> None:
        """Something a person should know; the run goes on."""


class Silent:
    """Says nothing; keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def total(self, files: int, size: int) -> None:
        pass

    def advance(self, files: int, size: int) -> None:
        pass

    def current(self, path: bytes) -> None:
        pass

    def stored(self, path: bytes, size: int, new: bool) -> None:
        pass

    def warn(self, message: str) -> None:
        self.warnings.append(message)
