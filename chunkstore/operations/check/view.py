"""One look at what snapshots need, the index and the packs: records first, then the index, packs last (I-1).

So a run that commits meanwhile is no damage: what its record needs was stored before. A prune may take away what is older
than the look; whoever finds damage looks again, from the records on, before he believes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from chunkstore.errors import Damaged, NoUsableKey
from chunkstore.format import names
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.check.index import IndexState, Take, read_index
from chunkstore.operations.check.looking import Looking
from chunkstore.operations.check.packs import Compared
from chunkstore.operations.check.records import Known
from chunkstore.operations.check.scratch import Scratch
from chunkstore.operations.live import LiveChunks
from chunkstore.operations.pack_listing import PackListing
from chunkstore.operations.usage import Usage, measure
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_scan import IndexScan
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex, open_local_index

NO_CHUNK: Final = ChunkId(bytes(32))


class SettledReader(ChunkReader):
    """Believes its index: whoever uses it looks at all again when it does not hold any more."""

    def read(self, kind: ChunkKind, chunk_id: ChunkId) -> bytes:
        """As of `ChunkReader`; a frame that the keys at hand do not open is damage too: an index must not say so."""
        try:
            return super().read(kind, chunk_id)
        except NoUsableKey as e:
            raise Damaged(str(e)) from e

    def resync(self) -> None:
        """Nothing: the index stays as it is."""


class View:
    """What one look found. `close` it."""

    def __init__(self, looking: Looking, known: Sequence[Known], index: LocalIndex, state: IndexState) -> None:
        self.known = known
        self.index = index
        self.state = state
        self.reader: ChunkReader
        self.live: LiveChunks
        self.listing: PackListing
        self.compared: Compared
        self.usage: Usage
        self._looking = looking
        self._stack = contextlib.ExitStack()
        self._stack.callback(index.close)

    def look(self, reader: ChunkReader, scratch: Scratch) -> None:
        """Find out what the records need; list the packs; count. Packs that are bad in `scratch` count as not there."""
        looking = self._looking
        self.reader = reader
        self.live = self._stack.enter_context(LiveChunks(reader, looking.directory))
        self.live.mark(each.record for each in self.known)
        self.index.locate(NO_CHUNK)  # from here on other processes do not change what we see of the index
        self.listing = self._stack.enter_context(PackListing(looking.repository.storage, looking.directory, Silent()))
        scan = IndexScan(self.index)
        self.compared = Compared(looking, scan, self.listing)
        there = bytearray(self.compared.there)
        for row in scan.packs() if scratch.any_bad() else ():
            bad = scratch.bad(row.pack_id)
            if bad and bad[1]:
                there[row.no] = 0
        self.usage = measure(self.live.ids, scan, there, looking.directory)

    @property
    def damaged(self) -> bool:
        """Whether anything is not as it must be, as far as this look can tell."""
        return bool(self.state.damaged or self.compared.wrong or self.live.damaged or self.usage.missing_count)

    def close(self) -> None:
        """Remove the temporary files."""
        self._stack.close()


def quick_look(looking: Looking, known: Sequence[Known], scratch: Scratch) -> View:
    """With the local copy of the index, brought in line: quick, and enough where all is well.

    Raises `ChunkstoreError` when the index is not in order, so that only `thorough_look` can tell what is wrong.
    """
    index = open_local_index(looking.around.places, looking.repository.key.repository_id)
    with contextlib.ExitStack() as undo:
        undo.callback(index.close)
        state = read_index(looking, scratch, max(looking.repository.state.generation, index.generation), _take_nothing)
        view = View(looking, known, index, state)
        if not state.damaged:
            sync_index(looking.repository, index, Silent())
            undo.pop_all()
            undo.callback(view.close)
            view.look(ChunkReader(looking.repository, index, LedgerKeys(looking.repository.key)), scratch)
            undo.pop_all()
            return view
    raise Damaged("index objects are damaged", names.GENERATIONS)


def thorough_look(looking: Looking, known: Sequence[Known], scratch: Scratch, attempt: int) -> View:
    """With an index that is made anew from what is in the storage, as far as it can be read."""
    with contextlib.closing(open_local_index(looking.around.places, looking.repository.key.repository_id)) as cached:
        seen = max(looking.repository.state.generation, cached.generation)
    files = _fresh_files(looking.directory, attempt)
    made: list[LocalIndex] = []

    def begin() -> Take:
        while made:
            made.pop().close()
        made.append(LocalIndex(next(files)))
        index = made[0]
        return lambda name, packs: index.change(lambda: index.add_source(name, packs))

    with contextlib.ExitStack() as undo:
        undo.callback(lambda: made[0].close() if made else None)
        state = read_index(looking, scratch, seen, begin)
        view = View(looking, known, made[0], state)
        undo.callback(view.close)
        view.look(SettledReader(looking.repository, made[0], LedgerKeys(looking.repository.key)), scratch)
        undo.pop_all()
        return view


def _take_nothing() -> Take:
    return lambda name, packs: None


def _fresh_files(directory: Path, attempt: int) -> Iterator[Path]:
    """Names of index files that were not used before; what the last one had is deleted."""
    number = 0
    while True:
        for old in directory.glob("index-*"):
            old.unlink()
        yield directory / f"index-{attempt}-{number}.sqlite"
        number += 1
