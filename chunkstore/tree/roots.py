"""The roots of a walk: what people name as paths, made plain, and what leads to them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from chunkstore.errors import InvalidArgument
from chunkstore.format.entries import components, join

MANY = 64
"""So many roots a snapshot records; of more it records the directory above them all."""


def normalise_roots(paths: Iterable[bytes], cwd: bytes) -> list[bytes]:
    """Absolute, plain paths in manifest order, without duplicates and without paths below another one.

    Raises `InvalidArgument` for a path that can not be.
    """
    roots: list[bytes] = []
    for path in sorted({normalise(path, cwd) for path in paths}, key=components):
        if not roots or not (path + b"/").startswith(roots[-1].rstrip(b"/") + b"/"):
            roots.append(path)
    return roots


def normalise(path: bytes, cwd: bytes) -> bytes:
    """An absolute path in which `.` and `..` are resolved by their letters alone.

    A symbolic link stays what it is, unless it is written with a slash at its end: then it is the place it leads to.
    Raises `InvalidArgument` for what is no path.
    """
    if not path or b"\0" in path or not cwd.startswith(b"/"):
        raise InvalidArgument(f"not a path: {os.fsdecode(path)!r}")
    plain = b"/" + os.path.normpath(os.path.join(cwd, path)).lstrip(b"/")  # POSIX lets normpath keep `//`
    if path.endswith((b"/", b"/.")) and os.path.islink(plain):
        return os.path.realpath(plain)
    return plain


def ancestors(roots: Iterable[bytes]) -> frozenset[bytes]:
    """The directories above the roots, from `/` on; a root is none."""
    return frozenset(leads_to(roots))


def leads_to(roots: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Each directory above the roots -> the names in it that lead to one, ascending."""
    leads: dict[bytes, set[bytes]] = {}
    for root in roots:
        path = b"/"
        for name in components(root):
            leads.setdefault(path, set()).add(name)
            path = join(path, name)
    return {path: sorted(names) for path, names in leads.items()}


def recorded_roots(roots: Sequence[bytes]) -> list[bytes]:
    """What a snapshot of these roots says that it is of: them, or where they are `MANY` the deepest directory above."""
    if len(roots) <= MANY:
        return list(roots)
    first, last = min(map(components, roots)), max(map(components, roots))
    common = b"/"
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        common = join(common, one)
    return [common]
