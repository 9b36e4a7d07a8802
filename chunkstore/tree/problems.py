"""What can go wrong while a tree is written, as errors of ours."""

from __future__ import annotations

import errno
import os

from chunkstore.errors import TargetError
from chunkstore.tree.display import display_path


class TargetFull(TargetError):
    """No space, or no quota, is left in the target: unlike other `TargetError`s, nothing that follows can succeed."""


class WriterEnded(TargetFull):
    """The process that writes files is gone, with files that it had been given."""


class NoLink(TargetError):
    """A file can not have a further name here, or is not there any more: a copy has to do."""


def target_error(path: bytes, error: OSError) -> TargetError:
    """`error` as one of ours, about `path`; raise it `from` the error."""
    shown = display_path(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TargetFull(f"{shown}: no space is left for the restore ({_reason(error)})")
    return TargetError(f"{shown}: {_reason(error)}")


def in_the_way(path: bytes, what: str) -> TargetError:
    """`what` stands where `path` is to be written."""
    return TargetError(f"{display_path(path)}: {what} is in the way")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
