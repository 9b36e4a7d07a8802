"""Write a snapshot, or a part of it, to a directory.

    manifest -> rules -> places -> directories, links: at once; files: chunks wanted -> fetched by pack -> written -> finished
    -> further names of files -> what is not in the snapshot removed -> directory times, deepest first -> read again

A file that can not be had does not stop the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from chunkstore.errors import TargetError
from chunkstore.format.entries import DIRECTORY, FILE, SOCKET, SYMLINK
from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.fetching import fetch
from chunkstore.operations.restore.check import Marks, check
from chunkstore.operations.restore.compare import Contents, Looks, Verdict, judge
from chunkstore.operations.restore.delete import Deletion
from chunkstore.operations.restore.elsewhere import Elsewhere
from chunkstore.operations.restore.files import Files
from chunkstore.operations.restore.links import Later, Links, judge_link
from chunkstore.operations.restore.report import Report
from chunkstore.operations.restore.underway import FileWant
from chunkstore.operations.restore.values import EVERYTHING, Restored, RestoreOptions
from chunkstore.operations.selection import Placed, Taking, base_of, select, taken
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.tree.problems import NoLink, TargetFull
from chunkstore.tree.target import Overwrite, Target

__all__ = ["Restored", "restore"]


def restore(
    reader: ChunkReader,
    manifest: ManifestReader,
    record: SnapshotRecord,
    path: bytes | None,
    target: Target,
    workers: int,
    progress: Progress,
    options: RestoreOptions = EVERYTHING,
) -> Restored:
    """Restore `path` of the snapshot, or all of it, into `target`.

    Raises `PathNotFound`, `Damaged` for a manifest that is not whole, and `TargetFull`: nothing was deleted then.
    Single files that could not be had or written are in `problems`.
    """
    done, before, base = Restored(), reader.fetched, base_of(record, path)
    contents = Contents(reader, manifest)
    with ExitStack() as stack:
        marks = stack.enter_context(closing(Marks(options.scratch))) if options.verify else None
        links = stack.enter_context(closing(Links(manifest, options.scratch)))
        elsewhere = stack.enter_context(closing(Elsewhere(target, workers)))
        report = Report(done, marks, progress, options.told)
        making = _Making(target, links, files := Files(contents, target, report, elsewhere), report)
        deletion = stack.enter_context(closing(Deletion(target.path, base, options))) if options.delete else None
        entries = select(manifest, record, path)
        if deletion is not None:
            entries = deletion.following(entries)
        if options.rules:
            entries = taken(entries, Taking(options.rules, base), manifest)
        for wants in (making.wants(entries), making.further_names()):
            for got in fetch(reader, wants, workers):
                files.take(got)
            files.settle()  # before other names are given to what was written
        if deletion is not None:
            report.problems(deletion.carry_out(target, report.deleted))
        target.finish_directories()
        if marks is not None:
            again = select(manifest, record, path, options.rules)
            report.problems(check(contents, target, again, marks, progress, report.verified))
    done.not_set = target.not_set
    done.fetched = reader.fetched - before
    return done


class _Making:
    """Makes everything but files, which it passes on, and the further names of files when these are there."""

    def __init__(self, target: Target, links: Links, files: Files, report: Report) -> None:
        self._target = target
        self._links = links
        self._files = files
        self._report = report
        self._looks = Looks(target.ownership)

    def wants(self, entries: Iterator[Placed]) -> Iterator[FileWant]:
        """Make directories and links on the way; the chunks of files are wanted."""
        for number, placed in enumerate(entries):
            entry = placed.found.entry
            if entry.kind == FILE and entry.link is None:
                yield from self._files.wants(placed, number)
            elif entry.kind == DIRECTORY:
                self._directory(placed, number)
            elif (first := self._links.first(placed)) is not None:
                self._links.wait(placed, first, number)
            else:
                yield from self._alone(placed, number)

    def further_names(self) -> Iterator[FileWant]:
        """Link the names that waited; what can not be a link is restored by itself."""
        for later, placed in self._links.waiting():
            if not self._link(later, placed):
                yield from self._alone(placed, later.number)

    def _alone(self, placed: Placed, number: int) -> Iterator[FileWant]:
        if placed.found.entry.kind == FILE:
            yield from self._files.wants(placed, number)
        else:
            self._special(placed, number)

    def _directory(self, placed: Placed, number: int) -> None:
        relative, found = placed.relative, placed.found
        with self._reported():
            new = self._target.overwrite is Overwrite.REFUSE or self._target.status(relative) is None
            self._target.make_directory(relative)
            self._target.note_directory(relative, found.entry, found.owners)
            self._report.directory(placed, number, new)

    def _link(self, later: Later, placed: Placed) -> bool:
        """Whether it is a link now, or need not be."""
        entry = placed.found.entry
        with self._reported():
            match judge_link(self._target, later, entry, self._target.overwrite):
                case Verdict.SAME:
                    self._report.unchanged(placed, same=True)
                case Verdict.KEEP:
                    self._report.kept(placed)
                case Verdict.COMPARE:
                    return False
                case Verdict.MAKE:
                    try:
                        made = self._target.make_link(placed.relative, later.first, entry)
                    except NoLink:
                        return False
                    if made:
                        self._report.hard_link(placed, later.number)
                    else:
                        self._report.kept(placed)
        return True

    def _special(self, placed: Placed, number: int) -> None:
        relative, found = placed.relative, placed.found
        with self._reported():
            if found.entry.kind == SOCKET:
                self._report.skipped(placed)
                return
            there = None if self._target.overwrite is Overwrite.REFUSE else self._target.status(relative)
            verdict = judge(found.entry, there, self._target.overwrite)
            if verdict is Verdict.KEEP:
                self._report.kept(placed)
                return
            if verdict is Verdict.COMPARE and there is not None:
                target = self._target.link_target(relative) if found.entry.kind == SYMLINK else None
                if self._looks.is_made(there, found.entry, found.owners, target):
                    self._report.unchanged(placed, same=True)
                    return
            self._made(placed, number)

    def _made(self, placed: Placed, number: int) -> None:
        """Make a link, a pipe or a device."""
        make = self._target.make_symlink if placed.found.entry.kind == SYMLINK else self._target.make_special
        made = make(placed.relative, placed.found.entry, placed.found.owners)
        if made:
            self._report.special(placed, number)
        elif made is None:
            self._report.skipped(placed)
        else:
            self._report.kept(placed)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Trouble with one entry does not stop the others."""
        try:
            yield
        except TargetFull:
            raise
        except TargetError as e:
            self._report.problem(str(e))
