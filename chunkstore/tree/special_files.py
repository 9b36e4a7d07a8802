"""Pipes and devices."""

from __future__ import annotations

import errno
import os
import stat

from chunkstore.errors import InvalidArgument
from chunkstore.format.entries import BLOCK_DEVICE, CHARACTER_DEVICE, FIFO, Entry

_TYPES = {CHARACTER_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}


def make_special_file(name: bytes, directory: int, entry: Entry) -> None:
    """Create the pipe or device that `entry` is, for its owner alone. Raises `OSError`.

    Numbers of a device that this system has not, and may cut off, are an error: it would be another device.
    """
    if entry.kind == FIFO:
        os.mkfifo(name, 0o600, dir_fd=directory)
        return
    if entry.kind not in _TYPES:
        raise InvalidArgument("neither a pipe nor a device")
    if entry.device is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    try:
        device = os.makedev(*entry.device)
    except OverflowError:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None
    os.mknod(name, 0o600 | _TYPES[entry.kind], device, dir_fd=directory)
    made = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if (os.major(made.st_rdev), os.minor(made.st_rdev)) != entry.device:
        os.unlink(name, dir_fd=directory)
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
