"""What a restore would do, without doing any of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing

from chunkstore.errors import Damaged, TargetError
from chunkstore.format.entries import DIRECTORY, FILE, SOCKET, SYMLINK
from chunkstore.format.extents import Layout
from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.restore.compare import Contents, Looks, Verdict, has_strange_names, judge
from chunkstore.operations.restore.delete import Deletion
from chunkstore.operations.restore.links import Links, judge_link
from chunkstore.operations.restore.values import EVERYTHING, Action, Restored, RestoreOptions, Step
from chunkstore.operations.selection import Placed, Taking, base_of, select, taken
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.tree.display import display_path
from chunkstore.tree.existing import ExistingFile
from chunkstore.tree.looking import LookedAt
from chunkstore.tree.overwriting import Overwrite


def plan(
    reader: ChunkReader,
    manifest: ManifestReader,
    record: SnapshotRecord,
    path: bytes | None,
    there: LookedAt,
    progress: Progress,
    options: RestoreOptions = EVERYTHING,
) -> Restored:
    """What `restore` would do with the same arguments; `options.told` hears of each path.

    `bytes` and `fetched` of the result are the content that would be fetched. Only content that is there is read,
    nothing of it is fetched. What would go wrong while writing can not be foreseen. Raises as `restore` does.
    """
    done, base = Restored(), base_of(record, path)
    with ExitStack() as stack:
        links = stack.enter_context(closing(Links(manifest, options.scratch)))
        planning = _Planning(Contents(reader, manifest), there, links, done, progress, options)
        entries = select(manifest, record, path)
        if options.delete:
            deletion = stack.enter_context(closing(Deletion(there.path, base, options)))
            entries = deletion.following(entries)
        if options.rules:
            entries = taken(entries, Taking(options.rules, base), manifest)
        planning.run(entries)
        if options.delete:
            for relative in deletion.planned(there, planning.problem):
                planning.tell(Action.DELETE, relative)
    return done


class _Planning:
    def __init__(
        self,
        contents: Contents,
        there: LookedAt,
        links: Links,
        done: Restored,
        progress: Progress,
        options: RestoreOptions,
    ) -> None:
        self._contents = contents
        self._there = there
        self._links = links
        self._done = done
        self._progress = progress
        self._options = options
        self._looks = Looks(there.ownership)

    def run(self, entries: Iterator[Placed]) -> None:
        for number, placed in enumerate(entries):
            if (first := self._links.first(placed)) is not None:
                self._links.wait(placed, first, number)
            else:
                self._entry(placed)
            self._progress.advance(placed.found.entry.kind == FILE, placed.found.entry.content_size)
        for later, placed in self._links.waiting():
            verdict = judge_link(self._there, later, placed.found.entry, self._there.overwrite)
            if verdict is Verdict.SAME:
                self.tell(Action.UNCHANGED, placed.relative)
            elif verdict is Verdict.KEEP:
                self.tell(Action.KEEP, placed.relative)
            else:
                self._done.hard_links += 1
                self.tell(Action.CREATE, placed.relative)

    def tell(self, action: Action, relative: bytes, fetched: int = 0) -> None:
        """Count one path."""
        done = self._done
        done.updated += action is Action.UPDATE
        done.unchanged += action in (Action.UNCHANGED, Action.ATTRIBUTES)
        done.kept += action is Action.KEEP
        done.skipped += action is Action.SKIP
        done.deleted += action is Action.DELETE
        done.bytes += fetched
        done.fetched += fetched
        if self._options.told is not None:
            self._options.told(Step(action, relative, fetched))

    def _entry(self, placed: Placed) -> None:
        try:
            if placed.found.entry.kind == DIRECTORY:
                self._directory(placed)
            elif placed.found.entry.kind == SOCKET:
                self.tell(Action.SKIP, placed.relative)
            else:
                self._other(placed)
        except (TargetError, Damaged) as e:
            shown = display_path(placed.relative)
            self.problem(str(e) if isinstance(e, TargetError) else f"{shown}: {e}")

    def _directory(self, placed: Placed) -> None:
        found, here = placed.found, self._there.status(placed.relative)
        self._done.directories += 1
        if here is None or not stat.S_ISDIR(here.st_mode):
            if here is not None and not self._may_replace_by_directory():
                raise TargetError(f"{self._shown(placed)}: something that is no directory is in the way")
            self.tell(Action.CREATE, placed.relative)
            return
        same = found.entry.ancestor or self._looks.are_same(here, found.entry, found.owners)
        action = Action.UNCHANGED if same else Action.ATTRIBUTES
        if self._options.told is not None:  # directories are counted as such
            self._options.told(Step(action, placed.relative))

    def _other(self, placed: Placed) -> None:
        found, here = placed.found, self._there.status(placed.relative)
        verdict = judge(found.entry, here, self._there.overwrite)
        if verdict is Verdict.KEEP:
            self.tell(Action.KEEP, placed.relative)
            return
        if here is None or verdict is Verdict.MAKE:
            if here is not None and stat.S_ISDIR(here.st_mode) and not self._may_remove_directories():
                raise TargetError(f"{self._shown(placed)}: a directory is in the way")
            self._create(placed)
            return
        same = self._looks.are_same(here, found.entry, found.owners)
        if found.entry.kind != FILE:
            target = self._there.link_target(placed.relative) if found.entry.kind == SYMLINK else None
            if self._looks.is_made(here, found.entry, found.owners, target):
                self.tell(Action.UNCHANGED, placed.relative)
            else:
                self._create(placed)
        elif verdict is Verdict.SAME:
            self.tell(Action.UNCHANGED if same else Action.ATTRIBUTES, placed.relative)
        else:
            self._compare(placed, here, same)

    def _compare(self, placed: Placed, here: os.stat_result, same: bool) -> None:
        entry = placed.found.entry
        existing = self._there.read_existing(placed.relative)
        if existing is None:
            self._create(placed)
            return
        with closing(existing):
            fetched = self._differing(placed, existing)
            strange = has_strange_names(entry, here)
            if entry.size == existing.size and not fetched and not strange:
                self.tell(Action.UNCHANGED if same else Action.ATTRIBUTES, placed.relative)
            else:
                self.tell(Action.UPDATE, placed.relative, fetched)

    def _differing(self, placed: Placed, existing: ExistingFile) -> int:
        """Bytes of content that the file does not have. A small one of another size is fetched as it is."""
        entry = placed.found.entry
        layout = Layout(entry)
        if entry.chunks <= 1 and entry.extents is None and existing.size != entry.size:
            return entry.size
        size = 0
        for chunk in self._contents.chunks(placed.found):
            try:
                held = self._contents.holds(existing, layout, chunk)
            except OSError:
                held = False
            size += 0 if held else chunk.length
        return size

    def _create(self, placed: Placed) -> None:
        entry = placed.found.entry
        self._done.files += entry.kind == FILE
        self._done.links += entry.kind == SYMLINK
        self._done.specials += entry.kind not in (FILE, SYMLINK)
        self.tell(Action.CREATE, placed.relative, entry.content_size if entry.kind == FILE else 0)

    def _may_replace_by_directory(self) -> bool:
        return self._there.overwrite in (Overwrite.ALWAYS, Overwrite.IF_CHANGED) or self._may_remove_directories()

    def _may_remove_directories(self) -> bool:
        removes = self._options.delete and not self._options.rules
        return removes and self._there.overwrite not in (Overwrite.REFUSE, Overwrite.NEVER)

    def _shown(self, placed: Placed) -> str:
        return display_path(self._there.path.rstrip(b"/") + b"/" + placed.relative)

    def problem(self, message: str) -> None:
        """Something could not be restored."""
        self._done.problems.append(message)
        self._progress.warn(message)
