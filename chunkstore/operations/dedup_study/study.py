"""How well do these files deduplicate, and with which chunks? Needs no repository, and stores nothing.

    walk -> read once -> [cut, hash: each chunker] -> records on disk -> count -> frames of new chunks -> compress a sample

Every file is read once for all chunkers; what is compressed is read a second time. Memory: 24 MiB for what is read, 64
KiB for each chunker, about 40 MiB while chunks are counted, one bit for each chunk of one chunker (20 million chunks:
2.5 MB), 17 MiB for each worker that compresses. Temporary files: 24 bytes for each chunk of all chunkers, and 32 for each
of one of them while it is counted; at 1 TB, with three algorithms from 16 KiB to 4 MiB, about 11 GB.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from blake3 import blake3

from chunkstore.chunking import ChunkerParameters
from chunkstore.errors import Interrupted, SourceError
from chunkstore.format.entries import join
from chunkstore.operations.dedup_study.counting import Found, count, places
from chunkstore.operations.dedup_study.cutting import Cutting
from chunkstore.operations.dedup_study.frames import Compressing
from chunkstore.operations.dedup_study.reading import Data
from chunkstore.operations.dedup_study.size import sizes
from chunkstore.operations.dedup_study.spill import DIGEST, Bits, Paths, Records
from chunkstore.operations.dedup_study.values import Measurement, SameChunks, SameFiles, Sampled, Study, StudyOptions
from chunkstore.operations.snapshot.estimate import estimate
from chunkstore.progress import Progress
from chunkstore.repository.repository import never_stop
from chunkstore.tree.choosing import Chooser
from chunkstore.tree.display import display_path
from chunkstore.tree.link_groups import LinkGroups
from chunkstore.tree.roots import normalise, normalise_roots
from chunkstore.tree.walk import walk

_NAMED = 5
"""So many places of one duplicate are named."""


def dedup_study(
    paths: Sequence[bytes],
    cwd: bytes,
    options: StudyOptions,
    progress: Progress,
    scratch: str | None = None,
    stop: Callable[[], bool] = never_stop,
) -> Study:
    """Study the files at and below `paths`, in their order of a walk. Temporary files are made in `scratch`.

    Raises `SourceError` when none of the paths is there, `InvalidArgument` when the library of a chunker is missing,
    `StorageFull` when temporary files have no room, `Interrupted` when `stop` asked for it. What can not be read is a
    problem of the result.
    """
    with ExitStack() as stack:
        return _Run(paths, cwd, options, progress, scratch, stop, stack).run()


class _Run:
    """One study."""

    def __init__(
        self,
        paths: Sequence[bytes],
        cwd: bytes,
        options: StudyOptions,
        progress: Progress,
        scratch: str | None,
        stop: Callable[[], bool],
        stack: ExitStack,
    ) -> None:
        self._options, self._progress, self._stop, self._stack = options, progress, stop, stack
        self._problems: list[str] = []
        self._roots = self._roots_of(paths, cwd)
        self._paths = stack.enter_context(Paths(scratch))
        self._links = stack.enter_context(LinkGroups(scratch))
        self._cutting = stack.enter_context(
            Cutting(options.chunkers, scratch, options.cpu_clock, options.workers, self._tick)
        )
        self._chooser = Chooser(options.choosing, self._problem)
        self._further_names = 0

    def run(self) -> Study:
        options = self._options
        if options.estimate:
            estimate(self._roots, options.choosing, self._progress, self._stack)
        for path, size in self._files():
            self._read(path, size)
        self._cutting.flush()
        whole, copies = self._whole_files()
        reference = _reference(options.chunkers)
        compressing = Compressing(self._paths, options.level, options.workers, self._check)
        measurements = []
        same_chunks: tuple[SameChunks, ...] = ()
        for index, chunker in enumerate(options.chunkers):
            self._show(str(chunker))
            records = self._cutting.records[index]
            found = count(records, copies, options.top if chunker == reference else 0)
            sampled = compressing.sample(records, found.new, found.counted.unique, options.sample)
            measurements.append(_measurement(chunker, found, sampled, self._cutting.ns[index]))
            if chunker == reference:
                same_chunks = self._same_chunks(records, found, copies)
        return Study(
            paths=tuple(self._roots),
            files=whole.counted.chunks,
            links=self._further_names,
            total=whole.counted.total,
            copies=whole.counted.chunks - whole.counted.unique_chunks,
            copied=whole.counted.wasted,
            measurements=tuple(measurements),
            same_files=self._same_files(whole),
            same_chunks=same_chunks,
            reference=reference,
            left_out=self._chooser.left_out,
            problems=tuple(self._problems),
        )

    # -- reading

    def _roots_of(self, paths: Sequence[bytes], cwd: bytes) -> list[bytes]:
        given = sorted({normalise(path, cwd) for path in paths})
        missing = [path for path in given if not os.path.lexists(path)]
        if not given or len(missing) == len(given):
            some = ", ".join(map(display_path, missing[:_NAMED])) + (" ..." if len(missing) > _NAMED else "")
            raise SourceError(f"nothing to study: {some} does not exist" if missing else "nothing to study")
        roots = normalise_roots(given, cwd)
        for path in sorted(set(missing).difference(roots)):
            self._problems.append(f"{display_path(path)}: No such file or directory")
        return roots

    def _files(self) -> Iterator[tuple[bytes, int]]:
        """Path and size of every regular file; each once, whatever names it has."""
        for parent, children in walk(self._roots, on_error=self._problem, choice=self._chooser):
            self._check()
            for name, status in children:
                if not stat.S_ISREG(status.st_mode):
                    continue
                if status.st_nlink > 1 and self._is_further_name(status):
                    self._further_names += 1
                    continue
                yield join(parent, name), status.st_size

    def _is_further_name(self, status: os.stat_result) -> bool:
        key = (status.st_dev, status.st_ino)
        if self._links.get(key) is not None:
            return True
        self._links.put(key, b"1")
        return False

    def _read(self, path: bytes, size: int) -> None:
        if size:
            self._progress.current(path)
            try:
                with Data(path) as data:
                    self._cutting.add(self._paths.add(path), data)
            except OSError as e:
                self._problem(path, e)
        self._progress.advance(1, 0)

    def _problem(self, path: bytes, error: OSError) -> None:
        self._problems.append(f"{display_path(path)}: {error.strerror or error}")

    def _tick(self, size: int) -> None:
        self._progress.advance(0, size)
        self._check()

    def _check(self) -> None:
        if self._stop():
            raise Interrupted("interrupted")

    def _show(self, what: str) -> None:
        self._progress.current(what.encode())
        self._progress.advance(0, 0)
        self._check()

    # -- duplicates

    def _whole_files(self) -> tuple[Found, Bits]:
        """The files as if each were one chunk, and which of them are the same as an earlier one."""
        records = self._cutting.whole
        found = count(records, None, self._options.top)
        copies = Bits(len(self._paths))
        for place, (_, _, file) in enumerate(records):
            if not found.new[place]:
                copies.set(file)
        return found, copies

    def _same_files(self, whole: Found) -> tuple[SameFiles, ...]:
        there = places(self._cutting.whole, None, [digest for _, digest, _ in whole.top], _NAMED)
        return tuple(
            SameFiles(group.length, group.count, tuple(self._paths[file] for file, _ in there[digest]))
            for _, digest, group in whole.top
        )

    def _same_chunks(self, records: Records, found: Found, copies: Bits) -> tuple[SameChunks, ...]:
        there = places(records, copies, [digest for _, digest, _ in found.top], _NAMED)
        return tuple(
            SameChunks(
                group.length,
                group.count,
                group.files,
                digest == blake3(bytes(group.length)).digest()[:DIGEST],
                tuple((self._paths[file], offset) for file, offset in there[digest]),
            )
            for _, digest, group in found.top
        )


def _reference(chunkers: Sequence[ChunkerParameters]) -> ChunkerParameters:
    """What duplicates of chunks are shown for: the default where it is studied, else the first."""
    return ChunkerParameters() if ChunkerParameters() in chunkers else chunkers[0]


def _measurement(chunker: ChunkerParameters, found: Found, sampled: Sampled, cpu_ns: int) -> Measurement:
    counted = found.counted
    compressed = round(counted.unique * sampled.compressed / sampled.raw) if sampled.raw else counted.unique
    index, stored = sizes(counted, sampled.frames, compressed)
    return Measurement(chunker, counted, sampled, compressed, index, stored, cpu_ns)
