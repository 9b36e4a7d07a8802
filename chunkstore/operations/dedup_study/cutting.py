"""Bytes -> records of chunks, by many chunkers from one buffer.

Small files are collected in the buffer, so that a chunker is called once for many of them. A large file streams through
it: each chunker goes on where its last chunk ended, and what is still needed by one of them moves to the front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple

from blake3 import blake3

from chunkstore.chunking import MAX_CHUNK, Chunker, ChunkerParameters, make_chunker
from chunkstore.operations.dedup_study.reading import Data
from chunkstore.operations.dedup_study.spill import DIGEST, RECORD, Records
from chunkstore.parallel import OrderedPool

BUFFER = 3 * MAX_CHUNK
_WHOLE = MAX_CHUNK
"""Bytes: files up to here are collected."""
_PIECES = 4096
_SEED = 1
"""The seed of the studies: a repository has one of its own, and cuts elsewhere, as large."""


class _Piece(NamedTuple):
    """A whole small file in the buffer, its record as one chunk, and the time that took."""

    file: int
    start: int
    end: int
    record: bytes
    ns: int


class _Job(NamedTuple):
    """What one chunker is to cut. `stream`: a part of the large file of this number, and whether it ends with it."""

    chunker: Chunker
    data: memoryview
    pieces: Sequence[_Piece]
    stream: tuple[int, bool] | None


class _Cut(NamedTuple):
    """Joined records, how many bytes of a stream they cover, and the processor time in nanoseconds."""

    records: bytes
    used: int
    ns: int


class Cutting:
    """Cuts files for every chunker. `records` has what each made, `ns` the processor time of its cutting and hashing;
    `whole` has a record for each file, as one chunk.
    """

    def __init__(
        self,
        chunkers: Sequence[ChunkerParameters],
        scratch: str | None,
        cpu_clock: Callable[[], int],
        workers: int,
        tick: Callable[[int], None],
    ) -> None:
        """`tick(bytes)` is called when so much was read; what it raises ends the study. `InvalidArgument`
        when the library of a chunker is missing.
        """
        self._chunkers = [make_chunker(each, _SEED) for each in chunkers]
        self._clock = cpu_clock
        self._tick = tick
        self._buffer = memoryview(bytearray(BUFFER))
        self._used = 0
        self._pieces: list[_Piece] = []
        self._pool = OrderedPool(self._cut, workers, len(chunkers), "cut")
        self.records = [Records(scratch) for _ in chunkers]
        self.whole = Records(scratch)
        self.ns = [0] * len(chunkers)

    def add(self, number: int, data: Data) -> int:
        """Cut the file of this number; its bytes. `OSError` when it can not be read: then it has left no trace, or is a
        large one that counts as far as it was read.
        """
        if data.size > _WHOLE:
            self.flush()
            return self._stream(number, data)
        if self._used + data.size > BUFFER or len(self._pieces) == _PIECES:
            self.flush()
        start = self._used
        length = data.read(0, self._buffer[start : start + data.size])
        if not length:
            return 0
        began = self._clock()
        digest = blake3(self._buffer[start : start + length]).digest()[:DIGEST]
        ns = self._clock() - began
        record = RECORD.pack(digest, length, number)
        self._used = start + length
        self._pieces.append(_Piece(number, start, self._used, record, ns))
        self.whole.add(record)
        self._tick(length)
        return length

    def flush(self) -> None:
        """Cut what was collected."""
        if self._pieces:
            self._run([_Job(each, self._buffer, self._pieces, None) for each in self._chunkers])
        self._pieces = []
        self._used = 0

    def _stream(self, number: int, data: Data) -> int:
        read, filled = 0, 0
        starts = [0] * len(self._chunkers)
        whole = blake3()
        try:
            final = False
            while not final:
                count = data.read(read, self._buffer[filled:])
                whole.update(self._buffer[filled : filled + count])
                read, filled = read + count, filled + count
                final = filled < BUFFER or read == data.size
                filled, starts = self._advance(number, filled, starts, final)
                self._tick(count)
        except OSError:
            self._advance(number, filled, starts, True)
            raise
        finally:
            if read:
                self.whole.add(RECORD.pack(whole.digest()[:DIGEST], read, number))
        return read

    def _advance(self, number: int, filled: int, starts: list[int], final: bool) -> tuple[int, list[int]]:
        """Cut what is certain, and move what is not to the front."""
        jobs = [
            _Job(chunker, self._buffer[start:filled], (), (number, final))
            for chunker, start in zip(self._chunkers, starts, strict=True)
        ]
        ends = [start + used for start, used in zip(starts, self._run(jobs), strict=True)]
        kept = min(ends)
        self._buffer[: filled - kept] = self._buffer[kept:filled]
        return filled - kept, [end - kept for end in ends]

    def _run(self, jobs: list[_Job]) -> list[int]:
        """Let the workers cut; how many bytes of a stream each chunker is done with."""
        done = [cut for job in jobs for cut in self._pool.submit(job)]
        done += self._pool.drain()
        for index, cut in enumerate(done):
            self.records[index].add(cut.records)
            self.ns[index] += cut.ns
        return [cut.used for cut in done]

    def _cut(self, job: _Job) -> _Cut:
        """Pure, for the workers."""
        if job.stream:
            number, final = job.stream
            return self._chunks(job.chunker, job.data, number, final)
        records: list[bytes] = []
        ns = 0
        smallest = job.chunker.min_size
        for file, start, end, record, taken in job.pieces:
            if end - start <= smallest:  # one chunk, whoever cuts it
                records.append(record)
                ns += taken
            else:
                cut = self._chunks(job.chunker, job.data[start:end], file, True)
                records.append(cut.records)
                ns += cut.ns
        return _Cut(b"".join(records), 0, ns)

    def _chunks(self, chunker: Chunker, data: memoryview, file: int, final: bool) -> _Cut:
        began = self._clock()
        ends = chunker.cut(data, final)
        starts = [0, *ends[:-1]] if ends else []
        digests = [blake3(data[start:end]).digest() for start, end in zip(starts, ends, strict=True)]
        ns = self._clock() - began
        pack = RECORD.pack
        records = [pack(d[:DIGEST], end - start, file) for d, start, end in zip(digests, starts, ends, strict=True)]
        return _Cut(b"".join(records), ends[-1] if ends else 0, ns)

    def close(self) -> None:
        """Stop the workers and forget the records."""
        self._pool.close()
        for each in (*self.records, self.whole):
            each.close()

    def __enter__(self) -> Cutting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
