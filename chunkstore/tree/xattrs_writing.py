"""Extended attributes onto files, POSIX ACLs among them."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Mapping

CAN_SET = hasattr(os, "setxattr")
ACCESS_ACL = b"system.posix_acl_access"
DEFAULT_ACL = b"system.posix_acl_default"
_OURS = (b"user.", b"trusted.", b"system.posix_acl_", b"security.capability")
"""What a restore removes where an entry does not have it. All else is this machine's: labels, other kinds of ACLs."""

Place = int | bytes
"""An open file, or a path that leads to one."""


def set_xattrs(place: Place, xattrs: Mapping[bytes, bytes]) -> list[bytes]:
    """Set them; the names of those that could not be set."""
    refused = []
    for name, value in xattrs.items():
        try:
            if not CAN_SET:
                raise NotImplementedError
            os.setxattr(place, name, value)
        except (OSError, ValueError, NotImplementedError):
            refused.append(name)
    return refused


def remove_xattrs(place: Place, keep: Iterable[bytes]) -> bool:
    """Remove all others than those to `keep`, but what is this machine's; False if that was not possible for each."""
    try:
        names = list(map(os.fsencode, os.listxattr(place))) if CAN_SET else []
    except OSError:
        return True  # a file system without them
    surplus = [name for name in names if name.startswith(_OURS) and name not in keep]
    try:
        if ACCESS_ACL in surplus:  # without it the group would get what the ACL allowed to anybody in it
            _close_to_others(place)
        for name in surplus:
            os.removexattr(place, name)
    except OSError:
        return False
    return True


def has_xattrs(fd: int, xattrs: Mapping[bytes, bytes]) -> bool:
    """Whether an open file has these, and no others but what is this machine's."""
    if not CAN_SET:
        return not xattrs
    try:
        names = set(map(os.fsencode, os.listxattr(fd)))
        surplus = any(name.startswith(_OURS) for name in names.difference(xattrs))
        return not surplus and all(os.getxattr(fd, name) == value for name, value in xattrs.items())
    except OSError:
        return not xattrs


def has_default_acl(directory: int) -> bool:
    """Whether what is created in the open directory inherits rights."""
    return CAN_SET and bool(_get(directory, DEFAULT_ACL))


def access_acl(fd: int) -> bytes:
    """The ACL of an open file; empty where it has none."""
    return _get(fd, ACCESS_ACL) if CAN_SET else b""


def mode_without_acl(mode: int, acl: bytes) -> int:
    """The permission bits that give nobody more than `mode` with this access ACL does.

    With an ACL the bits of the group in `mode` are the ACL's mask: what it allows at most to anybody named in it. An
    ACL is a version of 4 bytes, then (tag: 2, permissions: 2, id: 4) for each of its lines; tag 4 is the owning group.
    """
    group = 0
    for at in range(4, len(acl) - 7, 8):
        tag, permissions, _ = struct.unpack_from("<HHI", acl, at)
        if tag == 4:
            group = permissions & 7
    return mode & ~0o070 | mode & group << 3


def _get(fd: int, name: bytes) -> bytes:
    try:
        return os.getxattr(fd, name)
    except OSError:
        return b""


def _close_to_others(place: Place) -> None:
    os.chmod(place, 0o700 if stat.S_ISDIR(os.stat(place).st_mode) else 0o600)
