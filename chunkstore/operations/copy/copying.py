"""Copy snapshots from one repository to another: other recipients, other secrets, other parameters.

    records there -> not here yet -> each: entries -> content that is new, cut anew -> packs -> index -> record

The source is only read, with its private key; the destination is written as any snapshot is, with its public half. A copy
says in its record what it is a copy of (`original`), which is how the next copy knows it: copies of copies, and copies
back to where a snapshot comes from, count as the same snapshot. Two copies at the same time may both copy a snapshot; as
of any two clients that store the same at the same time, a prune removes what is there twice once one of them is forgotten.

What a signature of the source covers, ids of the repository and of chunks, is not so in the destination: a copy has no
signature, or a new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from chunkstore.errors import Fenced, IndexDamaged, InvalidArgument
from chunkstore.format.records import Original
from chunkstore.operations.catalog import Snapshot, as_committed, snapshots
from chunkstore.operations.copy.map import CopyMap
from chunkstore.operations.copy.run import CopyRun, Destination
from chunkstore.operations.copy.values import CopyOptions, CopyOutcome, Fate, Planned, origin
from chunkstore.operations.opening import Unseal, open_content
from chunkstore.operations.reading import Reading, reading
from chunkstore.operations.statistics import Statistics
from chunkstore.operations.tagging import Change, amend
from chunkstore.progress import Progress
from chunkstore.repository.local_index import open_local_index
from chunkstore.repository.repository import Repository, Surroundings

__all__ = ["CopyOptions", "CopyOutcome", "Fate", "Planned", "copy", "plan_copy"]

_ATTEMPTS = 5


def plan_copy(
    source: Repository, destination: Repository, chosen: Iterable[Snapshot], progress: Progress, workers: int = 0
) -> list[Planned]:
    """The chosen snapshots of the source, oldest first, each with its copy where there is one.

    `InvalidArgument` where both are the same repository.
    """
    if source.key.repository_id == destination.key.repository_id:
        raise InvalidArgument("a repository can not be copied to itself: both places hold the same one")
    here: dict[Original, Snapshot] = {}
    for each in sorted(snapshots(destination, progress, workers), key=lambda each: each.age_order):
        here.setdefault(origin(destination.key.repository_id, each.record), each)
    oldest_first = sorted(chosen, key=lambda each: each.age_order)
    return [Planned(each, here.get(origin(source.key.repository_id, each.record))) for each in oldest_first]


def copy(
    source: Repository,
    destination: Repository,
    unseal: Unseal,
    planned: Sequence[Planned],
    options: CopyOptions,
    around: Surroundings,
    progress: Progress,
) -> Iterator[CopyOutcome]:
    """Copy what is not there yet; what became of each snapshot, as it is known. Copying is done while this is iterated.

    The private key is asked for only where there is something to copy. A snapshot of which something is damaged is not
    committed, and the others are copied all the same. Raises `NoUsableKey`, `Interrupted`, and what the storages raise;
    what was stored by then is used by the next copy.
    """
    missing = [Statistics.from_record(each.snapshot.record.statistics) for each in planned if each.copy is None]
    progress.total(sum(each.files for each in missing), sum(each.bytes for each in missing))
    with contextlib.ExitStack() as stack:
        if missing:
            opener = open_content(source, unseal)
            known = CopyMap(
                around.places.cache_directory(destination.key.repository_id) / "copied.sqlite",
                destination.key.segment_cut_key,
                source.key.repository_id,
                destination.config.chunker,
                progress.warn,
            )
            stack.callback(known.close)
            read = stack.enter_context(reading(source, opener, around, progress))
            to = Destination(destination, known, options, around, progress)
        for each in planned:
            if each.copy is None:
                yield _copy_one(to, read, each.snapshot)
            else:
                _pin(destination, each.snapshot, each.copy, around)
                yield CopyOutcome(each.snapshot, Fate.THERE, each.copy.record.id)


def _copy_one(to: Destination, read: Reading, snapshot: Snapshot) -> CopyOutcome:
    for attempt in range(_ATTEMPTS):
        with contextlib.closing(open_local_index(to.around.places, to.repository.key.repository_id)) as index:
            try:
                outcome, signed = CopyRun(to, index, read, snapshot).run()
            except (Fenced, IndexDamaged):
                # A prune took this run for dead, or its local index had to go: again, under a new id. What is stored
                # is found again.
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
        if signed is not None:
            _pin(to.repository, snapshot, as_committed(signed), to.around)
        return outcome
    raise AssertionError


def _pin(destination: Repository, snapshot: Snapshot, copy: Snapshot, around: Surroundings) -> None:
    """A pin is no part of the record. A copy of which nothing was said yet may be of a run that ended before it said so."""
    if snapshot.pinned and copy.amended_at is None:
        amend(destination, copy, Change(pinned=True), around)
