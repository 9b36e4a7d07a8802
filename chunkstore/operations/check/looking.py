"""Reading objects one after the other, for a check: what can not be read is reported, and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from chunkstore.errors import Damaged, ObjectMissing, UnsupportedFormat
from chunkstore.format import envelope
from chunkstore.format.kinds import ObjectKind
from chunkstore.operations.check.findings import Finding, Kind, Report, damage, reason
from chunkstore.operations.check.names import kind_of
from chunkstore.parallel import ordered_map
from chunkstore.progress import Progress
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.storage import ObjectInfo

T = TypeVar("T")

_LARGEST: Final = envelope.MAX_BODY + (1 << 20)
"""Bytes: no object but a pack is larger, so nothing larger is fetched."""
Unreadable = Damaged | UnsupportedFormat | ObjectMissing


@dataclass(frozen=True, slots=True)
class Looking:
    """What everything that looks needs. `directory`: for temporary files."""

    repository: Repository
    around: Surroundings
    progress: Progress
    report: Report
    directory: Path

    def readable(
        self,
        prefix: str,
        kind: Kind,
        read: Callable[[ObjectInfo, bytes], T],
        finding: Callable[[str, str], Finding] | None = None,
    ) -> Iterator[tuple[ObjectInfo, T]]:
        """The objects of this kind below `prefix`, as `read` takes them; it may run in any thread.

        Others are reported, as `finding(name, why)` puts it. One that went away since it was listed is nobody's fault.
        """
        make = finding or (lambda name, why: damage(kind, name, why))
        listed = (info for info in self.repository.storage.list(prefix) if kind_of(info.name) is kind)
        for info, found in self.attempts(listed, read, 2 * self.around.workers):
            if not isinstance(found, Unreadable):
                yield info, found
            elif not isinstance(found, ObjectMissing) or self.is_listed(info.name):
                self.report(make(info.name, reason(found)))

    def attempts(
        self, infos: Iterator[ObjectInfo], read: Callable[[ObjectInfo, bytes], T], window: int
    ) -> Iterator[tuple[ObjectInfo, T | Unreadable]]:
        """Each object as `read` takes it, or why it can not be had."""

        def attempt(info: ObjectInfo) -> tuple[ObjectInfo, T | Unreadable]:
            try:
                if info.size > _LARGEST:
                    raise Damaged(f"has {info.size} bytes, more than any such object may have")
                return info, read(info, self.repository.storage.get(info.name))
            except (Damaged, UnsupportedFormat, ObjectMissing) as e:
                return info, e

        yield from ordered_map(attempt, infos, self.around.workers, window, "check")

    def body(self, info: ObjectInfo, data: bytes, *kinds: ObjectKind) -> tuple[ObjectKind, bytes]:
        """(kind, body) of a ledger object."""
        return envelope.unseal(data, info.name, kinds, self.repository.key)

    def is_listed(self, name: str) -> bool:
        """Whether the storage lists it now."""
        return any(info.name == name for info in self.repository.storage.list(name))

    def is_there(self, name: str) -> bool:
        """Whether the storage has it now, listed or not."""
        try:
            self.repository.storage.stat(name)
        except ObjectMissing:
            return False
        return True
