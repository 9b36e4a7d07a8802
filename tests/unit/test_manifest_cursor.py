"""Cursors: what they read, and that two of them find every pair that is not equal."""

from __future__ import annotations

from random import Random

import pytest

from chunkstore.errors import Damaged
from chunkstore.format.entries import DIRECTORY, components, sort_key
from chunkstore.format.tree_nodes import (
    ContentNode,
    NodeRef,
    ReferenceNode,
    SegmentRef,
    decode_content_node,
    decode_reference_node,
    encode_content_node,
    encode_reference_node,
)
from chunkstore.keys.derivation import ChunkKind
from chunkstore.repository.manifest_cursor import Cursor, Span, below, entries, exactly, inside, unequal
from chunkstore.repository.manifest_reader import ManifestReader
from tests.browsing import KEY, Files, file, manifest, many, whole
from tests.sample_objects import DictChunks

FILES = whole(many(3000, 30))
Large = tuple[DictChunks, Files, ManifestReader]


@pytest.fixture(scope="module")
def reader() -> ManifestReader:
    return manifest(FILES, DictChunks(KEY))


@pytest.fixture(scope="module")
def large() -> Large:
    """100,000 files."""
    chunks, files = DictChunks(KEY), whole(many(100_000))
    return chunks, files, manifest(files, chunks)


def paths(reader: ManifestReader, span: Span) -> list[bytes]:
    return [found.path for _, found in entries(Cursor(reader, span))]


def test_a_cursor_passes_every_entry_in_order(reader: ManifestReader) -> None:
    assert paths(reader, Span()) == [found.path for found in reader.entries()]


def test_spans_hold_one_entry_the_children_or_all_that_is_below(reader: ManifestReader) -> None:
    assert paths(reader, exactly(b"/r/d007/file 00001")) == [b"/r/d007/file 00001"]
    assert paths(reader, exactly(b"/")) == [b"/"]
    assert paths(reader, exactly(b"/nothing")) == []
    assert paths(reader, inside(b"/r")) == [b"/r/d%03d" % n for n in range(30)]
    assert paths(reader, inside(b"/")) == [b"/r"]
    assert paths(reader, below(b"/r/d007")) == [b"/r/d007/file %05d" % n for n in range(100)]
    assert paths(reader, below(b"/")) == [path for path in paths(reader, Span()) if path != b"/"]
    assert paths(reader, below(b"/r/d00")) == []


def test_keys_are_relative_to_the_base(reader: ManifestReader) -> None:
    found = list(entries(Cursor(reader, below(b"/r/d007", b"/r"))))
    assert found[0][0] == ((b"d007",), b"file 00000")
    assert {len(key[0]) for key, _ in found} == {1}


def test_seeking_reads_what_may_hold_the_key_and_nothing_else(large: Large) -> None:
    chunks, _, reader = large
    chunks.reads = 0
    cursor = Cursor(reader)
    cursor.seek((components(b"/r/d050"), b"file 00500"))
    assert cursor.key == (components(b"/r/d050"), b"file 00500")
    assert chunks.reads <= 9
    cursor.seek(((b"z",), b""))
    assert cursor.key is None


def test_seeking_goes_to_the_next_entry_where_there_is_none_of_the_key(reader: ManifestReader) -> None:
    order = sorted(sort_key(found.parent, found.entry.name) for found in reader.entries())
    random = Random(3)
    for _ in range(50):
        wanted = sort_key(b"/r/d%03d" % random.randrange(32), b"file %05d+" % random.randrange(120))
        cursor = Cursor(reader)
        cursor.seek(wanted)
        while cursor.rank:
            cursor.enter()
        assert cursor.key == next((key for key in order if key >= wanted), None)


def test_one_path_is_found_without_reading_the_whole_manifest(large: Large) -> None:
    chunks, _, reader = large
    stored = len(chunks.chunks)
    chunks.reads = 0
    found = reader.find(b"/r/d050/file 00500")
    assert found is not None
    assert found.path == b"/r/d050/file 00500"
    assert chunks.reads <= 7 < stored / 100
    chunks.reads = 0
    assert reader.find(b"/r/d050/nothing") is None
    assert chunks.reads <= 7
    chunks.reads = 0
    assert len(list(reader.children(b"/r/d050"))) == 1000
    assert chunks.reads < 30
    chunks.reads = 0
    assert len(list(reader.children(b"/r"))) == 100
    assert chunks.reads < 12


def test_equal_manifests_are_told_by_their_roots() -> None:
    chunks = DictChunks(KEY)
    one, other = manifest(FILES, chunks), manifest(FILES, chunks)
    chunks.reads = 0
    assert list(unequal(Cursor(one), Cursor(other))) == []
    assert chunks.reads == 4  # two nodes of each


def test_few_changes_in_many_entries_are_found_by_reading_a_few_chunks(large: Large) -> None:
    chunks, before, one = large
    after = dict(before)
    random = Random(5)
    changed = random.sample([path for path, (entry, _) in before.items() if entry.kind != DIRECTORY], 10)
    for path in changed[:4]:
        after[path] = file("new", mtime_ns=9)
    for path in changed[4:7]:
        del after[path]
    for path in changed[7:]:
        after[path + b"+"] = file("added")
    other = manifest(after, chunks)
    stored, chunks.reads = len(chunks.chunks), 0
    pairs = [
        (old, new)
        for _, old, new in unequal(Cursor(one), Cursor(other))
        if not (old and new and old.entry == new.entry)
    ]
    assert len(pairs) == 10
    assert chunks.reads < 200 < stored / 3


def test_a_tree_that_is_out_of_order_is_damaged() -> None:
    chunks = DictChunks(KEY)
    roots = manifest(whole(many(3000, 30)), chunks).root
    content = decode_content_node(chunks.read(ChunkKind.MANIFEST, roots.content_id))
    reference = decode_reference_node(chunks.read(ChunkKind.REFERENCE, roots.reference_id))
    assert content.level == 0
    late = ContentNode(0, (content.keys[0], (b"/r", b"a"), *content.keys[2:]))
    swapped = ReferenceNode(0, (reference.children[0], *reference.children[2:], reference.children[1]))  # type: ignore[arg-type]
    for wrong, children in ((late, reference), (content, swapped)):
        forged = NodeRef(
            chunks.add(ChunkKind.MANIFEST, encode_content_node(wrong)),
            chunks.add(ChunkKind.REFERENCE, encode_reference_node(children)),
        )
        with pytest.raises(Damaged):
            list(entries(Cursor(ManifestReader(chunks, forged.content_id, forged.reference_id))))


def test_segments_that_overlap_are_damaged() -> None:
    chunks = DictChunks(KEY)
    one, other = manifest({b"/a": file(), b"/d": file()}, chunks), manifest({b"/b": file()}, chunks)
    both = [
        decode_reference_node(chunks.read(ChunkKind.REFERENCE, each.root.reference_id)).children[0]
        for each in (one, other)
    ]
    assert all(isinstance(each, SegmentRef) for each in both)
    forged = ManifestReader(
        chunks,
        chunks.add(ChunkKind.MANIFEST, encode_content_node(ContentNode(0, ((b"/", b"a"), (b"/", b"b"))))),
        chunks.add(ChunkKind.REFERENCE, encode_reference_node(ReferenceNode(0, tuple(both)))),  # type: ignore[arg-type]
    )
    with pytest.raises(Damaged, match="out of order"):
        list(entries(Cursor(forged)))
