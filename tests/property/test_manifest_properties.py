"""Manifests against plain lists; and the one written over the last against the one written from nothing."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, Entry, components, join, sort_key
from chunkstore.ids import ChunkId, SnapshotId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.snapshot.last_manifest import LastManifest
from chunkstore.repository import manifest_trees, manifest_writer
from chunkstore.repository.manifest_cache import CacheHeader, ManifestCacheWriter, open_manifest_cache
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.repository.manifest_writer import ManifestWriter, Roots
from chunkstore.tree.reading import entry_of
from tests.sample_objects import NOW, DictChunks, NoLog, make_key

PROFILE = settings(derandomize=True, deadline=None, max_examples=25)
KEY = make_key(8)
NAME = "last"
SMALL = {
    "SEGMENT_MIN": 2, "SEGMENT_MAX": 9, "_SEGMENT_MASK": 3,
    "RUN_MIN": 2, "RUN_MAX": 16, "_RUN_MASK": 3, "_OWN_RUN": 5,
    "NODE_MIN": 2, "NODE_MAX": 7, "_NODE_MASK": 1,
}  # fmt: skip


@contextlib.contextmanager
def small_world() -> Iterator[None]:
    """Segments of few entries, runs of few ids, nodes of few children: all of it shows in small manifests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(manifest_writer if hasattr(manifest_writer, name) else manifest_trees, name, value)
        yield


@dataclass(frozen=True)
class Node:
    """A file of a make-believe file system, under its path; `version` stands for all that `lstat` says of a change."""

    kind: int
    version: int = 0
    chunks: int = 0
    racy: bool = False

    def status(self, path: bytes, now: int) -> os.stat_result:
        modes = {FILE: stat.S_IFREG | 0o644, DIRECTORY: stat.S_IFDIR | 0o755, SYMLINK: stat.S_IFLNK | 0o777}
        inode = int.from_bytes(KEY.chunk_id(ChunkKind.CONTENT, path)[:4], "big")
        time = now if self.racy else 1_000_000_000 * (1 + self.version)
        size = 4096 if self.kind == DIRECTORY else self.chunks * 100
        return os.stat_result(
            (modes[self.kind], inode, 1, 1, 1000, 1000, size, 0, 0, 0), {"st_mtime_ns": time, "st_ctime_ns": time}
        )

    def entry(self, path: bytes, name: bytes, now: int) -> Entry:
        extra = {"target": b"to %d" % self.version} if self.kind == SYMLINK else None
        return entry_of(name, self.status(path, now), self.chunks, extra)

    def ids(self, path: bytes) -> bytes:
        return Random(f"{path!r} {self.version}").randbytes(32 * self.chunks)


Files = dict[bytes, Node]
"""By absolute path; parents need not be there."""


def placed(files: Files) -> list[tuple[bytes, bytes, Node]]:
    """(parent, name, node) in manifest order."""
    found = []
    for path, node in files.items():
        parent, _, name = path.rpartition(b"/")
        found.append((parent or b"/", name, node))
    return sorted(found, key=lambda each: sort_key(each[0], each[1]))


def write_afresh(files: Files, chunks: DictChunks, now: int = NOW) -> Roots:
    writer = ManifestWriter(chunks, KEY.segment_cut_key, NoLog())
    for parent, name, node in placed(files):
        path = join(parent, name)
        if node.chunks:
            writer.add_ids(node.ids(path))
        writer.add(parent, node.entry(path, name, now))
    return writer.finish()


@dataclass
class Run:
    """A snapshot over the last manifest in `directory`, driven as `operations.snapshot` drives it."""

    directory: Path
    chunks: DictChunks
    number: int
    look_up: bool
    kept: int = 0
    gone: int = 0
    keep: bool = True

    @property
    def now(self) -> int:
        return NOW + self.number * 10**12

    def write(self, files: Files) -> Roots:
        header = CacheHeader(SnapshotId(f"{self.number:032x}"), 0, 0, self.now)
        with contextlib.ExitStack() as stack:
            log = ManifestCacheWriter(self.directory, NAME, header, pytest.fail)
            stack.callback(log.close)
            cache = open_manifest_cache(self.directory, NAME)
            if cache:
                stack.callback(cache.close)
            manifest = ManifestWriter(self.chunks, KEY.segment_cut_key, log)
            restore = self.chunks.add if self.look_up else None
            last = LastManifest(cache, KEY, manifest, log.ids, restore)
            for parent, name, node in placed(files):
                self._entry(last, manifest, parent, name, node)
            last.finish()
            roots = manifest.finish()
            self.gone = last.files_gone
            if self.keep:
                log.keep(len(files), sum(100 * node.chunks for node in files.values()))
        return roots

    def _entry(self, last: LastManifest, manifest: ManifestWriter, parent: bytes, name: bytes, node: Node) -> None:
        path = join(parent, name)
        match = last.find(parent, name)
        if match is not None and last.unchanged(match.row, node.status(path, self.now)):
            last.keep(parent, match)
            self.kept += 1
            return
        last.interrupt()
        if node.chunks:
            joined = node.ids(path)
            manifest.add_ids(joined[: 32 * (node.chunks // 2)])
            manifest.add_ids(joined[32 * (node.chunks // 2) :])
        manifest.add(parent, node.entry(path, name, self.now))


def read_ids(reader: ManifestReader) -> list[tuple[bytes, Entry, bytes]]:
    return [(found.parent, found.entry, b"".join(reader.ids(found))) for found in reader.entries()]


def expected(files: Files, now: int = NOW) -> list[tuple[bytes, Entry, bytes]]:
    return [
        (parent, node.entry(join(parent, name), name, now), node.ids(join(parent, name)))
        for parent, name, node in placed(files)
    ]


# -- what there may be

NAMES = st.sampled_from([b"a", b"b", b"a-b", b"a\xff", b"\x01", b"c" * 40]) | st.binary(min_size=1, max_size=3).filter(
    lambda name: not set(name) & {0, 0x2F} and name not in (b".", b"..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: b"/" + b"/".join(parts))
NODES = st.builds(
    Node,
    kind=st.just(FILE),
    version=st.integers(0, 2),
    chunks=st.sampled_from([0, 0, 1, 1, 2, 3, 6, 40]),
    racy=st.sampled_from([False] * 9 + [True]),
) | st.builds(Node, kind=st.sampled_from([DIRECTORY, SYMLINK]), version=st.integers(0, 2))
FILES = st.dictionaries(PATHS, NODES, min_size=1, max_size=40)


def many_files(random: Random, count: int, max_chunks: int = 40) -> Files:
    """Thousands of files in some directories."""
    parents = [b"", b"/a", b"/a/b", b"/a/b/c", b"/a-b", b"/\xff\xfe", b"/" + b"d" * 200]
    files: Files = {}
    while len(files) < count:
        path = random.choice(parents) + b"/" + random.randbytes(4).hex().encode()
        chunks = random.choice([0, 1, 1, 1, 1, 2, 3, random.randrange(max_chunks)])
        files[path] = Node(FILE, random.randrange(3), chunks)
    return files


def edited(random: Random, files: Files, edits: int) -> Files:
    """Some added, removed and changed, alone and in a row."""
    files = dict(files)
    for _ in range(edits):
        paths = sorted(files)
        at = random.randrange(len(paths))
        some = paths[at : at + random.choice([1, 1, 1, 5, 300])]
        match random.randrange(4):
            case 0 if len(some) < len(files):
                for path in some:
                    del files[path]
            case 1:
                files[paths[at] + b"+"] = Node(FILE, 1, random.randrange(4))
            case 2:
                for path in some:
                    files[path] = replace(files[path], version=files[path].version + 1)
            case _:
                files[paths[at]] = Node(FILE, files[paths[at]].version + 1, random.randrange(30))
    return files


EDITS = st.lists(
    st.tuples(st.just("put"), PATHS, NODES) | st.tuples(st.just("remove"), st.integers(0, 60), st.just(None)),
    max_size=6,
)


def apply(files: Files, edits: list[tuple[str, object, object]]) -> Files:
    files = dict(files)
    for what, where, node in edits:
        if what == "put":
            assert isinstance(where, bytes)
            assert isinstance(node, Node)
            files[where] = node
        elif len(files) > 1:
            assert isinstance(where, int)
            del files[sorted(files)[where % len(files)]]
    return files


# -- reading


@PROFILE
@given(FILES, st.lists(PATHS, max_size=5), st.booleans())
def test_a_manifest_is_the_sorted_list_that_was_added(files: Files, others: list[bytes], small: bool) -> None:
    chunks = DictChunks(KEY)
    with small_world() if small else contextlib.nullcontext():
        roots = write_afresh(files, chunks)
    reader = ManifestReader(chunks, roots.content, roots.reference)
    everything = expected(files)
    assert read_ids(reader) == everything
    for parent, entry, joined in everything:
        found = reader.find(join(parent, entry.name))
        assert found is not None
        assert (found.parent, found.entry, found.path) == (parent, entry, join(parent, entry.name))
        assert b"".join(reader.ids(found)) == joined
    paths = {join(parent, entry.name) for parent, entry, _ in everything}
    above = {b"/" + b"/".join(components(path)[:n]) for path in paths for n in range(len(components(path)))}
    for path in [*others, *sorted(above)[:10], *sorted(paths)[:5]]:
        assert (reader.find(path) is not None) == (path in paths)
        inside = components(path)
        below = [(parent, entry) for parent, entry, _ in everything if components(parent)[: len(inside)] == inside]
        assert [(each.parent, each.entry) for each in reader.below(path)] == below
        assert [each.entry for each in reader.children(path)] == [entry for parent, entry in below if parent == path]


@settings(PROFILE, max_examples=2)
@given(st.integers(0, 1000))
def test_large_manifests_come_back(seed: int) -> None:
    random = Random(seed)
    files = many_files(random, 4000)
    files[b"/a/huge"] = Node(FILE, 0, 20_000)
    files[b"/a/b/large"] = Node(FILE, 0, random.randrange(20_000))
    chunks = DictChunks(KEY)
    roots = write_afresh(files, chunks)
    assert read_ids(ManifestReader(chunks, roots.content, roots.reference)) == expected(files)


# -- writing over the last one


def same_as_afresh(directory: Path, states: list[Files], look_up: bool) -> list[Run]:
    """Write the states one over the other; each must be as it is from nothing, and can be read in full."""
    runs = []
    chunks = DictChunks(KEY)
    for number, files in enumerate(states):
        run = Run(directory, chunks, number, look_up)
        roots = run.write(files)
        fresh = DictChunks(KEY)
        assert roots == write_afresh(files, fresh, run.now)
        assert set(fresh.chunks) <= set(chunks.chunks), "a chunk that is referred to was never stored"
        runs.append(run)
    return runs


@settings(PROFILE, max_examples=60)
@given(FILES, st.lists(EDITS, min_size=1, max_size=3), st.booleans())
def test_a_merged_manifest_is_as_one_from_nothing(
    files: Files, edits: list[list[tuple[str, object, object]]], look_up: bool
) -> None:
    states = [files]
    for each in edits:
        states.append(apply(states[-1], each))
    with TemporaryDirectory() as directory, small_world():
        same_as_afresh(Path(directory), states, look_up)


@settings(PROFILE, max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 12), st.booleans())
def test_many_edits_in_a_small_world(seed: int, edits: int, look_up: bool) -> None:
    random = Random(seed)
    states = [many_files(random, 120, max_chunks=25)]
    states += [edited(random, states[-1], edits) for _ in range(1)]
    states += [edited(random, states[-1], 1)]
    with TemporaryDirectory() as directory, small_world():
        same_as_afresh(Path(directory), states, look_up)


@settings(PROFILE, max_examples=2)
@given(st.integers(0, 2**32))
def test_large_merged_manifests_are_as_ones_from_nothing(seed: int) -> None:
    random = Random(seed)
    states = [many_files(random, 3000)]
    states[0][b"/a/huge"] = Node(FILE, 0, 9000)
    states.append(edited(random, states[-1], random.randrange(1, 20)))
    states.append(states[-1])
    with TemporaryDirectory() as directory:
        *_, last = same_as_afresh(Path(directory), states, look_up=False)
    assert last.kept == len(states[-1])
    assert last.gone == 0


def test_an_unchanged_tree_stores_and_encodes_next_to_nothing() -> None:
    files = many_files(Random(3), 3000)
    with TemporaryDirectory() as directory:
        chunks = DictChunks(KEY)
        first = Run(Path(directory), chunks, 0, look_up=False).write(files)
        before = chunks.added
        run = Run(Path(directory), chunks, 1, look_up=False)
        assert run.write(files) == first
        assert run.kept == 3000
        assert chunks.added - before <= 12, "only the nodes and the last segment go through the writer"


@PROFILE
@given(FILES, EDITS)
def test_what_is_gone_is_counted(files: Files, edits: list[tuple[str, object, object]]) -> None:
    after = apply(files, edits)
    with TemporaryDirectory() as directory, small_world():
        chunks = DictChunks(KEY)
        Run(Path(directory), chunks, 0, look_up=False).write(files)
        run = Run(Path(directory), chunks, 1, look_up=False)
        run.write(after)
    assert run.gone == sum(node.kind == FILE and path not in after for path, node in files.items())
    same = [path for path, node in files.items() if after.get(path) == node and not (node.racy and node.kind == FILE)]
    assert run.kept <= len(same)
    assert run.kept == sum(not files[path].racy for path in same)


@PROFILE
@given(FILES, EDITS)
def test_a_run_that_is_not_kept_leaves_the_last_manifest(files: Files, edits: list[tuple[str, object, object]]) -> None:
    with TemporaryDirectory() as directory, small_world():
        chunks = DictChunks(KEY)
        Run(Path(directory), chunks, 0, look_up=False).write(files)
        before = sorted(each.name for each in Path(directory).iterdir())
        Run(Path(directory), chunks, 1, look_up=False, keep=False).write(apply(files, edits))
        assert sorted(each.name for each in Path(directory).iterdir()) == before
        run = Run(Path(directory), chunks, 2, look_up=False)
        assert run.write(files) == write_afresh(files, DictChunks(KEY), run.now)


# -- a last manifest that is damaged


STABLE = {path: replace(node, racy=False) for path, node in many_files(Random(4), 40, 12).items()}
HEADER_SIZE = len(CacheHeader(SnapshotId("0" * 32), 0, 0, 0).pack())


def damaged_run(change: Path, data: bytes, directory: Path) -> None:
    change.write_bytes(data)
    chunks = DictChunks(KEY)
    roots = Run(directory, chunks, 5, look_up=True).write(STABLE)
    fresh = DictChunks(KEY)
    assert roots == write_afresh(STABLE, fresh)
    reader = ManifestReader(chunks, roots.content, roots.reference)
    assert read_ids(reader) == expected(STABLE)


def cache_files(directory: Path) -> list[Path]:
    return [directory / f"{NAME}.manifest", directory / f"{NAME}-{0:032x}.ids"]


@pytest.fixture
def cached(tmp_path: Path) -> Iterator[Path]:
    with small_world():
        Run(tmp_path, DictChunks(KEY), 0, look_up=False).write(STABLE)
        yield tmp_path


@pytest.mark.parametrize("which", [0, 1])
def test_a_cache_that_is_changed_anywhere_changes_nothing(cached: Path, which: int) -> None:
    """Its header apart: what it says of the snapshot can not be checked."""
    whole = [each.read_bytes() for each in cache_files(cached)]
    start = HEADER_SIZE if which == 0 else 0
    for at in [*range(start, start + 90), *range(start + 90, len(whole[which]), 211)]:
        for path, data in zip(cache_files(cached), whole, strict=True):
            path.write_bytes(data)
        data = whole[which]
        damaged_run(cache_files(cached)[which], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :], cached)


@pytest.mark.parametrize("which", [0, 1])
def test_a_cache_that_is_cut_off_changes_nothing(cached: Path, which: int) -> None:
    whole = [each.read_bytes() for each in cache_files(cached)]
    for size in [*range(0, 120, 3), *range(120, len(whole[which]), 397), len(whole[which]) - 1]:
        for path, data in zip(cache_files(cached), whole, strict=True):
            path.write_bytes(data)
        damaged_run(cache_files(cached)[which], whole[which][:size], cached)


def test_a_cache_whose_ids_are_gone_is_no_cache(cached: Path) -> None:
    cache_files(cached)[1].unlink()
    assert open_manifest_cache(cached, NAME) is None
    assert open_manifest_cache(cached, "another") is None


def test_the_cache_is_private_and_leaves_no_old_ids(cached: Path) -> None:
    Run(cached, DictChunks(KEY), 1, look_up=False).write(STABLE)
    assert sorted(each.name for each in cached.iterdir()) == [f"{NAME}-{1:032x}.ids", f"{NAME}.manifest"]
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in cached.iterdir())


def test_taking_over_with_look_up_stores_again_what_is_missing(cached: Path) -> None:
    empty = DictChunks(KEY)
    roots = Run(cached, empty, 1, look_up=True).write(STABLE)
    assert read_ids(ManifestReader(empty, roots.content, roots.reference)) == expected(STABLE)


def test_ids_of_kept_entries_come_from_the_cache(cached: Path) -> None:
    cache = open_manifest_cache(cached, NAME)
    assert cache is not None
    joined = b"".join(node.ids(join(parent, name)) for parent, name, node in placed(STABLE))
    segments = list(cache.segments())
    assert cache.ids(0, len(joined) // 32) == joined
    assert [each.first_id for each in segments] == [sum(s.ids for s in segments[:n]) for n in range(len(segments))]
    assert all(KEY.chunk_id(ChunkKind.MANIFEST, each.data) == each.ref.segment_id for each in segments)
    assert isinstance(ChunkId(cache.ids(3, 1)), bytes)
    cache.close()
