"""Check a repository: every object listed, named as it must be and readable, and everything there that snapshots need.

    objects one by one -> records -> index -> packs, listed last -> (read packs) -> damage? look again, from the records on
                                                                                 -> which snapshots, which files it hits

Needs no private key; with keys that open content every chunk is opened. Writes nothing to the repository.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chunkstore.errors import Damaged, IndexDamaged, NoUsableKey, ObjectMissing, UnsupportedFormat, UntrustedRepository
from chunkstore.format import names
from chunkstore.operations.check.damage import Damages
from chunkstore.operations.check.data import Read, read_packs
from chunkstore.operations.check.findings import Finding, Kind, Report, Severity, note
from chunkstore.operations.check.keys import check_keys
from chunkstore.operations.check.looking import Looking
from chunkstore.operations.check.names import is_probe, kind_of
from chunkstore.operations.check.records import (
    Known,
    check_amendments,
    check_chains,
    check_unlisted,
    read_records,
    unlisted,
)
from chunkstore.operations.check.runs import check_runs
from chunkstore.operations.check.scratch import Scratch
from chunkstore.operations.check.subset import chooser
from chunkstore.operations.check.values import Checked, Everything, Share, Subset
from chunkstore.operations.check.view import View, quick_look, thorough_look
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import FrameKeys
from chunkstore.repository.repository import Repository, Surroundings, highest
from chunkstore.units import format_size

_UNNAMED: Final = (
    "no index: of runs that are under way or broke off",
    "the next prune deletes what no run needs",
)
_UNNAMED_AS_INDEX_DAMAGED: Final = (
    "no index that can be read: index objects are damaged, see below, or runs broke off",
    "nothing before the index is in order: until then no prune deletes anything",
)
_LOOKS: Final = 5
"""So often damage is looked at again where something was forgotten or pruned meanwhile."""
_NAMED: Final = 1000
"""So many foreign objects are named."""
_INDEX_TROUBLE: Final = (
    Damaged,
    UnsupportedFormat,
    ObjectMissing,
    UntrustedRepository,
    IndexDamaged,
    NoUsableKey,
)


def check(
    repository: Repository,
    around: Surroundings,
    progress: Progress,
    report: Report,
    subset: Subset | None = None,
    keys: FrameKeys | None = None,
) -> Checked:
    """Look at all of it; `report` is told each finding once it is certain.

    `subset`: read these packs and compare their bytes with their names; None reads none. `keys`: open every chunk of the
    packs that are read (all, where no subset is given), and name the files that damage hits. `StorageError` when the
    storage does not list or give what it has: then nothing can be told.
    """
    directory = around.places.cache_directory(repository.key.repository_id)
    with tempfile.TemporaryDirectory(prefix="check-", dir=directory) as scratch:
        run = _Check(repository, around, progress, report, Path(scratch), keys)
        return run.run(Everything() if keys and subset is None else subset)


class _Check:
    def __init__(
        self,
        repository: Repository,
        around: Surroundings,
        progress: Progress,
        report: Report,
        directory: Path,
        keys: FrameKeys | None,
    ) -> None:
        self._tell = report
        self._done = Checked()
        self._looking = Looking(repository, around, progress, self._report, directory)
        self._quiet = Looking(repository, around, progress, _tell_nobody, directory)
        self._keys = keys
        self._attempt = 0

    def run(self, subset: Subset | None) -> Checked:
        looking = self._looking
        self._count()
        check_keys(looking)
        looking.progress.current(b"snapshots")
        known = read_records(looking)
        check_unlisted(looking)
        check_chains(looking, known)
        check_amendments(looking, known)
        check_runs(looking)
        with Scratch(looking.directory) as scratch:
            view = self._settled(known, scratch)
            try:
                if subset is not None and self._read(view, scratch, subset):
                    view.close()
                    view = self._settled(read_records(self._quiet), scratch)
                self._conclude(view, scratch)
            finally:
                view.close()
        return self._done

    def _report(self, finding: Finding) -> None:
        match finding.severity:
            case Severity.DAMAGE:
                self._done.damaged += 1
            case Severity.NOTE:
                self._done.notes += 1
            case Severity.FOREIGN:
                self._done.foreign += 1
        self._tell(finding)

    def _count(self) -> None:
        """List everything once: what is there, and what does not belong there."""
        storage, objects = self._looking.repository.storage, self._done.objects
        for info in storage.list(""):
            kind = kind_of(info.name)
            objects.setdefault(kind or Kind.OTHER, Share()).add(info.size)
            if kind is None and not is_probe(info.name) and objects[Kind.OTHER].count <= _NAMED:
                text = "is no object of a repository; it is left alone"
                self._report(Finding(Severity.FOREIGN, Kind.OTHER, info.name, text))
        name = names.config(self._looking.repository.config.number)
        if Kind.CONFIG not in objects and self._looking.is_there(name):
            self._report(unlisted(Kind.CONFIG, name))

    # -- looking

    def _settled(self, known: Sequence[Known], scratch: Scratch) -> View:
        """A look that can be believed: one without damage, or one during which nothing went away."""
        looking = self._looking
        looking.progress.current(b"index")
        try:
            view = quick_look(looking, known, scratch)
        except _INDEX_TROUBLE:  # of the index, or of the local copy of it
            pass
        else:
            if not view.damaged:
                return view
            view.close()
        for left in range(_LOOKS, 0, -1):
            self._attempt += 1
            view = thorough_look(looking, read_records(self._quiet), scratch, self._attempt)
            if not view.damaged or left == 1 or not self._moved(view):
                return view
            view.close()
        raise AssertionError

    def _moved(self, view: View) -> bool:
        """Whether snapshots went away, or the index was compacted, since the look began."""
        if (highest(self._looking.repository.storage, names.GENERATIONS) or 0) != view.state.listed:
            return True
        now = {each.record.id for each in read_records(self._quiet)}
        return any(each.record.id not in now for each in view.known)

    def _read(self, view: View, scratch: Scratch, subset: Subset) -> bool:
        """Read packs; True when some were not whole, or not there any more."""
        looking = self._looking
        looking.progress.current(b"packs")
        chosen = chooser(subset, view.listing, looking.around.random_bytes)
        read: Read = read_packs(looking, view.listing, scratch, chosen, self._keys)
        self._done.read, self._done.opened = read.packs, read.opened
        for pack_id, why in read.orphans:
            text = f"{why}; no index names it, so nothing depends on it"
            self._report(note(Kind.PACK, names.pack(pack_id), text, "the next prune deletes it"))
        return bool(read.bad or read.gone)

    # -- telling

    def _conclude(self, view: View, scratch: Scratch) -> None:
        done, usage = self._done, view.usage
        done.snapshots = len(view.known)
        done.chunks, done.raw, done.unused = usage.chunks + usage.missing_count, usage.raw, usage.dead_chunks
        done.copies = Share(usage.copies, usage.copies_raw)
        done.packs = Share(view.listing.count, view.listing.size)
        done.orphans = view.compared.orphans
        for finding in view.state.notes:
            self._report(finding)
        if done.orphans.count:
            size = format_size(done.orphans.size)
            packs = f"{done.orphans.count} pack{'s' * (done.orphans.count != 1)}"
            text, remedy = _UNNAMED_AS_INDEX_DAMAGED if view.state.damaged else _UNNAMED
            self._report(note(Kind.PACK, "", f"{packs} ({size}) in {text}", remedy))
        if view.damaged or scratch.any_bad():
            damages = Damages(self._looking, view, scratch, self._keys)
            done.hit = len(damages.hit)
            for finding in damages.findings():
                self._report(finding)


def _tell_nobody(finding: Finding) -> None:
    """What was reported already is not reported again."""
