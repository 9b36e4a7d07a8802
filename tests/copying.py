"""Two repositories and a machine that is a client of both: for tests of copies."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import Snapshot, snapshots
from chunkstore.operations.copy.copying import CopyOptions, CopyOutcome, Fate, Planned, copy, plan_copy
from chunkstore.progress import Silent
from chunkstore.repository.chunk_writer import WriteOptions
from chunkstore.storage import MemoryStorage, Storage
from tests.engine import KIB, Client, Stored, identity

MIB = 1024 * KIB
OTHER = {"chunker": "pyfastcdc:512,2K,8K", "frame_size": 8 * KIB, "pack_size": 48 * KIB}
"""Other parameters than those that the engine of the tests takes."""
DEFAULTS = {"chunker": "pyfastcdc", "frame_size": MIB, "pack_size": 4 * MIB}
"""Those of `init`, with smaller packs."""


@dataclass(frozen=True)
class Done:
    """What a copy said."""

    outcomes: list[CopyOutcome]
    warnings: list[str]

    @property
    def fates(self) -> list[Fate]:
        return [each.fate for each in self.outcomes]

    @property
    def copies(self) -> dict[SnapshotId, SnapshotId]:
        """Snapshot -> its copy."""
        return {each.snapshot.record.id: each.copy for each in self.outcomes if each.copy}

    @property
    def read(self) -> int:
        return sum(each.read for each in self.outcomes)

    @property
    def stored(self) -> int:
        return sum(each.stored for each in self.outcomes)


@dataclass(frozen=True)
class Both:
    """`source` and `destination` as the machine that copies sees them, whose files are below `base`."""

    source: Client
    destination: Client
    asked: list[bytes] = field(default_factory=list)
    """What the private key was asked to open."""

    def copy(self, chosen: Collection[SnapshotId] | None = None, **options: Any) -> Done:
        """All snapshots, or these. `options` go to `WriteOptions`."""
        progress, around = Silent(), self.destination.around
        source, destination = self.source.open("read"), self.destination.open("write")
        planned = self._plan(chosen, progress)
        write = WriteOptions(**{"workers": around.workers, "packs_per_index_object": 2, **options})
        outcomes = copy(source, destination, self._unseal, planned, CopyOptions(write), around, progress)
        return Done([*outcomes], progress.warnings)

    def plan(self) -> list[Planned]:
        return self._plan(None, Silent())

    def _plan(self, chosen: Collection[SnapshotId] | None, progress: Silent) -> list[Planned]:
        source = self.source.open("read")
        among = [each for each in snapshots(source, progress) if chosen is None or each.record.id in chosen]
        return plan_copy(source, self.destination.open("write"), among, progress)

    def _unseal(self, message: bytes) -> bytes:
        self.asked.append(message)
        return identity(message)

    def but(self, source: Storage | None = None, destination: Storage | None = None, **changes: Any) -> Both:
        """The same machine with other storages, or with changes to what it has of both."""
        return Both(
            self.source.but(storage=source or self.source.storage, **changes),
            self.destination.but(storage=destination or self.destination.storage, **changes),
        )

    def moved(self, base: Path) -> Both:
        """The same machine, as it is now, somewhere else."""
        shutil.copytree(self.source.base, base)
        return self.but(base=base)

    def without_map(self) -> Both:
        """It has forgotten what became of what it copied."""
        for path in self.source.places.cache.rglob("copied.sqlite*"):
            path.unlink()
        return self


def fresh_client(base: Path, seed: int, storage: Storage | None = None, **parameters: Any) -> Client:
    """A client, in `base`, of a new repository with secrets of its own."""
    client = Client(storage or MemoryStorage(), base, random_bytes=random.Random(seed).randbytes)
    client.create(**parameters)
    return client


def both(base: Path, source: Client, destination: Client) -> Both:
    """A machine in `base` that has joined both."""
    for client in (source, destination):
        shutil.copytree(client.places.state, base / "state", dirs_exist_ok=True)
    return Both(source.but(base=base), destination.but(base=base))


def without_chunks(stored: dict[bytes, Stored]) -> dict[bytes, Stored]:
    """What has to be the same in a copy: all but how many chunks there are of each file."""
    return {path: each._replace(entry=each.entry._replace(chunks=0)) for path, each in stored.items()}


def listed_snapshots(client: Client) -> list[Snapshot]:
    """As they count now, oldest first."""
    return sorted(snapshots(client.open(), Silent()), key=lambda each: each.age_order)


def until(calls: int) -> Callable[[], bool]:
    """Wants a run to stop, the so manieth time it is asked and from then on."""
    left = [calls]

    def stop() -> bool:
        left[0] -= 1
        return left[0] <= 0

    return stop


def usual_pair(base: Path) -> Both:
    """Empty repositories with usual parameters."""
    return both(base / "machine", fresh_client(base / "a", 1, **DEFAULTS), fresh_client(base / "b", 2, **DEFAULTS))


def small_and_large(tree: Path) -> random.Random:
    """About 1 MiB in small files, and a file that is large enough to be remembered in pieces."""
    dice = random.Random(5)
    (tree / "small").mkdir(parents=True)
    for n in range(100):
        (tree / "small" / f"{n}").write_bytes(dice.randbytes(dice.randrange(20 * KIB)))
    (tree / "large").write_bytes(dice.randbytes(40 * MIB))
    return dice
