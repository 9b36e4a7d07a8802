"""How much a snapshot will have to look at: for the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from chunkstore.parallel import in_background
from chunkstore.progress import Progress
from chunkstore.tree.choosing import Chooser, Choosing
from chunkstore.tree.walk import walk


def estimate(roots: Sequence[bytes], choosing: Choosing, progress: Progress, stack: ExitStack) -> None:
    """Walk ahead in a thread and tell the progress what there is; ends when `stack` does."""
    ended: list[bool] = []
    stack.callback(lambda: ended.append(True))

    def walk_ahead() -> None:
        counted = count(roots, choosing, lambda: bool(ended))
        if counted and not ended:
            progress.total(*counted)

    in_background(walk_ahead)


def count(roots: Sequence[bytes], choosing: Choosing, stop: Callable[[], bool]) -> tuple[int, int] | None:
    """(files, bytes) of all regular files that are chosen of the roots; None when it was stopped."""

    def ignore(path: bytes, error: OSError) -> None:
        """The snapshot itself reports it."""

    files = size = 0
    for _, children in walk(roots, on_error=ignore, choice=Chooser(choosing, ignore)):
        if stop():
            return None
        for _, status in children:
            if status[0] & 0o170000 == 0o100000:
                files += 1
                size += status.st_size
    return files, size
