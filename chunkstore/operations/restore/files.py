"""The content of files: what of it is in the target already, what is wanted, and writing it.

    entry -> judged by a look -> compared, chunk by chunk -> wanted -> (fetched) -> written -> finished

Nothing that the target has is fetched: not what stands in an old file, nor what an interrupted restore left.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from chunkstore.errors import Damaged, TargetError
from chunkstore.operations.fetching import Got, Want
from chunkstore.operations.restore.compare import Chunk, Contents, Looks, Verdict, has_strange_names, judge, read_chunk
from chunkstore.operations.restore.elsewhere import Elsewhere
from chunkstore.operations.restore.report import Report
from chunkstore.operations.restore.underway import File, FileWant, Left
from chunkstore.operations.selection import Placed
from chunkstore.tree.display import display_path
from chunkstore.tree.existing import ExistingFile
from chunkstore.tree.overwriting import Overwrite
from chunkstore.tree.problems import TargetFull
from chunkstore.tree.target import Target
from chunkstore.tree.writer_process import Written

_WORTH_A_HOLE = 64 << 10


class Files:
    """Restores the content of files into a target.

    Every method raises `TargetFull`; other trouble with a file is reported, once, and does not stop others.
    """

    def __init__(self, contents: Contents, target: Target, report: Report, elsewhere: Elsewhere) -> None:
        self._contents = contents
        self._target = target
        self._elsewhere = elsewhere
        self._overwrite = target.overwrite
        self._looks = Looks(target.ownership)
        self._report = report

    def wants(self, placed: Placed, number: int) -> Iterator[FileWant]:
        """What has to be fetched for this file; one that needs nothing is finished on the way."""
        file = File(placed, number)
        try:
            if file.whole and self._overwrite is Overwrite.REFUSE:  # most files of most restores: nothing to look at
                if (want := self._whole(file)) is not None:
                    yield want
            else:
                yield from self._plan(file)
        except TargetFull:
            raise
        except (Damaged, TargetError) as e:
            self._give_up(file, e)

    def take(self, got: Got[tuple[File, int]]) -> None:
        """Write what was fetched, or give the file up."""
        file, position = got.purpose
        if got.damage:
            self._give_up(file, got.damage)
        elif not file.dropped:
            try:
                self._write(file, position, got.data)
            except TargetFull:
                raise
            except TargetError as e:
                self._give_up(file, e)

    def settle(self) -> None:
        """Wait until everything that was taken is written."""
        self._hear(self._elsewhere.finish())

    # -- what is wanted

    def _plan(self, file: File) -> Iterator[FileWant]:
        relative, found = file.placed.relative, file.placed.found
        there = None if self._overwrite is Overwrite.REFUSE else self._target.status(relative)
        verdict = judge(found.entry, there, self._overwrite)
        if verdict is Verdict.KEEP:
            self._keep(file)
            return
        if verdict is Verdict.SAME and self._refresh(file):
            return
        existing = self._target.read_existing(relative) if verdict is not Verdict.MAKE else None
        if existing is None:
            yield from self._one(file) if file.whole else self._new(file)
            return
        try:
            yield from self._changed_whole(file, existing) if file.whole else self._changed(file, existing)
        finally:
            existing.close()

    def _whole(self, file: File) -> FileWant | None:
        """The only chunk of a small file; None for an empty one, which is written."""
        chunk = self._contents.only(file.placed.found)
        if chunk is not None:
            return Want(chunk.chunk_id, (file, 0), chunk.length)
        self._write_whole(file, memoryview(b""))
        return None

    def _one(self, file: File) -> Iterator[FileWant]:
        if (want := self._whole(file)) is not None:
            yield want

    def _changed_whole(self, file: File, existing: ExistingFile) -> Iterator[FileWant]:
        """A small file that is there: it is read before it is fetched, and replaced if it differs."""
        entry = file.placed.found.entry
        chunk = self._contents.only(file.placed.found)
        if existing.size != entry.size or (chunk is not None and not self._holds(existing, file, chunk)):
            yield from self._one(file)
        elif not self._refresh(file):
            data = read_chunk(existing, file.layout, chunk) if chunk is not None else b""
            self._write_whole(file, memoryview(data))

    def _new(self, file: File) -> Iterator[FileWant]:
        """A file that is not there. What an interrupted restore left of it is used; a target that was empty has none.

        Else it is created when something of it comes: hundreds are wanted before.
        """
        may_be_begun = self._overwrite is not Overwrite.REFUSE
        if may_be_begun and self._target.is_begun(file.placed.relative) and not self._create(file):
            return
        for chunk in self._contents.chunks(file.placed.found):
            if file.dropped:
                return
            if not self._is_left(file, chunk):
                yield self._want(file, chunk)
        self._all_planned(file)

    def _changed(self, file: File, existing: ExistingFile) -> Iterator[FileWant]:
        """A file that is there: only chunks that differ are wanted. It is written to from the first of them on."""
        entry, owners = file.placed.found.entry, file.placed.found.owners
        chunks = self._contents.chunks(file.placed.found)
        first = next((chunk for chunk in chunks if not self._holds(existing, file, chunk)), None)
        if first is None and existing.size == entry.size and self._has_holes(existing, file) and self._refresh(file):
            return
        file.part = self._target.open_existing(file.placed.relative, entry, owners)
        if file.part is None:
            yield from self._copied(file, existing)
            return
        for chunk in chain([first] if first else [], chunks):
            if file.dropped:
                return
            if chunk is first or not self._holds(existing, file, chunk):
                yield self._want(file, chunk)
        self._all_planned(file)

    def _copied(self, file: File, existing: ExistingFile) -> Iterator[FileWant]:
        """A file that must not be changed where it is: a new one, with the parts of the old one that are the same."""
        if not self._create(file):
            return
        for chunk in self._contents.chunks(file.placed.found):
            if file.dropped:
                return
            if self._is_left(file, chunk):
                continue
            if self._holds(existing, file, chunk):
                self._write_parts(file, chunk.position, memoryview(read_chunk(existing, file.layout, chunk)))
            else:
                yield self._want(file, chunk)
        self._all_planned(file)

    def _want(self, file: File, chunk: Chunk) -> FileWant:
        file.waiting += 1
        return Want(chunk.chunk_id, (file, chunk.position), chunk.length)

    def _holds(self, existing: ExistingFile, file: File, chunk: Chunk) -> bool:
        """Whether an old file has the chunk; not where it can not be read."""
        try:
            return self._contents.holds(existing, file.layout, chunk)
        except OSError:
            return False

    def _is_left(self, file: File, chunk: Chunk) -> bool:
        """Whether an interrupted restore has written the chunk."""
        part = file.part
        if part is None or not part.there:
            return False
        return self._contents.holds(Left(self._target, part), file.layout, chunk)

    def _has_holes(self, existing: ExistingFile, file: File) -> bool:
        """Whether there are zeros where the file is to have holes, and holes where that saves something."""
        try:
            if existing.is_full and any(length >= _WORTH_A_HOLE for _, length in file.layout.holes()):
                return False
            return all(existing.has_zeros(offset, length) for offset, length in file.layout.holes())
        except OSError:
            return False

    def _create(self, file: File) -> bool:
        """Begin a new file; False if what is there is kept."""
        entry = file.placed.found.entry
        file.part = self._target.create(file.placed.relative, entry.size, entry)
        if file.part is None:
            self._keep(file)
        return file.part is not None

    # -- writing

    def _write(self, file: File, position: int, data: memoryview) -> None:
        file.fetched += len(data)
        if file.whole:
            self._write_whole(file, data)
            return
        if file.part is None and not self._create(file):
            return
        self._write_parts(file, position, data)
        file.waiting -= 1
        if file.planned and not file.waiting:
            self._finish(file)

    def _write_parts(self, file: File, position: int, data: memoryview) -> None:
        assert file.part is not None
        for start, offset, length in file.layout.pieces(position, len(data)):
            self._target.write_at(file.part, offset, data[start : start + length])
        file.written += len(data)
        self._report.progress(len(data))

    def _write_whole(self, file: File, data: memoryview) -> None:
        found = file.placed.found
        if self._elsewhere.take(file, data):
            self._hear(self._elsewhere.results())
        elif self._target.write_whole(file.placed.relative, data, found.entry, found.owners):
            self._is_written(file, len(data))
        else:
            self._keep(file)

    def _hear(self, results: list[Written[File]]) -> None:
        """What became of files that were written elsewhere."""
        for file, size, error in results:
            if error is None:
                self._is_written(file, size)
            else:
                self._give_up(file, error)

    def _is_written(self, file: File, size: int) -> None:
        file.written = size
        self._report.progress(size)
        self._is_finished(file)

    def _all_planned(self, file: File) -> None:
        file.planned = True
        if not file.waiting:
            self._finish(file)

    def _finish(self, file: File) -> None:
        found = file.placed.found
        if file.part is None and not self._create(file):  # nothing but holes
            return
        assert file.part is not None
        if file.part.there:
            for offset, length in file.layout.holes():
                self._target.make_hole(file.part, offset, length)
        if self._target.finish(file.part, found.entry, found.owners):
            self._is_finished(file)
        else:
            self._keep(file)

    def _is_finished(self, file: File) -> None:
        in_place = file.part is not None and file.part.in_place
        self._report.file(file.placed, file.number, in_place, file.written, file.fetched)

    def _refresh(self, file: File) -> bool:
        """Leave the content of a file as it is, and set its attributes; False where these can not be set."""
        relative, found = file.placed.relative, file.placed.found
        there = self._target.status(relative)
        if there is not None and has_strange_names(found.entry, there):
            return False
        same = there is not None and self._looks.are_same(there, found.entry, found.owners)
        if not self._target.refresh(relative, found.entry, found.owners):
            return False
        self._report.unchanged(file.placed, same)
        return True

    def _keep(self, file: File) -> None:
        file.dropped = True
        self._report.kept(file.placed)

    def _give_up(self, file: File, error: Damaged | TargetError) -> None:
        """Report a file once, and leave nothing of a new one that could pass for the file."""
        if file.dropped:
            return
        file.dropped = True
        message = f"{display_path(file.placed.relative)}: {error}" if isinstance(error, Damaged) else str(error)
        if file.part is not None:
            if file.part.in_place:
                self._report.incomplete(file.written)
                message += "; content incomplete: the file is part old, part new"
            self._target.discard(file.part)
        self._report.problem(message)
