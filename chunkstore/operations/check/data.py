"""Reading packs in whole: name against bytes, their own table against the index, and with the keys each chunk against its id."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from chunkstore.chunking import parse_chunker
from chunkstore.compression import DEFAULT_LEVEL
from chunkstore.errors import Damaged, NoUsableKey, ObjectMissing, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.entries import MAX_SEGMENT
from chunkstore.format.pack import MAX_PACK, PackInfo, read_pack
from chunkstore.ids import ChunkId, PackId
from chunkstore.operations.check.findings import reason
from chunkstore.operations.check.looking import Looking
from chunkstore.operations.check.scratch import Scratch, pack_digest
from chunkstore.operations.check.values import Share
from chunkstore.operations.pack_listing import ListedPack, PackListing
from chunkstore.parallel import ordered_map
from chunkstore.repository.chunk_reader import FrameKeys
from chunkstore.repository.frames import FrameCoder
from chunkstore.repository.repository import Repository

_MEMORY: Final = 256 << 20
"""Bytes of packs that are in memory at once, one pack for each worker at least."""


@dataclass(slots=True)
class Read:
    """What was read. `gone`: packs that went away while others were read; `bad`: packs that are not whole."""

    packs: Share = field(default_factory=Share)
    opened: int = 0
    gone: int = 0
    bad: int = 0
    orphans: list[tuple[PackId, str]] = field(default_factory=list)
    """Packs that no index names and that are damaged."""


@dataclass(frozen=True, slots=True)
class _Job:
    pack: ListedPack
    digest: bytes | None
    """Of what the index says of the pack; None where no index names it."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """`why`: it is damaged; `failed`: these chunks of it are, None when nothing in it can be relied on."""

    job: _Job
    why: str | None = None
    failed: list[ChunkId] | None = None
    opened: int = 0
    gone: bool = False


def read_packs(
    looking: Looking, listing: PackListing, scratch: Scratch, chosen: Callable[[PackId], bool], keys: FrameKeys | None
) -> Read:
    """Read the packs that are `chosen`; what is damaged is noted in `scratch`. With `keys` every chunk is opened too."""
    progress, repository = looking.progress, looking.repository
    selected = Share()
    for pack in listing:
        if chosen(pack.pack_id):
            selected.add(pack.size)
    progress.total(selected.count, selected.size)
    reader = _PackReader(repository, keys)
    at_once = max(_MEMORY // max(repository.config.pack_size, 1), 1)
    workers = min(looking.around.workers, at_once)
    done = Read()
    for outcome in ordered_map(reader.read, _jobs(listing, scratch, chosen), workers, workers, "read-data"):
        size = outcome.job.pack.size
        progress.advance(1, size)
        if outcome.gone:
            done.gone += 1
            continue
        done.packs.add(size)
        done.opened += outcome.opened
        _note(outcome, scratch, done)
    return done


def _jobs(listing: PackListing, scratch: Scratch, chosen: Callable[[PackId], bool]) -> Iterator[_Job]:
    for pack in listing:
        if chosen(pack.pack_id):
            expected = scratch.expected(pack.pack_id)
            if expected is None or expected[0] == pack.size:  # of another size: that is found without reading it
                yield _Job(pack, expected[1] if expected else None)


def _note(outcome: _Outcome, scratch: Scratch, done: Read) -> None:
    if outcome.why is None:
        return
    pack_id = outcome.job.pack.pack_id
    if outcome.job.digest is None:
        done.orphans.append((pack_id, outcome.why))
    else:
        done.bad += 1
        scratch.spoil(pack_id, outcome.why, outcome.failed)


class _PackReader:
    """Fetches a pack and says what is wrong with it; used by many threads at once."""

    def __init__(self, repository: Repository, keys: FrameKeys | None) -> None:
        key, config = repository.key, repository.config
        largest = max(config.frame_size, parse_chunker(config.chunker).max_size, MAX_SEGMENT)
        self._repository = repository
        self._keys = keys
        self._coder = FrameCoder(key.repository_id, key.chunk_id_keys, largest, DEFAULT_LEVEL, _no_random)

    def read(self, job: _Job) -> _Outcome:
        name = names.pack(job.pack.pack_id)
        if job.pack.size > MAX_PACK:
            return _Outcome(job, f"has {job.pack.size} bytes, more than any pack may have")
        try:
            data = memoryview(self._repository.storage.get(name))
        except ObjectMissing:
            return _Outcome(job, gone=True)
        try:
            info = read_pack(data, job.pack.pack_id, name, self._repository.key)
        except (Damaged, UnsupportedFormat) as e:
            return self._read_on(job, data, reason(e))
        if job.digest is not None and pack_digest(info) != job.digest:
            return _Outcome(job, "its own table is not what the index says of it")
        return self._open(job, info, data, None)

    def _read_on(self, job: _Job, data: memoryview, why: str) -> _Outcome:
        """A damaged pack: if its table is the one that the index has, its chunks can be told apart with the keys."""
        if self._keys is None or job.digest is None:
            return _Outcome(job, why)
        try:
            actual = PackId(hashlib.sha256(data).digest())
            info = read_pack(data, actual, names.pack(job.pack.pack_id), self._repository.key)
        except (Damaged, UnsupportedFormat):
            return _Outcome(job, why)
        info = dataclasses.replace(info, pack_id=job.pack.pack_id)
        if pack_digest(info) != job.digest:
            return _Outcome(job, why)
        return self._open(job, info, data, why)

    def _open(self, job: _Job, info: PackInfo, data: memoryview, why: str | None) -> _Outcome:
        if self._keys is None:
            return _Outcome(job, why)
        failed: list[ChunkId] = []
        first: str | None = None
        for frame in info.frames:
            stored = data[frame.offset : frame.offset + frame.stored]
            at = 0
            try:
                raw = self._coder.decode(stored, self._keys.frame_key(info.slots[frame.slot]), frame.kind, frame.raw)
            except (Damaged, NoUsableKey) as e:
                first = first or (e.reason if isinstance(e, Damaged) else str(e))
                failed += frame.ids
                continue
            for chunk_id, length in zip(frame.ids, frame.lengths, strict=True):
                try:
                    self._coder.check_chunk(raw[at : at + length], frame.kind, chunk_id)
                except Damaged as e:
                    first = first or e.reason
                    failed.append(chunk_id)
                at += length
        opened = sum(len(frame.ids) for frame in info.frames)
        if failed:
            text = f"{len(failed)} of its {opened} chunks can not be read ({first})"
            why = f"{why}; {text}" if why else text
        elif why:
            why = f"{why}; every chunk in it can be read all the same"
        return _Outcome(job, why, failed if why else None, opened)


def _no_random(size: int) -> bytes:
    raise AssertionError("reading needs no random bytes")
