"""The content of files of one repository -> chunks of another, cut anew.

    entries -> known? | chunks wanted: steps -> fetched, in order -> cut, hash, decide -> ids

Files are cut with the destination's own chunker. Its seed, and perhaps its sizes, are other ones: chunks with the borders
of the source would never be found again by clients that store the same files here themselves, nor would theirs by a copy.
The price is that content has to be cut and hashed; it has to be decrypted, hashed and compressed again in any case, for
ids, keys and levels are other ones too.

What was copied before is not read: files of up to 8 MiB as a whole; larger ones chunk by chunk, because where a chunk ends
depends on the `max_size` bytes from its beginning alone (see `Chunker`), so on a few chunks of the source. Of a large file
that changed a little, what changed is read and what is around it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from chunkstore.chunking import Chunker
from chunkstore.chunking.parameters import MAX_CHUNK
from chunkstore.errors import Damaged
from chunkstore.format.entries import FILE, Entry
from chunkstore.ids import ID_SIZE, ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.copy.map import CopyMap
from chunkstore.operations.fetching import Got
from chunkstore.operations.in_order import Step, content_of, in_order
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.chunk_writer import ChunkWriter
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.tree.display import display_path

SMALL_FILE = 8 << 20
"""Bytes: files up to this are fetched many at a time, and remembered as a whole."""
_MOST_IDS = SMALL_FILE // 64
"""No chunk but the last of a file is smaller than 64 bytes."""
_FIRST_READ, _MOST_READ = 3, 16
"""Times the largest chunk here: so much is read where a large file is new, then twice as much, and so on up to the most."""


class Copied(NamedTuple):
    """An entry as it was, and the ids of its chunks here, joined, in pieces. Take all of them before the next entry."""

    found: ManifestEntry
    ids: Iterator[bytes]


class _Known(NamedTuple):
    found: ManifestEntry
    ids: bytes


class _Part(NamedTuple):
    """A chunk of a small file; `ids` are all its chunks there, with the last one, else empty."""

    found: ManifestEntry
    ids: bytes


class _Large(NamedTuple):
    found: ManifestEntry


_What = _Known | _Part | _Large


class ContentCopier:
    """Hands out entries with chunks that are stored here."""

    def __init__(
        self,
        reader: ChunkReader,
        manifest: ManifestReader,
        writer: ChunkWriter,
        chunker: Chunker,
        known: CopyMap,
        workers: int,
        tick: Callable[[int], None],
    ) -> None:
        """`tick(bytes)` is called often, with how much more content is done; what it raises ends the copy."""
        self._reader = reader
        self._manifest = manifest
        self._writer = writer
        self._chunker = chunker
        self._map = known
        self._workers = workers
        self._tick = tick
        self._small: bytearray | None = None
        self._large: bytearray | None = None

    def copied(self) -> Iterator[Copied]:
        """All entries of the manifest, in order. `Damaged`, which names the file, as soon as a chunk can not be had."""
        filled = 0
        for got in in_order(self._reader, self._steps(), self._workers):
            what = got.purpose
            if isinstance(what, _Known):
                self._tick(what.found.entry.content_size)
                yield Copied(what.found, iter((what.ids,) if what.ids else ()))
            elif isinstance(what, _Large):
                yield Copied(what.found, self._cut_large(what.found))
            else:
                with _naming(what.found):
                    filled = self._take(got, filled)
                if what.ids:
                    yield Copied(what.found, iter((self._cut_small(what.ids, filled),)))
                    filled = 0

    def _steps(self) -> Iterator[Step[_What]]:
        for found in self._manifest.entries():
            entry = found.entry
            if entry.kind != FILE or not (entry.content_size or entry.chunks):
                yield Step(_Known(found, b""), weight=_weight(entry))
            elif entry.content_size > SMALL_FILE or entry.chunks > _MOST_IDS:
                yield Step(_Large(found), weight=_weight(entry))
            else:
                with _naming(found):
                    yield from self._small_steps(found)

    def _small_steps(self, found: ManifestEntry) -> Iterator[Step[_What]]:
        weight = _weight(found.entry)
        ids = b"".join(self._manifest.ids(found))
        here = self._map.file(found.entry.content_size, ids)
        if here is not None and self._stored(here):
            yield Step(_Known(found, here), weight=weight + len(here))
            return
        chunks = list(content_of(self._reader, self._manifest, found))
        for left, (chunk_id, length) in zip(reversed(range(len(chunks))), chunks, strict=True):
            yield Step(_Part(found, b"" if left else ids), chunk_id, length, weight)

    def _stored(self, ids: bytes) -> bool:
        """Whether all of these chunks may be relied on here."""
        return all(self._writer.knows(ChunkId(ids[at : at + ID_SIZE])) for at in range(0, len(ids), ID_SIZE))

    def _take(self, got: Got[_What], filled: int) -> int:
        """Append a chunk of a small file to what there is of it; how much there is then."""
        if got.damage:
            raise got.damage
        if self._small is None:
            self._small = bytearray(SMALL_FILE)
        end = filled + len(got.data)
        self._small[filled:end] = got.data
        return end

    def _cut_small(self, there: bytes, size: int) -> bytes:
        assert self._small is not None
        view, ids, start = memoryview(self._small)[:size], [], 0
        for end in self._chunker.cut(view, True):
            ids.append(self._writer.add(ChunkKind.CONTENT, view[start:end]))
            start = end
        here = b"".join(ids)
        self._map.put_file(size, there, here)
        self._tick(size)
        return here

    # -- large files

    def _cut_large(self, found: ManifestEntry) -> Iterator[bytes]:
        with _naming(found):
            yield from self._cut(content_of(self._reader, self._manifest, found))

    def _cut(self, there: Iterator[tuple[ChunkId, int]]) -> Iterator[bytes]:
        reach = self._chunker.max_size
        ahead = _Ahead(there, reach)
        size, held = _FIRST_READ * reach, 0
        while ahead.more():
            known = self._known(ahead)
            if known is not None:
                size, held = _FIRST_READ * reach, 0
                yield known[0]
                ahead.advance(known[1])
                self._tick(known[1])
                continue
            data, final = self._read(ahead, size, held)
            start = 0
            for end in self._chunker.cut(data, final):
                if start and self._known(ahead) is not None:
                    break
                here = self._writer.add(ChunkKind.CONTENT, data[start:end])
                self._map.put_piece(*ahead.place(), here, end - start)
                yield here
                ahead.advance(end - start)
                self._tick(end - start)
                start = end
            held = len(data) - start
            data[:held] = bytes(data[start:])
            size = min(2 * size, _MOST_READ * reach)

    def _known(self, ahead: _Ahead) -> tuple[ChunkId, int] | None:
        """The chunk here that comes next, where it was copied before and is still stored."""
        known = self._map.piece(*ahead.place())
        if known is None or not 0 < known[1] <= ahead.available or not self._writer.knows(known[0]):
            return None
        return known

    def _read(self, ahead: _Ahead, size: int, held: int) -> tuple[memoryview, bool]:
        """The next `size` bytes or some more, of which the first `held` are there; whether the file ends with them."""
        if self._large is None:
            self._large = bytearray(_MOST_READ * self._chunker.max_size + MAX_CHUNK)
        buffer = memoryview(self._large)
        chunks, skip, final = ahead.wanted(size, held)
        for got in in_order(self._reader, (Step(None, *each) for each in chunks), self._workers):
            if got.damage:
                raise got.damage
            part, skip = got.data[skip:], 0
            if len(part) > MAX_CHUNK:
                raise Damaged("a chunk is longer than any may be")
            buffer[held : held + len(part)] = part
            held += len(part)
            self._tick(0)
        return buffer[:held], final


class _Ahead:
    """The chunks there of a file, from a position on which chunks here move ahead."""

    def __init__(self, chunks: Iterator[tuple[ChunkId, int]], reach: int) -> None:
        """`reach`: how many bytes from its beginning the end of a chunk here can depend on."""
        self._chunks = chunks
        self._reach = reach
        self._queue: deque[tuple[ChunkId, int]] = deque()
        self._skipped = 0
        self._ended = False
        self.available = 0
        """Bytes in the chunks that were looked at so far."""

    def more(self) -> bool:
        """Whether this is not the end."""
        self._look(1)
        return self.available > 0

    def place(self) -> tuple[int, bytes, bool]:
        """What says all about the next chunk here: (bytes to skip in the first, ids, whether the file ends with them)."""
        self._look(self._reach)
        ids, covered = [], -self._skipped
        for chunk_id, length in self._queue:
            ids.append(chunk_id)
            covered += length
            if covered >= self._reach:
                break
        return self._skipped, b"".join(ids), covered < self._reach

    def wanted(self, size: int, held: int) -> tuple[list[tuple[ChunkId, int]], int, bool]:
        """The chunks that hold the next `size` bytes without the first `held`, which whole chunks end with; how many
        bytes to skip in the first; whether the file ends with them.
        """
        self._look(size + 1)
        chunks, covered = [], -self._skipped
        for each in self._queue:
            if covered >= size:
                break
            covered += each[1]
            if covered > held:
                chunks.append(each)
        return chunks, 0 if held else self._skipped, self._ended and covered == self.available

    def advance(self, length: int) -> None:
        self.available -= length
        self._skipped += length
        while self._queue and self._skipped >= self._queue[0][1]:
            self._skipped -= self._queue.popleft()[1]

    def _look(self, size: int) -> None:
        while self.available < size and not self._ended:
            each = next(self._chunks, None)
            if each is None:
                self._ended = True
            else:
                self._queue.append(each)
                self.available += each[1]


@contextmanager
def _naming(found: ManifestEntry) -> Iterator[None]:
    """Say which file is damaged."""
    try:
        yield
    except Damaged as e:
        raise Damaged(f"{display_path(found.path)}: {e}") from e


def _weight(entry: Entry) -> int:
    """Bytes of what only some entries have; these can be many."""
    if not entry.extra:
        return 0
    return sum(map(len, entry.xattrs.values())) + 64 * len(entry.extents or ())
