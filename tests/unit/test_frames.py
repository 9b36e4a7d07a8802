"""Frames: compressed, sealed, opened, checked; and what a write session makes of chunks."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore import aead
from chunkstore.chunking import make_chunker, parse_chunker
from chunkstore.compression import RAW, ZSTD, Codec
from chunkstore.errors import ChunkstoreError, Damaged, InvalidArgument
from chunkstore.format import names
from chunkstore.format.entries import MAX_SEGMENT
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import MAX_FRAME
from chunkstore.ids import ChunkId, RepositoryId, new_snapshot_id
from chunkstore.keys.derivation import ChunkKind
from chunkstore.keys.sealing import FrameKey
from chunkstore.operations.snapshot.file_content import FileContent
from chunkstore.repository.chunk_reader import AllKeys, ChunkReader, LedgerKeys, widened
from chunkstore.repository.chunk_writer import ChunkWriter, WriteOptions
from chunkstore.repository.frames import FrameCoder, OpenFrame
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.repository import Repository
from chunkstore.storage import MemoryStorage
from tests.sample_objects import MAX_CHUNK, World, make_world, read_whole_pack

PROFILE = settings(derandomize=True, deadline=None, max_examples=50)
MIB = 1 << 20
MAX_RAW = 20_000
RANDOM = Random(21).randbytes
KEY = FrameKey(b"k" * 16, b"secret" + bytes(26))
CODER = FrameCoder(
    make_world().key.repository_id, make_world().key.chunk_id_keys, MAX_RAW, level=3, random_bytes=RANDOM
)


def open_frame(kind: ChunkKind, chunks: list[bytes]) -> OpenFrame:
    frame = OpenFrame(kind, bytearray(MAX_RAW))
    for chunk in chunks:
        frame.buffer[frame.used : frame.used + len(chunk)] = chunk
        frame.used += len(chunk)
        frame.ids.append(make_world().key.chunk_id(kind, chunk))
        frame.lengths.append(len(chunk))
    return frame


CHUNKS = st.lists(
    st.binary(min_size=1, max_size=200)
    | st.integers(1, 4000).map(bytes)
    | st.integers(1, 4000).map(lambda size: Random(size).randbytes(size)),
    min_size=1,
    max_size=5,
)


@PROFILE
@given(st.sampled_from(ChunkKind), CHUNKS, st.booleans())
def test_frames_come_back(kind: ChunkKind, chunks: list[bytes], verify: bool) -> None:
    frame = open_frame(kind, chunks)
    sealed = CODER.encode(frame, KEY, verify)
    raw = CODER.decode(memoryview(sealed.stored), KEY, kind, frame.used)
    assert bytes(raw) == b"".join(chunks)
    CODER.check(raw, kind, frame.ids, frame.lengths)
    assert len(sealed.stored) <= frame.used + 1 + aead.OVERHEAD
    assert sealed.source is frame


@PROFILE
@given(st.sampled_from(ChunkKind), CHUNKS, st.data())
def test_a_frame_that_is_changed_in_anything_is_damage(
    kind: ChunkKind, chunks: list[bytes], data: st.DataObject
) -> None:
    frame = open_frame(kind, chunks)
    stored = bytes(CODER.encode(frame, KEY, verify=False).stored)
    at = data.draw(st.integers(0, len(stored) - 1))
    changed = stored[:at] + bytes([stored[at] ^ data.draw(st.integers(1, 255))]) + stored[at + 1 :]
    other_kind = next(other for other in ChunkKind if other != kind)
    other_repository = FrameCoder(RepositoryId(bytes(32)), make_world().key.chunk_id_keys, MAX_RAW, 3, RANDOM)
    attempts = [
        (CODER, changed, KEY, kind, frame.used),
        (CODER, stored[: data.draw(st.integers(0, len(stored) - 1))], KEY, kind, frame.used),
        (CODER, stored + data.draw(st.binary(min_size=1, max_size=20)), KEY, kind, frame.used),
        (CODER, stored, replace(KEY, key_id=b"l" * 16), kind, frame.used),
        (CODER, stored, replace(KEY, key=bytes(32)), kind, frame.used),
        (CODER, stored, KEY, other_kind, frame.used),
        (CODER, stored, KEY, kind, frame.used + 1),
        (CODER, stored, KEY, kind, 0),
        (other_repository, stored, KEY, kind, frame.used),
    ]
    for coder, bytes_, key, as_kind, raw in attempts:
        with pytest.raises(Damaged):
            coder.decode(memoryview(bytes_), key, as_kind, raw)


def test_two_encodings_of_a_frame_share_nothing() -> None:
    frame = open_frame(ChunkKind.CONTENT, [b"the same" * 100])
    one, two = (bytes(CODER.encode(frame, KEY, verify=True).stored) for _ in range(2))
    assert one[:12] != two[:12]
    assert not {one[at : at + 8] for at in range(len(one) - 8)} & {two[at : at + 8] for at in range(len(two) - 8)}


def test_nonces_are_not_used_twice() -> None:
    frame = open_frame(ChunkKind.CONTENT, [b"x"])
    nonces = {bytes(CODER.encode(frame, KEY, verify=False).stored[:12]) for _ in range(500)}
    assert len(nonces) == 500


@pytest.mark.parametrize("claimed", [MAX_RAW + 1, MAX_FRAME + 1, 2**32 - 1, 2**32, 2**40])
def test_a_claim_of_too_much_is_damage_before_it_is_allocated(claimed: int) -> None:
    frame = open_frame(ChunkKind.CONTENT, [b"x"])
    stored = memoryview(CODER.encode(frame, KEY, verify=True).stored)
    tracemalloc.start()
    with pytest.raises(Damaged, match=f"claims {claimed} bytes"):
        CODER.decode(stored, KEY, ChunkKind.CONTENT, claimed)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def sealed_payload(payload: bytes, raw: int) -> memoryview:
    """An authentic frame with any payload: what somebody with a data key can make."""
    repository_id = make_world().key.repository_id
    return memoryview(aead.seal_frame(memoryview(payload), KEY, repository_id, ChunkKind.CONTENT, raw, RANDOM))


def bombs() -> Iterator[tuple[bytes, int]]:
    """(payload, raw length): authentic and malformed."""
    plain = zstandard.ZstdCompressor(write_content_size=True)
    large = plain.compress(bytes(64 * MIB))
    yield bytes([ZSTD]) + large, 100
    yield bytes([ZSTD]) + large, MAX_RAW
    yield bytes([ZSTD]) + large[:4] + bytes([large[4] & 0x3F | 0x20]) + bytes([100]) + large[9:], 100
    yield bytes([ZSTD]) + zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 * MIB)), 100
    yield bytes([ZSTD]) + plain.compress(b"x" * 100)[:-3], 100
    yield bytes([ZSTD]), 100
    yield bytes([RAW]), 100
    yield bytes([RAW]) + bytes(99), 100
    yield bytes([RAW]) + bytes(101), 100
    yield bytes([2]) + bytes(100), 100
    yield bytes([255]) + bytes(100), 100


@pytest.mark.parametrize(("payload", "raw"), list(bombs()), ids=range(11))
def test_a_malformed_payload_is_damage_in_bounded_memory(payload: bytes, raw: int) -> None:
    stored = sealed_payload(payload, raw)
    CODER.decode(sealed_payload(b"\0x", 1), KEY, ChunkKind.CONTENT, 1)  # the buffers of this thread
    tracemalloc.start()
    with pytest.raises(Damaged):
        CODER.decode(stored, KEY, ChunkKind.CONTENT, raw)
    assert tracemalloc.get_traced_memory()[1] < 400_000
    tracemalloc.stop()


def test_a_stored_length_above_all_buffers_is_damage() -> None:
    with pytest.raises(Damaged, match="too long"):
        CODER.decode(memoryview(bytes(MAX_RAW + 1000)), KEY, ChunkKind.CONTENT, 100)
    with pytest.raises(Damaged, match="too short"):
        CODER.decode(memoryview(bytes(28)), KEY, ChunkKind.CONTENT, 100)


def test_verification_catches_a_buffer_that_changed() -> None:
    frame = open_frame(ChunkKind.CONTENT, [b"what was hashed"])
    frame.buffer[3] ^= 1
    with pytest.raises(Damaged, match="not what its id says"):
        CODER.encode(frame, KEY, verify=True)
    CODER.encode(frame, KEY, verify=False)


@pytest.mark.parametrize("size", [1, 2, 100, 8191, 8192])
@pytest.mark.parametrize("level", [1, 3, 19])
def test_what_does_not_compress_is_kept_as_it_is(size: int, level: int) -> None:
    codec = Codec(8192, level)
    noise = Random(size).randbytes(size)
    assert bytes(codec.compress(memoryview(noise))) == b"\0" + noise
    if size > 100:
        assert codec.compress(memoryview(bytes(size)))[0] == ZSTD


# -- a write session


def fresh(tmp_path: Path, storage: MemoryStorage, **config: int) -> tuple[World, Repository, LocalIndex]:
    world = make_world()
    repository = replace(world.repository, storage=storage, config=replace(world.repository.config, **config))  # type: ignore[arg-type]
    return world, repository, LocalIndex(tmp_path / "index.sqlite")


@pytest.mark.parametrize("workers", [0, 2])
def test_chunks_come_back_through_storage_and_index(tmp_path: Path, workers: int) -> None:
    world, repository, index = fresh(tmp_path, MemoryStorage(), pack_size=40_000)
    random = Random(31)
    chunks = [random.randbytes(random.randrange(1, MAX_CHUNK)) for _ in range(60)]
    kinds = [random.choice(list(ChunkKind)) for _ in chunks]
    session = new_snapshot_id(RANDOM)
    with ChunkWriter(repository, index, session, RANDOM, MAX_CHUNK, WriteOptions(workers=workers)) as writer:
        ids = [writer.add(kind, chunk) for kind, chunk in zip(kinds, chunks, strict=True)]
        assert ids == [writer.add(kind, chunk) for kind, chunk in zip(kinds, chunks, strict=True)]
        assert writer.written.chunks == 60
        writer.flush()
        before = len(list(repository.storage.list("")))
        assert ids == [writer.add(kind, chunk) for kind, chunk in zip(kinds, chunks, strict=True)]
        writer.flush()
    assert len(list(repository.storage.list(""))) == before, "nothing is stored twice"
    assert writer.written.raw == sum(map(len, chunks))
    assert writer.written.stored == sum(info.size for info in repository.storage.list(""))
    reader = ChunkReader(repository, index, AllKeys(world.key, world.opener))
    for kind, chunk_id, chunk in zip(kinds, ids, chunks, strict=True):
        assert reader.read(kind, chunk_id) == chunk
    assert all(info.size % 4096 == 0 for info in repository.storage.list(""))
    for info in repository.storage.list(names.PACKS):
        data = repository.storage.get(info.name)
        pack, _ = read_whole_pack(data, info.name, world.key, world.opener)
        content = pack.plane == ObjectKind.CONTENT_PACK
        assert {frame.kind == ChunkKind.CONTENT for frame in pack.frames} == {content}
    index.close()


def test_only_references_open_without_the_private_key(tmp_path: Path) -> None:
    world, repository, index = fresh(tmp_path, MemoryStorage())
    with ChunkWriter(repository, index, new_snapshot_id(RANDOM), RANDOM, MAX_CHUNK, WriteOptions(workers=0)) as writer:
        ids = {kind: writer.add(kind, b"a chunk") for kind in ChunkKind}
        writer.flush()
    reader = ChunkReader(repository, index, LedgerKeys(world.key))
    assert reader.read(ChunkKind.REFERENCE, ids[ChunkKind.REFERENCE]) == b"a chunk"
    for kind in (ChunkKind.CONTENT, ChunkKind.MANIFEST):
        with pytest.raises(ChunkstoreError, match="GPG private key"):
            reader.read(kind, ids[kind])
    index.close()


def test_a_chunk_read_as_another_kind_or_not_there_is_damage(tmp_path: Path) -> None:
    world, repository, index = fresh(tmp_path, MemoryStorage())
    with ChunkWriter(repository, index, new_snapshot_id(RANDOM), RANDOM, MAX_CHUNK, WriteOptions(workers=0)) as writer:
        content = writer.add(ChunkKind.CONTENT, b"a chunk")
        writer.flush()
    reader = ChunkReader(repository, index, AllKeys(world.key, world.opener))
    with pytest.raises(Damaged, match="not what its id says"):
        reader.read(ChunkKind.MANIFEST, content)
    with pytest.raises(Damaged, match="in no index"):
        reader.read(ChunkKind.CONTENT, ChunkId(bytes(32)))
    (info,) = repository.storage.list(names.PACKS)
    data = repository.storage.get(info.name)
    for changed in (data[:900], b"", bytes(len(data)), Random(1).randbytes(len(data))):
        repository.storage.put(info.name, changed)
        with pytest.raises(Damaged) as caught:
            ChunkReader(repository, index, AllKeys(world.key, world.opener)).read(ChunkKind.CONTENT, content)
        assert caught.value.object_name == info.name
    repository.storage.delete(info.name)
    with pytest.raises(Damaged, match="missing"):
        ChunkReader(repository, index, AllKeys(world.key, world.opener)).read(ChunkKind.CONTENT, content)
    index.close()


def test_a_chunk_larger_than_frames_is_refused(tmp_path: Path) -> None:
    _, repository, index = fresh(tmp_path, MemoryStorage())
    with ChunkWriter(repository, index, new_snapshot_id(RANDOM), RANDOM, MAX_CHUNK, WriteOptions(workers=0)) as writer:
        with pytest.raises(InvalidArgument):
            writer.add(ChunkKind.CONTENT, bytes(MAX_SEGMENT + 1))
        with pytest.raises(InvalidArgument):
            writer.add(ChunkKind.CONTENT, b"")
        writer.add(ChunkKind.CONTENT, bytes(repository.config.frame_size + 1))  # a frame of its own
        writer.flush()
    index.close()


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 32768, 65536, 70_000])
@pytest.mark.parametrize("chunker", ["fixed:16K", "fixed:64K", "pyfastcdc:1K,4K,16K"])
def test_files_of_every_size_around_a_frame_are_stored(tmp_path: Path, size: int, chunker: str) -> None:
    """Whatever the chunker's smallest chunk is: as large as a frame, larger, or smaller."""
    world, repository, index = fresh(tmp_path, MemoryStorage())
    parameters = parse_chunker(chunker)
    path = tmp_path / "file"
    content = Random(size).randbytes(size)
    path.write_bytes(content)
    session = new_snapshot_id(RANDOM)
    options = WriteOptions(workers=0)
    with ChunkWriter(repository, index, session, RANDOM, parameters.max_size, options) as writer:
        files = FileContent(writer, make_chunker(parameters, 1), str(tmp_path), lambda _: None, lambda *_: None)
        stored = files.store(bytes(path), os.lstat(path))
        ids = b"".join(stored.ids)
        writer.flush()
    assert (stored.size, stored.chunks) == (size, len(ids) // 32)
    reader = ChunkReader(repository, index, AllKeys(world.key, world.opener))
    found = b"".join(reader.read(ChunkKind.CONTENT, ChunkId(ids[at : at + 32])) for at in range(0, len(ids), 32))
    assert found == content
    index.close()


@PROFILE
@given(st.integers(0, 10**6), st.integers(1, 10**5), st.integers(0, 10**5))
def test_ranges_are_widened_to_64_kib_within_the_pack(offset: int, length: int, rest: int) -> None:
    size = offset + length + rest
    start, wide = widened(offset, length, size)
    assert start % 65536 == 0
    assert start <= offset < offset + length <= start + wide <= size
    assert (start + wide) % 65536 == 0 or start + wide == size
