"""Manifests: what they cost, how edits stay small, and every way in which one can be wrong."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import msgpack
import pytest

from chunkstore.errors import Damaged
from chunkstore.format.config import DEFAULT_FRAME_SIZE
from chunkstore.format.entries import (
    DIRECTORY,
    FILE,
    MAX_SEGMENT,
    SYMLINK,
    Entry,
    components,
    decode_segment,
    encode_directory,
    encode_entry,
    encode_segment,
    join,
    sort_key,
)
from chunkstore.format.tree_nodes import (
    MAX_CHILDREN,
    MAX_LEVEL,
    MAX_RUN,
    ContentNode,
    NodeRef,
    ReferenceNode,
    RunRef,
    SegmentRef,
    decode_content_node,
    decode_reference_node,
    decode_run,
    encode_content_node,
    encode_reference_node,
    encode_run,
)
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.repository.manifest_writer import ManifestWriter, Roots
from tests.sample_objects import DictChunks, NoLog, make_key

KEY = make_key(7)
Item = tuple[bytes, Entry, bytes]
"""Parent, entry, joined ids."""


def file(name: bytes, chunks: int = 0, mtime: int = 5) -> Entry:
    return Entry(name, FILE, 0o644, 1000, 1000, mtime, 6, 7, chunks * 100, chunks, None)


def directory(name: bytes, mtime: int = 5) -> Entry:
    return Entry(name, DIRECTORY, 0o755, 0, 0, mtime, 6, 7, 0, 0, None)


def ids(seed: object, count: int) -> bytes:
    return Random(str(seed)).randbytes(32 * count)


def tree(width: int, depth: int, seed: int = 1) -> list[Item]:
    """`width` files in each of `depth` by 7 directories, some with chunks, in manifest order."""
    random = Random(seed)
    items: list[Item] = [(b"/", directory(b""), b"")]
    parent = b"/"
    for level in range(depth):
        items += [(parent, directory(b"d%d" % n), b"") for n in range(7)]
        for n in range(7):
            inside = join(parent, b"d%d" % n)
            for at in range(width):
                count = random.choice([0, 1, 1, 1, 2, 30])
                name = b"file %05d" % at
                items.append((inside, file(name, count), ids((level, n, at), count)))
        parent = join(parent, b"d3")
    return in_order(items)


def in_order(items: list[Item]) -> list[Item]:
    return sorted(items, key=lambda item: sort_key(item[0], item[1].name))


def write(items: list[Item], chunks: DictChunks) -> Roots:
    writer = ManifestWriter(chunks, KEY.segment_cut_key, NoLog())
    for parent, entry, joined in items:
        for at in range(0, len(joined), 32 * 1000):
            writer.add_ids(joined[at : at + 32 * 1000])
        writer.add(parent, entry)
    return writer.finish()


def read(chunks: DictChunks, roots: Roots) -> ManifestReader:
    return ManifestReader(chunks, roots.content, roots.reference)


def read_all(reader: ManifestReader) -> list[Item]:
    return [(found.parent, found.entry, b"".join(reader.ids(found))) for found in reader.entries()]


TREE = tree(width=1200, depth=3)


@pytest.fixture(scope="module")
def written() -> tuple[DictChunks, Roots]:
    chunks = DictChunks(KEY)
    return chunks, write(TREE, chunks)


Written = tuple[DictChunks, Roots]


def test_everything_comes_back(written: Written) -> None:
    chunks, roots = written
    assert read_all(read(chunks, roots)) == TREE


def test_there_are_several_levels(written: Written) -> None:
    chunks, roots = written
    level = decode_content_node(chunks.read(ChunkKind.MANIFEST, roots.content)).level
    assert level >= 1
    segments = [len(list(decode_segment(data)[1])) for data in chunks.chunks.values() if data[:2] == b"\x93\x02"]
    assert len(segments) > 100
    assert all(32 <= count <= 1024 for count in segments[:-1])
    assert 120 < sum(segments) / len(segments) < 200


def test_finding_reads_a_path_through_the_tree_only(written: Written) -> None:
    chunks, roots = written
    level = decode_content_node(chunks.read(ChunkKind.MANIFEST, roots.content)).level
    reader = read(chunks, roots)
    for at in range(0, len(TREE), 97):
        parent, entry, joined = TREE[at]
        before = chunks.reads
        found = reader.find(join(parent, entry.name))
        assert found is not None
        assert (found.parent, found.entry) == (parent, entry)
        assert chunks.reads - before <= 2 * (level + 1) + 1
        assert b"".join(reader.ids(found)) == joined
        assert chunks.reads - before <= 2 * (level + 1) + 3


def test_what_is_not_there_is_not_found_and_costs_as_little(written: Written) -> None:
    chunks, roots = written
    reader = read(chunks, roots)
    level = decode_content_node(chunks.read(ChunkKind.MANIFEST, roots.content)).level
    for path in (b"/x", b"/0", b"/d0/file", b"/d0/file 00000/x", b"/d9/file 00000", b"/d3/d3/d3/x", b"/\xff/\xff"):
        before = chunks.reads
        assert reader.find(path) is None
        assert chunks.reads - before <= 4 * (level + 1) + 2


@pytest.mark.parametrize(
    "path", [b"/", b"/d0", b"/d3", b"/d3/d3", b"/d3/d3/d6", b"/d3/d", b"/d30", b"/none", b"/d0/file 00001"]
)
def test_below_and_children_are_filters(written: Written, path: bytes) -> None:
    chunks, roots = written
    reader = read(chunks, roots)
    inside = components(path)
    named = [(parent, entry) for parent, entry, _ in TREE if entry.name]
    below = [(parent, entry) for parent, entry in named if components(parent)[: len(inside)] == inside]
    assert [(found.parent, found.entry) for found in reader.below(path)] == below
    children = [(parent, entry) for parent, entry in named if parent == path]
    assert [(found.parent, found.entry) for found in reader.children(path)] == children


def test_listing_a_directory_does_not_read_the_rest(written: Written) -> None:
    chunks, roots = written
    before = chunks.reads
    assert len(list(read(chunks, roots).children(b"/d3/d3/d2"))) == 1200
    assert chunks.reads - before < 30


# -- edits stay small


def chunks_of(items: list[Item]) -> set[ChunkId]:
    chunks = DictChunks(KEY)
    write(items, chunks)
    return set(chunks.chunks)


@pytest.mark.parametrize("at", [0, 1, 4000, 20_000, -1])
def test_an_edit_of_metadata_changes_a_segment_and_its_nodes(written: Written, at: int) -> None:
    edited = list(TREE)
    parent, entry, joined = edited[at]
    edited[at] = (parent, entry._replace(mtime_ns=999, mode=0o700), joined)
    # The segment, and a reference node on each level; content nodes too where the node ends elsewhere by the new id.
    assert 2 <= len(chunks_of(edited) - set(written[0].chunks)) <= 1 + 4 * 3


@pytest.mark.parametrize("at", [1, 4000, 20_000])
def test_an_insertion_and_a_removal_change_what_is_near(written: Written, at: int) -> None:
    parent, entry, _ = TREE[at]
    item = (parent, file(entry.name + b".new", 3), ids("new", 3))
    before, inserted = set(written[0].chunks), chunks_of(in_order([*TREE, item]))
    assert len(inserted - before) <= 20
    assert len(before - inserted) <= 20
    assert len(chunks_of(TREE[:at] + TREE[at + 1 :]) - before) <= 20


def test_all_metadata_changed_leaves_the_references_and_the_ends_of_segments() -> None:
    chunks = DictChunks(KEY)
    first = write(TREE, chunks)
    ends = segment_ends(chunks, first)
    edited = [(parent, entry._replace(mtime_ns=entry.mtime_ns + 1), joined) for parent, entry, joined in TREE]
    runs = {each for each, data in chunks.chunks.items() if data[:1] == b"I"}
    second = write(edited, chunks)
    assert segment_ends(chunks, second) == ends
    assert {each for each, data in chunks.chunks.items() if data[:1] == b"I"} == runs


def segment_ends(chunks: DictChunks, roots: Roots) -> list[tuple[bytes, bytes]]:
    """(parent, name) of the first entry of every segment."""
    found: list[tuple[bytes, bytes]] = []
    last: ChunkId | None = None
    for each in read(chunks, roots).entries():
        if each.segment.segment_id != last:
            found.append((each.parent, each.entry.name))
            last = each.segment.segment_id
    return found


HUGE = 100_000


def huge(changed: int | None) -> list[Item]:
    joined = bytearray(ids("huge", HUGE))
    if changed is not None:
        joined[32 * changed : 32 * changed + 32] = ids("changed", 1)
    small = [(b"/", file(b"a%03d" % n, 1), ids(n, 1)) for n in range(20)]
    after = [(b"/", file(b"c%03d" % n, 1), ids(n, 1)) for n in range(20)]
    return [*small, (b"/", file(b"b", HUGE), bytes(joined)), *after]


def test_one_changed_id_of_a_huge_file_changes_few_runs() -> None:
    chunks = DictChunks(KEY)
    base = huge(None)
    roots = write(base, chunks)
    assert read_all(read(chunks, roots)) == base
    before = {each for each, data in chunks.chunks.items() if data[:1] == b"I"}
    assert 10 < len(before) < 100
    for changed in (0, 1, 5000, 50_000, HUGE - 1):
        write(huge(changed), chunks)
        runs = {each for each, data in chunks.chunks.items() if data[:1] == b"I"}
        assert len(runs - before) <= 4
        before = runs


def test_a_huge_files_ids_are_its_own() -> None:
    """Its neighbours may change as they like: of its runs all stay."""
    chunks = DictChunks(KEY)
    base = huge(None)
    write(base, chunks)
    before = set(chunks.chunks)
    edited = [(b"/", file(b"a%03d" % n, 2), ids((n, "new"), 2)) for n in range(20)] + base[20:]
    write(edited, chunks)
    assert len({each for each in set(chunks.chunks) - before if chunks.chunks[each][:1] == b"I"}) <= 2


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
def test_pieces_of_ids_do_not_matter(pieces: int) -> None:
    joined = ids("pieces", 20_000)
    roots = set()
    for piece in (32 * pieces, len(joined)):
        writer = ManifestWriter(DictChunks(KEY), KEY.segment_cut_key, NoLog())
        for at in range(0, len(joined), piece):
            writer.add_ids(joined[at : at + piece])
        writer.add(b"/", file(b"a", 20_000))
        roots.add(writer.finish())
    assert len(roots) == 1


def test_no_chunk_of_a_manifest_is_larger_than_a_frame() -> None:
    deep = b"/" + b"/".join([b"x" * 255] * 16)
    items: list[Item] = [(b"/", file(b"a", 60_000), ids("a", 60_000))]
    for n in range(1500):
        parent = deep + b"/%05d" % n
        link = Entry(b"l" * 255, SYMLINK, 0o777, 0, 0, 1, 1, 1, 4095, 0, {"target": b"t" * 4095})
        items += [(parent, link, b"")]
    chunks = DictChunks(KEY)
    roots = write(items, chunks)
    assert max(map(len, chunks.chunks.values())) <= DEFAULT_FRAME_SIZE
    assert max(len(data) for data in chunks.chunks.values() if data[:2] == b"\x93\x02") <= MAX_SEGMENT
    assert read_all(read(chunks, roots)) == items


def test_manifests_of_one_entry() -> None:
    for entry in (directory(b""), file(b"a", 0), file(b"a", 2)):
        chunks = DictChunks(KEY)
        item = (b"/", entry, ids("one", entry.chunks))
        assert read_all(read(chunks, write([item], chunks))) == [item]


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 2047, 2048, 2049, 16383, 16384, 16385, 20_000])
def test_counts_of_ids_around_every_limit(count: int) -> None:
    items = [
        (b"/", file(b"a", 5), ids("a", 5)),
        (b"/", file(b"b", count), ids("b", count)),
        (b"/", file(b"c", 5), ids("c", 5)),
    ]
    chunks = DictChunks(KEY)
    assert read_all(read(chunks, write(items, chunks))) == items


# -- manifests that are wrong


class Forged:
    """A manifest made by hand, of two segments."""

    def __init__(self) -> None:
        self.chunks = DictChunks(KEY)

    def segment(self, *pieces: bytes, runs: tuple[RunRef, ...] = (), length: int | None = None) -> SegmentRef:
        data = encode_segment(pieces)
        segment_id = self.chunks.add(ChunkKind.MANIFEST, data)
        return SegmentRef(segment_id, len(data) if length is None else length, runs)

    def run(self, count: int, claimed: int | None = None) -> RunRef:
        joined = ids("run", count)
        return RunRef(self.chunks.add(ChunkKind.REFERENCE, encode_run([joined])), claimed or count)

    def roots(
        self, keys: list[tuple[bytes, bytes]], children: list[Any], content_level: int = 0, level: int = 0
    ) -> Roots:
        content = encode_content_node(ContentNode(content_level, tuple(keys)))
        reference = encode_reference_node(ReferenceNode(level, tuple(children)))
        return Roots(self.chunks.add(ChunkKind.MANIFEST, content), self.chunks.add(ChunkKind.REFERENCE, reference))

    def read(self, roots: Roots) -> list[Item]:
        return read_all(read(self.chunks, roots))


ROOT = encode_directory(b"/")
A, B, C, D = (encode_entry(file(name)) for name in (b"a", b"b", b"c", b"d"))
KEY_A, KEY_B, KEY_C = (b"/", b"a"), (b"/", b"b"), (b"/", b"c")


def test_what_is_forged_well_is_read() -> None:
    forged = Forged()
    one, two = forged.segment(ROOT, A, B), forged.segment(ROOT, C, D)
    roots = forged.roots([KEY_A, KEY_C], [one, two])
    assert [entry.name for _, entry, _ in forged.read(roots)] == [b"a", b"b", b"c", b"d"]
    above = forged.roots([KEY_A], [NodeRef(roots.content, roots.reference)], 1, 1)
    assert forged.read(above) == forged.read(roots)


def forgeries() -> Iterator[tuple[str, Callable[[Forged], Roots]]]:
    def two(forged: Forged) -> tuple[SegmentRef, SegmentRef]:
        return forged.segment(ROOT, A, B), forged.segment(ROOT, C, D)

    def entry(**changes: Any) -> Callable[[Forged], Roots]:
        return lambda f: f.roots([KEY_A], [f.segment(ROOT, encode_entry(file(b"a")._replace(**changes)))])

    yield "segments swapped", lambda f: f.roots([KEY_A, KEY_C], list(two(f))[::-1])
    yield "keys swapped", lambda f: f.roots([KEY_C, KEY_A], list(two(f)))
    yield "keys equal", lambda f: f.roots([KEY_A, KEY_A], list(two(f)))
    yield "a segment twice", lambda f: f.roots([KEY_A, KEY_C], [two(f)[0]] * 2)
    yield "a key too few", lambda f: f.roots([KEY_A], list(two(f)))
    yield "a child too few", lambda f: f.roots([KEY_A, KEY_C], [two(f)[0]])
    yield "levels differ", lambda f: f.roots([KEY_A, KEY_C], list(two(f)), content_level=1)
    yield "segments that overlap", lambda f: f.roots([KEY_A, KEY_B], [f.segment(ROOT, A, C), f.segment(ROOT, B, D)])
    yield "a segment missing", lambda f: f.roots([KEY_A], [SegmentRef(ChunkId(bytes(32)), 10, ())])
    yield "a longer length", lambda f: f.roots([KEY_A], [f.segment(ROOT, A, length=50)])
    yield "a shorter length", lambda f: f.roots([KEY_A], [f.segment(ROOT, A, length=5)])
    yield "ids without an entry", lambda f: f.roots([KEY_A], [f.segment(ROOT, A, runs=(f.run(3),))])
    many, few = encode_entry(file(b"a", 5)), encode_entry(file(b"a", 2))
    yield "fewer ids than entries say", lambda f: f.roots([KEY_A], [f.segment(ROOT, many, runs=(f.run(3),))])
    yield "more ids than entries say", lambda f: f.roots([KEY_A], [f.segment(ROOT, few, runs=(f.run(3),))])
    yield "a run shorter than it says", lambda f: f.roots([KEY_A], [f.segment(ROOT, many, runs=(f.run(3, 5),))])
    yield "a run longer than it says", lambda f: f.roots([KEY_A], [f.segment(ROOT, few, runs=(f.run(3, 2),))])
    for name in (b"a/b", b"..", b".", b"a\0", b"/", b"\0", b"n" * 2000):
        yield f"name {name!r:.20}", entry(name=name)
    yield "no name", entry(name=b"")
    yield "a name as text", entry(name="a")
    for path in (b"", b"a", b"/a/", b"//", b"/a//b", b"/.", b"/..", b"/a/../b", b"/a\0", b"/" + b"x" * (1 << 16)):
        yield (
            f"directory {path!r:.20}",
            lambda f, path=path: f.roots([(path[:100], b"a")], [f.segment(encode_directory(path), A)]),
        )
    yield "no directory", lambda f: f.roots([KEY_A], [f.segment(A)])
    yield "entries out of order", lambda f: f.roots([KEY_A], [f.segment(ROOT, B, A)])
    yield "an entry twice", lambda f: f.roots([KEY_A], [f.segment(ROOT, A, A)])
    yield "a directory twice", lambda f: f.roots([KEY_A], [f.segment(ROOT, A, ROOT, B)])
    yield (
        "directories out of order",
        lambda f: f.roots([(b"/b", b"a")], [f.segment(encode_directory(b"/b"), A, encode_directory(b"/a"), A)]),
    )
    yield "the root twice", lambda f: f.roots([(b"/", b"")], [f.segment(ROOT, *[encode_entry(directory(b""))] * 2)])
    yield "a root that is a file", entry(name=b"", kind=FILE)
    yield "kind 0", entry(kind=0)
    yield "kind 8", entry(kind=8)
    yield "kind true", entry(kind=True)
    yield "kind list", entry(kind=[1])
    yield "a mode too large", entry(mode=0o10000)
    yield "a negative size", entry(size=-1)
    yield "a negative count", entry(chunks=-1)
    yield "a count as text", entry(chunks="1")
    yield (
        "a directory with chunks",
        lambda f: f.roots(
            [KEY_A], [f.segment(ROOT, encode_entry(directory(b"a")._replace(chunks=3)), runs=(f.run(3),))]
        ),
    )
    yield "a time as float", entry(mtime_ns=1.0)
    yield "a link without a target", entry(kind=SYMLINK, extra=None)
    yield "a link with a text for a target", entry(kind=SYMLINK, extra={"target": "x"})
    yield "a link with a NUL", entry(kind=SYMLINK, extra={"target": b"a\0b"})
    yield "extras as a list", entry(extra=[])
    yield "a field too many", lambda f: f.roots([KEY_A], [f.segment(ROOT, msgpack.packb([*file(b"a"), 1]))])
    yield "a field too few", lambda f: f.roots([KEY_A], [f.segment(ROOT, msgpack.packb([*file(b"a")][:-1]))])
    yield "another version", lambda f: _raw_segment(f, b"\x91\x02" + ROOT + A)
    yield "no version", lambda f: _raw_segment(f, ROOT + A)
    yield "half an entry", lambda f: _raw_segment(f, b"\x91\x01" + ROOT + A[:-1])
    yield "something between", lambda f: f.roots([KEY_A], [f.segment(ROOT, b"\xc0", A)])


def _raw_segment(forged: Forged, data: bytes) -> Roots:
    ref = SegmentRef(forged.chunks.add(ChunkKind.MANIFEST, data), len(data), ())
    return forged.roots([KEY_A], [ref])


@pytest.mark.parametrize("make", [pytest.param(make, id=what) for what, make in forgeries()])
def test_a_manifest_that_is_wrong_is_damage(make: Callable[[Forged], Roots]) -> None:
    forged = Forged()
    roots = make(forged)
    with pytest.raises(Damaged):
        forged.read(roots)


def test_the_root_twice_is_damage_in_the_segment_itself() -> None:
    data = encode_segment([ROOT, encode_entry(directory(b"")), encode_entry(directory(b""))])
    with pytest.raises(Damaged):
        list(decode_segment(data)[1])


def test_a_version_that_only_equals_ours_is_damage() -> None:
    for version in (b"\x91\xc3", b"\x91\xcb\x3f\xf0" + bytes(6)):  # true and 1.0
        with pytest.raises(Damaged):
            list(decode_segment(version + ROOT + A)[1])


@pytest.mark.parametrize("pieces", [[], [ROOT], [ROOT, A, encode_directory(b"/b")]], ids=["empty", "root", "tail"])
def test_a_segment_or_directory_without_entries_is_damage(pieces: list[bytes]) -> None:
    """Segments without entries would pass every check of order, as often as a tree of nodes repeats them."""
    with pytest.raises(Damaged):
        list(decode_segment(encode_segment(pieces))[1])


def test_a_tree_that_repeats_a_segment_without_entries_is_refused_at_once() -> None:
    forged = Forged()
    empty = forged.segment()
    keys = [(b"/", b"%d" % n) for n in range(10)]
    roots = forged.roots(keys, [empty] * 10)
    for level in range(1, 4):
        roots = forged.roots(keys, [NodeRef(roots.content, roots.reference)] * 10, level, level)
    with pytest.raises(Damaged):
        forged.read(roots)
    assert forged.chunks.reads < 100


@pytest.mark.parametrize("key", [KEY_B, (b"/", b"b\0"), (b"/", b"cc"), (b"/", b"")])
def test_a_key_that_is_not_the_first_path_below_it_is_damage(key: tuple[bytes, bytes]) -> None:
    """Else `entries` shows what `find` does not."""
    forged = Forged()
    one, two = forged.segment(ROOT, A, B), forged.segment(ROOT, C, D)
    keys = [KEY_A, key] if key[1] else [key, KEY_C]
    roots = forged.roots(keys, [one, two])
    with pytest.raises(Damaged):
        forged.read(roots)


def test_nodes_in_each_others_place_are_damage() -> None:
    """A content node where a reference node must be, and one level where another must be."""
    forged = Forged()
    segment = forged.segment(ROOT, A)
    low = forged.roots([KEY_A], [segment])
    for roots in (Roots(low.reference, low.content), Roots(segment.segment_id, low.reference)):
        with pytest.raises(Damaged):
            forged.read(roots)
    for above in (0, 2, 3):
        with pytest.raises(Damaged):
            forged.read(forged.roots([KEY_A], [NodeRef(low.content, low.reference)], above, above))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        ["C", 0],
        ["C", 0, []],
        ["C", -1, [[b"/", b"a"]]],
        ["C", MAX_LEVEL + 1, [[b"/", b"a"]]],
        ["C", True, [[b"/", b"a"]]],
        ["C", 0, [[b"/", b"a"]] * (MAX_CHILDREN + 1)],
        ["C", 0, [[b"/"]]],
        ["C", 0, [[b"/", "a"]]],
        ["C", 0, [[b"/" * 70000, b"a"]]],
        ["C", 0, [[b"/", b"a" * 2000]]],
        ["R", 0, [[b"/", b"a"]]],
        ["C", 0, {}],
        [b"C", 0, [[b"/", b"a"]]],
        ["C", 0, [[b"/", b"a"]], 1],
    ],
    ids=range(16),
)
def test_a_content_node_that_is_wrong_is_damage(value: Any) -> None:
    with pytest.raises(Damaged):
        decode_content_node(msgpack.packb(value))


ID = bytes(32)


@pytest.mark.parametrize(
    "value",
    [
        ["R", 0, []],
        ["R", 0, [[ID, ID]]],
        ["R", 1, [[ID, 10, []]]],
        ["R", 0, [[ID[:31], 10, []]]],
        ["R", 0, [[ID, 0, []]]],
        ["R", 0, [[ID, MAX_SEGMENT + 1, []]]],
        ["R", 0, [[ID, True, []]]],
        ["R", 0, [[ID, 10, [[ID, 0]]]]],
        ["R", 0, [[ID, 10, [[ID, MAX_RUN + 1]]]]],
        ["R", 0, [[ID, 10, [[ID[:5], 1]]]]],
        ["R", 0, [[ID, 10, [[ID]]]]],
        ["R", 0, [[ID, 10, None]]],
        ["R", 1, [[ID, ID, ID]]],
        ["R", 1, [[ID, "x" * 32]]],
        ["R", 1, [ID]],
        ["C", 0, [[ID, 10, []]]],
    ],
    ids=range(16),
)
def test_a_reference_node_that_is_wrong_is_damage(value: Any) -> None:
    with pytest.raises(Damaged):
        decode_reference_node(msgpack.packb(value))


def test_a_run_is_as_long_as_it_must_be() -> None:
    joined = ids("x", 3)
    assert decode_run(encode_run([joined[:32], joined[32:]]), 3) == joined
    for data, count in ((b"I" + joined, 2), (b"I" + joined, 4), (b"J" + joined, 3), (b"", 0), (joined, 3)):
        with pytest.raises(Damaged):
            decode_run(data, count)


@pytest.mark.parametrize("lost", range(0, 40, 3))
def test_a_chunk_that_is_lost_is_damage(written: Written, lost: int) -> None:
    chunks, roots = written
    broken = DictChunks(KEY)
    broken.chunks = dict(chunks.chunks)
    gone = sorted(broken.chunks)[lost]
    broken.chunks[gone] = b"\x91" + broken.chunks[gone][1:-1]
    with pytest.raises(Damaged):
        read_all(read(broken, roots))


def test_segments_end_by_the_hash_of_the_path_alone() -> None:
    """As written down: keyed BLAKE2b, 2 bytes, of the path an entry has; and never before 32 or after 1024."""
    chunks = DictChunks(KEY)
    ends = segment_ends(chunks, write(TREE, chunks))
    starts = [bisect_left(TREE, sort_key(*end), key=lambda item: sort_key(item[0], item[1].name)) for end in ends]
    expected, count = [0], 0
    for at, (parent, entry, _) in enumerate(TREE[:-1]):
        count += 1
        digest = hashlib.blake2b(join(parent, entry.name), key=KEY.segment_cut_key, digest_size=2).digest()
        if count >= 1024 or (count >= 32 and int.from_bytes(digest, "big") & 127 == 0):
            expected.append(at + 1)
            count = 0
    assert starts == expected
