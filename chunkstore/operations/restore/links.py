"""Files with several names: the first is restored, the others become links to it when everything is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from chunkstore.format.entries import DIRECTORY, FILE, Entry
from chunkstore.operations.link_fingerprint import link_fingerprint
from chunkstore.operations.restore.compare import Present, Verdict, is_of_kind, is_same_time, judge
from chunkstore.operations.selection import Placed
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.tree.link_groups import LinkGroups
from chunkstore.tree.overwriting import Overwrite

_LENGTH = 8


class Later(NamedTuple):
    """A name that is to become a link, in the target and in the snapshot, and the first name of its file."""

    relative: bytes
    path: bytes
    first: bytes
    number: int


class Links:
    """Remembers first names and those that wait, in temporary files in `scratch`."""

    def __init__(self, manifest: ManifestReader, scratch: str | None) -> None:
        self._manifest = manifest
        self._groups = LinkGroups(scratch)
        self._later = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  closed in close

    def first(self, placed: Placed) -> bytes | None:
        """Where the same file has been placed already; None for the first name, and for those that only claim to be it."""
        entry = placed.found.entry
        if entry.link is None or entry.kind == DIRECTORY:
            return None
        return self._groups.first(entry.link, placed.relative, link_fingerprint(self._manifest, placed.found))

    def wait(self, placed: Placed, first: bytes, number: int) -> None:
        """Have a name wait for the file at `first`."""
        for part in (placed.relative, placed.found.path, first, b"%d" % number):
            self._later.write(len(part).to_bytes(_LENGTH, "big") + part)

    def waiting(self) -> Iterator[tuple[Later, Placed]]:
        """What waits, in the order in which it came, with its entry. Nothing more may come to wait by then."""
        self._later.seek(0)
        while (relative := self._part()) is not None:
            path, first, number = (self._part() or b"" for _ in range(3))
            found = self._manifest.find(path)
            if found is not None:
                yield Later(relative, path, first, int(number)), Placed(relative, found)

    def close(self) -> None:
        """Forget everything."""
        self._groups.close()
        self._later.close()

    def _part(self) -> bytes | None:
        length = self._later.read(_LENGTH)
        return self._later.read(int.from_bytes(length, "big")) if length else None


def judge_link(present: Present, later: Later, entry: Entry, overwrite: Overwrite) -> Verdict:
    """What to do about a name that waited: `MAKE` it a link, or it is the `SAME` already, or `KEEP` what is there.

    `COMPARE`: the first one is not what was to be restored there, so this one is restored by itself.
    """
    first, here = present.status(later.first), present.status(later.relative)
    if first is not None and here is not None and os.path.samestat(first, here):
        return Verdict.SAME
    if judge(entry, here, overwrite) is Verdict.KEEP:
        return Verdict.KEEP
    return Verdict.MAKE if first is not None and _is_restored(entry, first) else Verdict.COMPARE


def _is_restored(entry: Entry, first: os.stat_result) -> bool:
    if not is_of_kind(entry.kind, first) or (entry.kind == FILE and first.st_size != entry.size):
        return False
    return is_same_time(first.st_mtime_ns, entry.mtime_ns)
