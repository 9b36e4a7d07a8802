"""How objects are kept in S3: which go to a colder storage class, which are locked against deletion.

Content packs are most of the bytes and are read by nobody until something is restored. All else is small, and is read by
every command; tree packs are what `ls` and a restore begin with.
"""

from __future__ import annotations

from typing import Final

from chunkstore.errors import Damaged, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import PREFIX, ObjectKind, read_prefix
from chunkstore.storage.protocol import Buffer

# What comes and goes: sessions, plans of a prune, the probe of `init`.
_LOCKED: Final = (
    names.CONFIG,
    names.RECIPIENTS,
    names.KEYS,
    names.PACKS,
    "index/",
    names.SNAPSHOTS,
    names.AMENDMENTS,
)


def is_cold(name: str, data: Buffer) -> bool:
    """Whether an object may go to a colder class: a pack whose first bytes say that it holds content."""
    if not name.startswith(names.PACKS):
        return False
    try:
        kind, _ = read_prefix(bytes(memoryview(data).cast("B")[: PREFIX.size]), name)
    except (Damaged, UnsupportedFormat):
        return False
    return kind == ObjectKind.CONTENT_PACK


def is_locked(name: str) -> bool:
    """Whether objects of this name are put under retention where there is one."""
    return name.startswith(_LOCKED)
