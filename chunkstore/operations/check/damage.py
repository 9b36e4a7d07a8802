"""From what a look found to findings: each damaged object by its name, with the snapshots and the files that it hits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.operations.check.files import HitFiles
from chunkstore.operations.check.findings import Finding, Kind, damage
from chunkstore.operations.check.hits import NO_INDEX, Hits
from chunkstore.operations.check.looking import Looking
from chunkstore.operations.check.records import unlisted
from chunkstore.operations.check.scratch import Scratch
from chunkstore.operations.check.view import SettledReader, View
from chunkstore.repository.chunk_reader import FrameKeys
from chunkstore.repository.manifest_reader import ManifestReader

_NOBODY = "; no snapshot needs anything in it now, but new ones would rely on it"


class Damages:
    """What is damaged, as of one look. `hit`: the snapshots that are hit, and by what."""

    def __init__(self, looking: Looking, view: View, scratch: Scratch, keys: FrameKeys | None) -> None:
        self._view = view
        self._scratch = scratch
        self._hits = Hits(view, scratch)
        self._unread: list[Finding] = []
        self.hit: dict[SnapshotId, int] = {}
        for each in view.known:
            if mask := self._hits.of_snapshot(each.record):
                self.hit[each.record.id] = mask
        self._files = self._find_files(looking, keys) if keys else None

    def _find_files(self, looking: Looking, keys: FrameKeys) -> HitFiles:
        files = HitFiles(self._hits, self._scratch, self._not_listed)
        reader = SettledReader(looking.repository, self._view.index, keys)
        for each in self._view.known:
            if each.record.id in self.hit:
                manifest = ManifestReader(reader, each.record.content_root, each.record.reference_root)
                files.collect(each.record.id, manifest)
        return files

    def _not_listed(self, snapshot_id: SnapshotId, why: str) -> None:
        finding = damage(Kind.SNAPSHOT, names.snapshot(snapshot_id), why, (snapshot_id,))
        self._unread.append(replace(finding, remedy="what it needs is named above"))

    def findings(self) -> Iterator[Finding]:
        """All of it, each object once."""
        for finding in self._view.state.damaged:
            yield self._complete(finding, NO_INDEX)
        told: set[str] = set()
        for finding in (*self._of_packs(), *self._of_chunks()):
            if finding.object not in told:
                told.add(finding.object)
                yield self._complete(finding, finding.object)
        yield from self._unread

    def _of_packs(self) -> Iterator[Finding]:
        for wrong in self._view.compared.wrong:
            name = names.pack(wrong.pack_id)
            yield unlisted(Kind.PACK, name) if wrong.unlisted else damage(Kind.PACK, name, wrong.reason)
        for pack_id, reason, _ in self._scratch.all_bad():
            if self._scratch.expected(pack_id) is not None:  # else it went away since it was read
                yield damage(Kind.PACK, names.pack(pack_id), reason)

    def _of_chunks(self) -> Iterator[Finding]:
        """What only came to light while the trees were walked."""
        if count := self._hits.in_no_index:
            first = self._hits.some_in_no_index[0].hex()[:16]
            chunks = f"{count} chunks that snapshots need are" if count > 1 else "1 chunk that snapshots need is"
            text = f"{chunks} in no index that can be read (the first: {first})"
            yield damage(Kind.CHUNK, NO_INDEX, text)
        for name, why in self._hits.why.items():
            kind = Kind.PACK if name.startswith(names.PACKS) else Kind.CHUNK
            yield damage(kind, name, why)
        for chunk_id, error in self._view.live.damaged.items():
            if isinstance(error, Damaged):
                name = self._hits.object_of(chunk_id, error)
                kind = Kind.PACK if name.startswith(names.PACKS) else Kind.CHUNK
                yield damage(kind, name, error.reason)

    def _complete(self, finding: Finding, name: str) -> Finding:
        """With the snapshots and files that the object hits."""
        bit = self._hits.bits.of(name)
        snapshots = tuple(each for each, mask in self.hit.items() if mask >> bit & 1)
        message = finding.message
        if finding.kind is Kind.PACK and not snapshots and name and "every chunk in it" not in message:
            message += _NOBODY
        files, more = self._files.paths(bit) if self._files else ((), 0)
        return replace(finding, message=message, snapshots=snapshots, files=files, more_files=more)
