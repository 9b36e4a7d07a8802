"""One real stored object of every kind, made by the code that makes them, and how each is read in full.

A `World` is a repository in memory with all its keys; equal seeds make equal worlds, but for the HPKE ciphertexts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from chunkstore.errors import Damaged
from chunkstore.format import envelope, names, sealed_keys
from chunkstore.format.client_state import ClientState
from chunkstore.format.config import (
    Config,
    RecipientEntry,
    Recipients,
    decode_recipients,
    encode_config,
    encode_recipients,
)
from chunkstore.format.entries import FILE, Entry
from chunkstore.format.index import (
    Generation,
    IndexSegment,
    RunIndex,
    decode_generation,
    decode_run_index,
    decode_segment,
    encode_generation,
    encode_run_index,
    encode_segment,
    segment_digest,
)
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import MAX_FRAME, KeyMessages, PackInfo, Slot, SlotType, read_header, read_pack
from chunkstore.format.records import (
    Amendment,
    SnapshotRecord,
    Tombstone,
    decode_amendment,
    decode_record,
    decode_tombstone,
    encode_amendment,
    encode_record,
    encode_tombstone,
    record_body,
)
from chunkstore.format.runs import (
    Plan,
    PlanDone,
    Session,
    decode_plan,
    decode_plan_done,
    decode_session,
    encode_plan,
    encode_plan_done,
    encode_session,
)
from chunkstore.format.sealed_keys import SealedKey, SealedKind, bundle_id
from chunkstore.ids import ChunkId, PackId, RandomBytes, RepositoryId, SnapshotId, new_snapshot_id
from chunkstore.keys.derivation import ChunkKind, IndexKey
from chunkstore.keys.opening import Opener, ReadingKey
from chunkstore.operations.opening import newest_key_object
from chunkstore.repository.chunk_reader import AllKeys
from chunkstore.repository.chunk_writer import ChunkWriter, WriteOptions
from chunkstore.repository.frames import FrameCoder
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.manifest_writer import ManifestWriter, Roots
from chunkstore.repository.repository import Repository, read_config
from chunkstore.storage import MemoryStorage

MAX_CHUNK = 4096
FRAME_SIZE = 16384
NOW = 1_790_000_000 * 10**9


@dataclass(frozen=True)
class World:
    """A repository in memory, and whatever opens it."""

    random_bytes: RandomBytes
    repository: Repository
    reading_key: ReadingKey
    opener: Opener
    session: SnapshotId

    @property
    def key(self) -> IndexKey:
        return self.repository.key


@dataclass(frozen=True)
class StoredObject:
    """A stored object; `read_as(name, data)` reads and checks data in full as the object of this name."""

    label: str
    kind: ObjectKind
    name: str
    data: bytes
    read_as: Callable[[str, bytes], object]

    def read(self, data: bytes) -> object:
        return self.read_as(self.name, data)


class NoLog:
    """A `SegmentLog` that keeps nothing."""

    def ids(self, ids: bytes) -> None:
        pass

    def segment(self, ref: object, data: bytes) -> None:
        pass


class DictChunks:
    """A sink and a source of chunks: a dict behind the ids of one key. Counts what is read."""

    def __init__(self, key: IndexKey) -> None:
        self._key = key
        self.chunks: dict[ChunkId, bytes] = {}
        self.added = 0
        self.reads = 0

    def add(self, kind: ChunkKind, data: bytes | memoryview) -> ChunkId:
        chunk_id = self._key.chunk_id(kind, data)
        self.chunks[chunk_id] = bytes(data)
        self.added += 1
        return chunk_id

    def read(self, kind: ChunkKind, chunk_id: ChunkId) -> bytes:
        self.reads += 1
        data = self.chunks.get(chunk_id)
        if data is None or self._key.chunk_id(kind, data) != chunk_id:
            raise Damaged("no such chunk")
        return data


def make_key(seed: int) -> IndexKey:
    """An index key and no more."""
    random_bytes = Random(seed).randbytes
    return IndexKey.generate(ReadingKey.generate(random_bytes).public, random_bytes)


def make_world(seed: int = 1) -> World:
    """The world of this seed; its repository holds what `sample_objects` wrote, once that was called."""
    return _make_world(seed)


@cache
def _make_world(seed: int) -> World:
    random_bytes = Random(seed).randbytes
    reading_key = ReadingKey.generate(random_bytes)
    key = IndexKey.generate(reading_key.public, random_bytes)
    messages = KeyMessages(random_bytes(311), random_bytes(409))
    config = Config(
        number=0,
        repository_id=key.repository_id,
        chunker="fixed:4K",
        frame_size=FRAME_SIZE,
        pack_size=1 << 20,
        features=(("prune", ()), ("read", ())),
        conditional_writes=True,
        previous=b"",
    )
    entry = RecipientEntry("A" * 40, "B" * 40, "Ann Example <ann@example.org>", random_bytes(500))
    recipients = Recipients(0, (entry,), b"", None)
    state = ClientState(key, recipients, messages, random_bytes(16), 7, random_bytes(32), 0, 0)
    repository = Repository(MemoryStorage(), state, config)
    opener = Opener([reading_key], key.repository_id)
    return World(random_bytes, repository, reading_key, opener, new_snapshot_id(random_bytes))


def sample_objects(seed: int = 1) -> tuple[StoredObject, ...]:
    """One object of every kind (two sealed keys), all of one repository."""
    return _sample_objects(seed)


@cache
def _sample_objects(seed: int) -> tuple[StoredObject, ...]:
    world = make_world(seed)
    roots = _write_chunks(world)
    packs = [_pack_object(world, info.name) for info in world.repository.storage.list(names.PACKS)]
    packs.sort(key=lambda each: each.kind)  # HPKE draws its own randomness, so names of packs differ from run to run
    assert {each.kind for each in packs} == {ObjectKind.CONTENT_PACK, ObjectKind.TREE_PACK}
    return (*_config_objects(world), *packs, *_index_objects(world), *_snapshot_objects(world, roots), *_runs(world))


def by_kind(kind: ObjectKind, seed: int = 1) -> StoredObject:
    """The sample of this kind."""
    return next(each for each in sample_objects(seed) if each.kind == kind)


def ledger_object(
    world: World, kind: ObjectKind, name: str, body: bytes, decode: Callable[[str, bytes], object]
) -> StoredObject:
    """A ledger object as the real code seals it; `decode` takes the name and the body."""

    def read_as(name: str, data: bytes) -> object:
        return decode(name, envelope.unseal(data, name, (kind,), world.key)[1])

    data = envelope.seal(kind, name, body, world.key, world.random_bytes)
    return StoredObject(kind.name.lower(), kind, name, data, read_as)


def is_ledger(each: StoredObject) -> bool:
    """Whether the object is one that the ledger envelope seals."""
    return each.kind not in (ObjectKind.SEALED_KEY, ObjectKind.CONTENT_PACK, ObjectKind.TREE_PACK)


def _number(name: str, prefix: str) -> int:
    number = names.number(name.removesuffix(names.DONE), prefix)
    if number is None:
        raise Damaged("is not a name of this kind", name)
    return number


def _config_objects(world: World) -> list[StoredObject]:
    key, state = world.key, world.repository.state
    name = names.config(0)
    config = envelope.seal(ObjectKind.CONFIG, name, encode_config(world.repository.config), key, world.random_bytes)

    def read_config_as(name: str, data: bytes) -> Config:
        return read_config(data, _number(name, names.CONFIG), key)

    recipients = ledger_object(
        world,
        ObjectKind.RECIPIENTS,
        names.recipients(0),
        encode_recipients(state.recipients),
        lambda name, body: decode_recipients(body, _number(name, names.RECIPIENTS)),
    )
    bundle = SealedKey(SealedKind.INDEX_BUNDLE, bundle_id(key.repository_id), state.messages.index_bundle)
    reading = SealedKey(SealedKind.READING_KEY, world.reading_key.key_id, state.messages.reading_key)
    return [
        StoredObject("config", ObjectKind.CONFIG, name, config, read_config_as),
        recipients,
        _sealed_key(bundle, key.repository_id),
        _sealed_key(reading, key.repository_id),
    ]


def _sealed_key(sealed: SealedKey, repository_id: RepositoryId) -> StoredObject:
    def read_as(name: str, data: bytes) -> SealedKey:
        storage = MemoryStorage()
        storage.put(name, data)
        key_id = bytes.fromhex(name.removeprefix(names.KEYS).partition(".")[0])
        return newest_key_object(storage, key_id, repository_id)

    name = names.sealed_key(sealed.key_id, 0)
    label = f"sealed_{sealed.kind.name.lower()}"
    return StoredObject(label, ObjectKind.SEALED_KEY, name, sealed_keys.encode(sealed, repository_id), read_as)


def sample_chunks(seed: int = 1) -> list[bytes]:
    """Content of some frames: chunks that compress and chunks that do not, the smallest included."""
    random = Random(seed)
    chunks = [b"\x00", b"a line of a log\n" * 200, random.randbytes(MAX_CHUNK)]
    chunks += [random.randbytes(random.randrange(1, MAX_CHUNK)) for _ in range(8)]
    chunks += [bytes([n]) * random.randrange(1, MAX_CHUNK) for n in range(8)]
    return chunks


def _write_chunks(world: World) -> Roots:
    """A content pack, a tree pack and a run index, written as a snapshot writes them."""
    key = world.key
    with tempfile.TemporaryDirectory() as directory:
        index = LocalIndex(Path(directory) / "index.sqlite")
        options = WriteOptions(workers=0)
        with ChunkWriter(world.repository, index, world.session, world.random_bytes, MAX_CHUNK, options) as writer:
            manifest = ManifestWriter(writer, key.segment_cut_key, NoLog())
            manifest.add(b"/", Entry(b"", 2, 0o755, 0, 0, 1, 1, 2, 0, 0, None))
            for number, chunk in enumerate(sample_chunks()):
                manifest.add_ids(writer.add(ChunkKind.CONTENT, chunk))
                name = b"file %03d" % number
                manifest.add(b"/", Entry(name, FILE, 0o644, 0, 0, 1, 1, number, len(chunk), 1, None))
            roots = manifest.finish()
            writer.flush()
        index.close()
    return roots


@cache
def _coder(key: IndexKey) -> FrameCoder:
    return FrameCoder(key.repository_id, key.chunk_id_keys, MAX_FRAME, 3, Random(0).randbytes)


def read_whole_pack(data: bytes, name: str, key: IndexKey, opener: Opener) -> tuple[PackInfo, list[bytes]]:
    """Check a pack against its name, open and inflate its frames, and check every chunk id."""
    pack_id = names.pack_id(name)
    if pack_id is None:
        raise Damaged("is not a name of a pack", name)
    info = read_pack(data, pack_id, name, key)
    read_header(data, name, key)
    coder, keys = _coder(key), AllKeys(key, opener)
    chunks = []
    for frame in info.frames:
        stored = memoryview(data)[frame.offset : frame.offset + frame.stored]
        raw = coder.decode(stored, keys.frame_key(info.slots[frame.slot]), frame.kind, frame.raw)
        coder.check(raw, frame.kind, list(frame.ids), list(frame.lengths))
        at = 0
        for length in frame.lengths:
            chunks.append(bytes(raw[at : at + length]))
            at += length
    return info, chunks


def _pack_object(world: World, name: str) -> StoredObject:
    data = bytes(world.repository.storage.get(name))
    kind = ObjectKind(data[9])

    def read_as(name: str, data: bytes) -> object:
        return read_whole_pack(data, name, world.key, world.opener)

    return StoredObject(kind.name.lower(), kind, name, data, read_as)


def _index_objects(world: World) -> list[StoredObject]:
    (listed,) = world.repository.storage.list(names.RUNS)
    _, body = world.repository.read(listed.name, ObjectKind.RUN_INDEX)
    packs = decode_run_index(body).packs
    run = RunIndex(world.session, packs)
    segment = encode_segment(IndexSegment(packs))
    digest = segment_digest(segment)
    dropped = frozenset(PackId(world.random_bytes(32)) for _ in range(3))
    generation = Generation(4, (digest, world.random_bytes(32)), frozenset({listed.name}), dropped)
    return [
        ledger_object(
            world, ObjectKind.RUN_INDEX, listed.name, encode_run_index(run), lambda _, body: decode_run_index(body)
        ),
        ledger_object(
            world,
            ObjectKind.INDEX_SEGMENT,
            names.segment(digest),
            segment,
            lambda name, body: decode_segment(body, bytes.fromhex(name.removeprefix(names.SEGMENTS))),
        ),
        ledger_object(
            world,
            ObjectKind.GENERATION,
            names.generation(4),
            encode_generation(generation),
            lambda name, body: decode_generation(body, _number(name, names.GENERATIONS)),
        ),
    ]


def make_record(world: World, roots: Roots) -> SnapshotRecord:
    return SnapshotRecord(
        id=world.session,
        time=NOW,
        end=NOW + 1,
        host="host",
        user="user",
        roots=(b"/", b"/\xff"),
        tags=("tag",),
        description="a description",
        content_root=roots.content,
        reference_root=roots.reference,
        client=world.repository.state.client,
        sequence=7,
        previous=world.repository.state.previous,
        generation=4,
        partial=False,
        errors=0,
        statistics={"files": 19},
        program="chunkstore",
    )


def _snapshot_objects(world: World, roots: Roots) -> list[StoredObject]:
    body = record_body(make_record(world, roots))
    dead = new_snapshot_id(world.random_bytes)
    amendment = Amendment(world.session, NOW, ("more",), ("tag",), True, "another description")

    def id_in(name: str) -> SnapshotId:
        return SnapshotId(name.removeprefix(names.SNAPSHOTS))

    return [
        ledger_object(
            world,
            ObjectKind.SNAPSHOT,
            names.snapshot(world.session),
            encode_record(body, world.random_bytes(119)),
            lambda name, body: decode_record(body, id_in(name)),
        ),
        ledger_object(
            world,
            ObjectKind.TOMBSTONE,
            names.snapshot(dead),
            encode_tombstone(Tombstone(dead, NOW)),
            lambda name, body: decode_tombstone(body, id_in(name)),
        ),
        ledger_object(
            world,
            ObjectKind.AMENDMENT,
            names.amendment(new_snapshot_id(world.random_bytes)),
            encode_amendment(amendment),
            lambda _, body: decode_amendment(body),
        ),
    ]


def _runs(world: World) -> list[StoredObject]:
    session = Session(world.session, world.repository.state.client, "host", NOW, NOW + 5)
    packs = [PackId(world.random_bytes(32)) for _ in range(3)]
    plan = Plan(3, NOW, frozenset(packs[:1]), frozenset(packs[1:2]), frozenset(packs[2:]), 2)
    return [
        ledger_object(
            world,
            ObjectKind.SESSION,
            names.session(world.session),
            encode_session(session),
            lambda name, body: decode_session(body, SnapshotId(name.removeprefix(names.SESSIONS))),
        ),
        ledger_object(
            world,
            ObjectKind.PLAN,
            names.plan(3),
            encode_plan(plan),
            lambda name, body: decode_plan(body, _number(name, names.PLANS)),
        ),
        ledger_object(
            world,
            ObjectKind.PLAN_DONE,
            names.plan_done(3),
            encode_plan_done(PlanDone(3, NOW)),
            lambda name, body: decode_plan_done(body, _number(name, names.PLANS)),
        ),
    ]


def data_slot(world: World) -> Slot:
    """The key slot of the sample content pack."""
    _, slots, _ = read_header(by_kind(ObjectKind.CONTENT_PACK).data, "pack", world.key)
    assert slots[0].type == SlotType.DATA_KEY
    return slots[0]
