"""What the envelope, the padding, versions and flags promise, object by object."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import msgpack
import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chunkstore.errors import Damaged, NotAClient, UnsupportedFormat
from chunkstore.format import envelope, names, sealed_keys
from chunkstore.format.config import (
    OPERATION_CLASSES,
    Config,
    RecipientEntry,
    Recipients,
    decode_config,
    decode_recipients,
    encode_config,
    encode_recipients,
    recipients_body,
)
from chunkstore.format.index import decode_generation, decode_run_index, decode_segment
from chunkstore.format.kinds import PREFIX, ObjectKind, prefix, read_prefix
from chunkstore.format.pack import MAX_FRAME, read_header, read_pack, read_pack_fields
from chunkstore.format.padding import padding_size
from chunkstore.format.records import decode_record, signed_bytes
from chunkstore.format.wire import unpack, unpack_fields
from chunkstore.ids import PackId, RepositoryId, SnapshotId
from chunkstore.operations.catalog import read_record
from chunkstore.repository.places import Places, save_state
from chunkstore.repository.repository import open_repository
from chunkstore.storage import MemoryStorage
from tests.sample_objects import (
    StoredObject,
    World,
    by_kind,
    is_ledger,
    make_world,
    read_whole_pack,
    sample_chunks,
    sample_objects,
)

LABELS = [each.label for each in sample_objects()]
MIB = 1 << 20
HEADER = 116


def sample(label: str) -> StoredObject:
    return next(each for each in sample_objects() if each.label == label)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Fails when more than `size` bytes are allocated inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def seal_plain(world: World, kind: ObjectKind, name: str, plain: bytes) -> bytes:
    """A ledger object with any plaintext: what somebody with the index key can make."""
    generation = world.key.newest_generation
    salt = world.random_bytes(32)
    object_key = generation.object_key(salt)
    header = prefix(kind, world.key.repository_id) + generation.key_id + salt + object_key.commitment
    return header + AESGCM(object_key.key).encrypt(bytes(12), plain, header + name.encode())


# -- what all objects begin with


def test_there_is_a_sample_of_every_kind() -> None:
    kinds = {each.kind for each in sample_objects()} | {ObjectKind.PACK_TABLE}  # the table is inside packs
    assert kinds == set(ObjectKind)


@pytest.mark.parametrize("label", LABELS)
def test_objects_say_what_they_are(label: str) -> None:
    each, key = sample(label), make_world().key
    assert each.data[:8] == b"CHUNKSTO"
    assert read_prefix(each.data, each.name) == (each.kind, key.repository_id)
    assert prefix(each.kind, key.repository_id) == each.data[:44] == each.data[: PREFIX.size]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_unsupported_and_named(label: str, version: int) -> None:
    each = sample(label)
    data = each.data[:8] + bytes([version]) + each.data[9:]
    with pytest.raises(UnsupportedFormat, match=f"version {version};.*version 1.*format version {version}$"):
        _renamed_to_fit(each)(data)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("flags", [1, 0x8000, 0xFFFF])
def test_unknown_required_flags_are_unsupported(label: str, flags: int) -> None:
    each = sample(label)
    data = each.data[:10] + struct.pack(">H", flags) + each.data[12:]
    with pytest.raises(UnsupportedFormat, match=f"{flags:#06x} of a newer chunkstore"):
        _renamed_to_fit(each)(data)


def _renamed_to_fit(each: StoredObject) -> Callable[[bytes], object]:
    """Reads data as this object; a pack under the name that its bytes have then."""
    if each.kind not in (ObjectKind.CONTENT_PACK, ObjectKind.TREE_PACK):
        return each.read
    return lambda data: each.read_as(names.pack(PackId(hashlib.sha256(data).digest())), data)


@pytest.mark.parametrize("label", LABELS)
def test_the_message_names_the_object_and_nothing_secret(label: str) -> None:
    each, state = sample(label), make_world().repository.state
    with pytest.raises(Damaged) as caught:
        each.read(each.data[:-1])
    if each.kind != ObjectKind.SEALED_KEY or caught.value.object_name:
        assert caught.value.object_name == each.name
    shown = str(caught.value).lower()
    assert not any(s.hex() in shown for s in (state.key.id_secret, *state.key.ledger_secrets))


# -- sizes and freshness


@pytest.mark.parametrize("label", LABELS)
def test_sizes_are_multiples_of_4_kib(label: str) -> None:
    assert len(sample(label).data) % 4096 == 0


@pytest.mark.parametrize("size", [0, 1, 4000, 300_000, MIB - 200, MIB, MIB + 1, 3 * MIB])
def test_large_bodies_are_padded_to_64_kib(size: int) -> None:
    world = make_world()
    body = Random(5).randbytes(size)
    data = envelope.seal(ObjectKind.GENERATION, "name", body, world.key, world.random_bytes)
    assert len(data) % (65536 if len(data) > MIB else 4096) == 0
    assert len(data) - size < HEADER + 16 + 5 + 2 * 65536
    assert envelope.unseal(data, "name", (ObjectKind.GENERATION,), world.key)[1] == body


def test_padding_differs_between_two_sealings() -> None:
    world = make_world()
    body = Random(6).randbytes(10_000)

    def sizes(size: int) -> set[int]:
        return {padding_size(size, world.random_bytes) for _ in range(200)}

    assert sizes(10_000) == {12288 - 10_000, 16384 - 10_000}
    assert sizes(2 * MIB + 32768) == {32768, 65536 + 32768}
    lengths = {len(envelope.seal(ObjectKind.PLAN, "n", body, world.key, world.random_bytes)) for _ in range(60)}
    assert len(lengths) == 2


def test_the_random_amount_comes_first() -> None:
    """The chance of one step more is the fraction of a step that is used: the size at hand can not be told apart."""
    drawn = [padding_size(4096 + 1024, lambda n, at=at: at.to_bytes(4, "big")) for at in range(4096)]
    assert drawn.count(8192 - 5120) == 3073
    assert drawn.count(12288 - 5120) == 1023


@pytest.mark.parametrize("label", [each.label for each in sample_objects() if is_ledger(each)])
def test_two_sealings_share_nothing(label: str) -> None:
    each, world = sample(label), make_world()
    _, body = envelope.unseal(each.data, each.name, (each.kind,), world.key)
    one, two = (envelope.seal(each.kind, each.name, body, world.key, world.random_bytes) for _ in range(2))
    salt, commitment = slice(52, 84), slice(84, 116)
    assert one[:52] == two[:52]
    assert one[salt] != two[salt]
    assert one[commitment] != two[commitment]
    blocks = [{data[at : at + 16] for at in range(HEADER, len(data), 16)} for data in (one, two)]
    assert not blocks[0] & blocks[1]


def test_no_key_is_used_twice() -> None:
    """Nonces are zero, so keys must not come again: 32 random bytes of salt in each object."""
    salts = [each.data[52:84] for seed in (1, 2) for each in sample_objects(seed) if is_ledger(each)]
    assert len(set(salts)) == len(salts)


def test_packs_written_twice_share_no_frames() -> None:
    one, two = by_kind(ObjectKind.CONTENT_PACK), by_kind(ObjectKind.CONTENT_PACK, seed=2)
    blocks = [{each.data[at : at + 16] for at in range(1000, len(each.data) - 20, 16)} for each in (one, two)]
    assert not blocks[0] & blocks[1]


# -- packs


def test_packs_hold_what_was_added() -> None:
    world = make_world()
    each = by_kind(ObjectKind.CONTENT_PACK)
    info, chunks = read_whole_pack(each.data, each.name, world.key, world.opener)
    assert chunks == sample_chunks()
    assert info.size == len(each.data)
    assert len(info.frames) > 1
    tree, _ = read_whole_pack(
        by_kind(ObjectKind.TREE_PACK).data, by_kind(ObjectKind.TREE_PACK).name, world.key, world.opener
    )
    assert {frame.kind.name for frame in tree.frames} == {"MANIFEST", "REFERENCE"}
    assert [slot.type.name for slot in tree.slots] == ["DATA_KEY", "LEDGER"]


def test_packs_carry_what_opens_them() -> None:
    world = make_world()
    plane, slots, messages = read_header(by_kind(ObjectKind.CONTENT_PACK).data, "name", world.key)
    assert (plane, len(slots)) == (ObjectKind.CONTENT_PACK, 1)
    assert messages == world.repository.state.messages


def test_the_run_index_says_the_same_as_the_packs() -> None:
    world = make_world()
    run = by_kind(ObjectKind.RUN_INDEX)
    _, body = envelope.unseal(run.data, run.name, (ObjectKind.RUN_INDEX,), world.key)
    for info in decode_run_index(body).packs:
        name = names.pack(info.pack_id)
        found = next(each for each in sample_objects() if each.name == name)
        assert read_pack(found.data, info.pack_id, name, world.key) == info


def test_names_of_chunks_are_not_in_the_clear() -> None:
    each = by_kind(ObjectKind.TREE_PACK)
    assert b"file 0" not in each.data
    assert not any(chunk in by_kind(ObjectKind.CONTENT_PACK).data for chunk in sample_chunks() if len(chunk) > 8)


def pack_map(**changes: Any) -> dict[str, Any]:
    """The map of the sample content pack in the run index, changed."""
    run = by_kind(ObjectKind.RUN_INDEX)
    _, body = envelope.unseal(run.data, run.name, (ObjectKind.RUN_INDEX,), make_world().key)
    maps = unpack_fields(body)["packs"]
    return {**next(each for each in maps if each["plane"] == ObjectKind.CONTENT_PACK), **changes}


FRAME = struct.Struct(">BHIIIIx")


def frame_map(**changes: int) -> dict[str, Any]:
    """A pack of one frame of one chunk, changed."""
    row = {"kind": 1, "slot": 0, "offset": 1000, "stored": 500, "raw": 700, "count": 1, **changes}
    length = row.pop("length", row["raw"])
    return pack_map(frames=FRAME.pack(*row.values()), ids=bytes(32), lengths=struct.pack(">I", length), size=8192)


def test_a_frame_that_is_as_it_must_be_is_read() -> None:
    (frame,) = read_pack_fields(frame_map()).frames
    assert (frame.offset, frame.stored, frame.raw, frame.lengths) == (1000, 500, 700, (700,))
    assert read_pack_fields(frame_map(raw=MAX_FRAME)).frames[0].raw == MAX_FRAME


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 0},
        {"kind": 2},
        {"kind": 255},
        {"slot": 1},
        {"slot": 65535},
        {"offset": 8192},
        {"offset": 2**32 - 1},
        {"stored": 0},
        {"stored": 8000},
        {"stored": 2**32 - 1},
        {"raw": 0},
        {"raw": MAX_FRAME + 1},
        {"raw": 2**32 - 1},
        {"raw": 700, "length": 699},
        {"raw": 700, "length": 701},
        {"raw": 700, "length": 0},
        {"count": 0},
        {"count": 2},
        {"count": 2**32 - 1},
    ],
)
def test_a_malformed_frame_is_damage_before_anything_is_allocated(changes: dict[str, int]) -> None:
    fields = frame_map(**changes)
    with at_most(100_000), pytest.raises(Damaged):
        read_pack_fields(fields)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": b""},
        {"id": bytes(31)},
        {"size": -1},
        {"size": 2**31 + 1},
        {"size": 100},
        {"plane": 0},
        {"plane": 5},
        {"plane": 6},
        {"plane": 16},
        {"plane": 256},
        {"slots": b""},
        {"slots": bytes(113)},
        {"slots": b"\3" + bytes(112)},
        {"slots": b"\1" + bytes(111)},
        {"frames": b""},
        {"frames": bytes(20)},
        {"frames": bytes(19)},
        {"ids": b""},
        {"ids": bytes(33)},
        {"lengths": b""},
        {"lengths": bytes(4)},
    ],
)
def test_a_malformed_pack_is_damage(changes: dict[str, Any]) -> None:
    with pytest.raises(Damaged):
        read_pack_fields(pack_map(**changes))


def test_frames_that_overlap_or_go_backwards_are_damage() -> None:
    def two(first: int, second: int) -> dict[str, Any]:
        rows = FRAME.pack(1, 0, first, 100, 1, 1) + FRAME.pack(1, 0, second, 100, 1, 1)
        return pack_map(frames=rows, ids=bytes(64), lengths=struct.pack(">2I", 1, 1), size=8192)

    assert len(read_pack_fields(two(1000, 1100)).frames) == 2
    for offsets in ((1000, 1099), (1000, 1000), (1100, 1000)):
        with pytest.raises(Damaged):
            read_pack_fields(two(*offsets))


# -- bombs


@pytest.mark.parametrize("claimed", [envelope.MAX_BODY + 1, 1 << 40])
def test_a_body_that_claims_too_much_is_damage_before_it_is_inflated(claimed: int) -> None:
    world = make_world()
    packed = zstandard.ZstdCompressor(write_content_size=True).compress(b"x" * 1000)
    assert packed[4] == 0x60, "two bytes of content size"
    bomb = packed[:4] + b"\xe0" + claimed.to_bytes(8, "little") + packed[7:]
    assert zstandard.frame_content_size(bomb) == claimed
    data = seal_plain(world, ObjectKind.PLAN, "name", struct.pack(">IB", len(bomb), 1) + bomb)
    with at_most(MIB), pytest.raises(Damaged):
        envelope.unseal(data, "name", (ObjectKind.PLAN,), world.key)


def test_a_body_that_inflates_to_more_than_it_claims_is_damage() -> None:
    world = make_world()
    real = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(envelope.MAX_BODY))
    lying = real[:4] + bytes([real[4] & 0x3F | 0x20]) + b"\x0a" + real[9:]  # one byte of content size: 10
    assert zstandard.frame_content_size(lying) == 10
    for body in (lying, zstandard.ZstdCompressor(write_content_size=False).compress(bytes(envelope.MAX_BODY))):
        data = seal_plain(world, ObjectKind.PLAN, "name", struct.pack(">IB", len(body), 1) + body)
        with at_most(MIB), pytest.raises(Damaged):
            envelope.unseal(data, "name", (ObjectKind.PLAN,), world.key)


@pytest.mark.parametrize(
    "plain",
    [
        struct.pack(">IB", 1, 0),
        struct.pack(">IB", 2**32 - 1, 0) + bytes(4000),
        struct.pack(">IB", 3, 2) + bytes(4000),
        struct.pack(">IB", 3, 255) + bytes(4000),
        struct.pack(">IB", 0, 1) + bytes(4000),
        struct.pack(">IB", 4000, 1) + bytes(4000),
        struct.pack(">IB", 4000, 1) + b"\x28\xb5\x2f\xfd" + bytes(3996),
        struct.pack(">IB", 4, 1) + b"\x28\xb5\x2f\xfd",
    ],
)
def test_a_malformed_plaintext_is_damage(plain: bytes) -> None:
    world = make_world()
    with pytest.raises(Damaged):
        envelope.unseal(seal_plain(world, ObjectKind.PLAN, "n", plain), "n", (ObjectKind.PLAN,), world.key)


@pytest.mark.parametrize("size", range(HEADER + 16, HEADER + 16 + 5))
def test_a_plaintext_without_a_length_is_damage(size: int) -> None:
    world = make_world()
    data = seal_plain(world, ObjectKind.PLAN, "n", bytes(size - HEADER - 16))
    with pytest.raises(Damaged, match="cut off"):
        envelope.unseal(data, "n", (ObjectKind.PLAN,), world.key)


def test_counts_that_claim_more_than_there_is_are_damage() -> None:
    """msgpack: 2^32-1 items in an array, a map, bytes or text; and arrays in arrays in arrays, of which msgpack
    makes room for some thousand items each before it sees that they are not there.
    """
    heads = [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
    bodies = [head + bytes(1000) for head in heads]
    bodies += [b"\x81\xa5packs" + head + bytes(1000) for head in heads]
    bodies += [b"\xdd\x00\x00\xff\xff" * 500 + bytes(0xFFFF), b"\x91" * 100_000, b"\x81\xa1a" * 100_000]
    for body in bodies:
        with at_most(100 * MIB), pytest.raises(Damaged):
            unpack(body)
        with at_most(100 * MIB), pytest.raises(Damaged):
            decode_run_index(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x80\x80",
        b"\xa1\xff",
        b"\xd4\xff\x00",
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\x81\x01\x01",
        b"\x81\xc4\x01a\x01",
        b"\x81\x90\x01",
        b"\x90",
        b"\xc0",
        msgpack.packb({"a": 1})[:-1],
    ],
)
def test_what_is_no_map_with_text_keys_is_damage(body: bytes) -> None:
    with pytest.raises(Damaged):
        unpack_fields(body)


def test_fields_that_are_unknown_are_left_alone() -> None:
    fields = {**unpack_fields(_config_body()), "invented later": [1, {"a": b"b"}]}
    assert decode_config(msgpack.packb(fields), 0) == make_world().repository.config


# -- every field of every record


def _config_body() -> bytes:
    return encode_config(make_world().repository.config)


def _body(kind: ObjectKind) -> bytes:
    each = by_kind(kind)
    return envelope.unseal(each.data, each.name, (kind,), make_world().key)[1]


OPTIONAL = {"signature", "pinned"} | {("amendment", "description")}
WRONG: list[Any] = [None, True, 0.0, -1, 2**63, 2**64 - 1, "text", b"bytes", [None], [[]], {b"key": 1}, {"key": None}]
LEDGER = [each.label for each in sample_objects() if is_ledger(each)]


def _fields_of(label: str) -> list[str]:
    return list(unpack_fields(_body(sample(label).kind)))


@pytest.mark.parametrize(("label", "name"), [(label, name) for label in LEDGER for name in _fields_of(label)])
def test_each_field_is_required_and_typed(label: str, name: str) -> None:
    each, world = sample(label), make_world()
    fields = unpack_fields(_body(each.kind))
    good = fields[name]
    optional = name in OPTIONAL or (label, name) in OPTIONAL

    def read(changed: dict[str, Any]) -> object:
        body = msgpack.packb(changed)
        name = names.segment(hashlib.sha256(body).digest()) if each.kind == ObjectKind.INDEX_SEGMENT else each.name
        data = envelope.seal(each.kind, name, body, world.key, world.random_bytes)
        return each.read_as(name, data)

    def kind_of(value: Any) -> type:
        return type(value)

    without = {key: value for key, value in fields.items() if key != name}
    for changed in (without, *({**fields, name: wrong} for wrong in WRONG)):
        new = changed.get(name)
        if optional and (new is None or kind_of(new) is {"signature": bytes, "pinned": bool}.get(name, str)):
            read(changed)
            continue
        fits = kind_of(new) is kind_of(good) and not (type(new) is int and not 0 <= new < 2**63)
        if fits and name in ("host", "user", "program", "description", "chunker", "conditional_writes"):
            continue
        with pytest.raises(Damaged):
            read(changed)


@pytest.mark.parametrize("name", list(unpack_fields(unpack_fields(_body(ObjectKind.SNAPSHOT))["record"])))
def test_each_field_of_a_snapshot_is_required_and_typed(name: str) -> None:
    record = unpack_fields(unpack_fields(_body(ObjectKind.SNAPSHOT))["record"])
    session, good = make_world().session, record[name]
    without = {key: value for key, value in record.items() if key != name}
    for changed in (without, *({**record, name: wrong} for wrong in WRONG)):
        new = changed.get(name)
        if type(new) is type(good) and (type(good) in (str, bool) and name != "id"):
            continue
        body = msgpack.packb({"record": msgpack.packb(changed), "signature": None})
        with pytest.raises(Damaged):
            decode_record(body, session)


@pytest.mark.parametrize("roots", [[], [b""], [b"a"], [b"/a", b"b"], ["/a"]])
def test_a_record_with_strange_roots_is_damage(roots: list[Any]) -> None:
    record = unpack_fields(unpack_fields(_body(ObjectKind.SNAPSHOT))["record"])
    body = msgpack.packb({"record": msgpack.packb({**record, "roots": roots}), "signature": None})
    with pytest.raises(Damaged):
        decode_record(body, make_world().session)


@pytest.mark.parametrize("root", [b"/../etc", b"/a\0b"])
def test_a_record_with_roots_that_are_no_plain_paths_is_damage(root: bytes) -> None:
    """Like every path of a manifest; whoever holds the index key can forge a record."""
    record = unpack_fields(unpack_fields(_body(ObjectKind.SNAPSHOT))["record"])
    body = msgpack.packb({"record": msgpack.packb({**record, "roots": [root]}), "signature": None})
    with pytest.raises(Damaged):
        decode_record(body, make_world().session)


@pytest.mark.parametrize("features", [{b"read": [], "write": []}, {b"read": []}, {"read": [1]}, {"read": None}])
def test_a_config_with_strange_features_is_damage(features: dict[Any, Any]) -> None:
    with pytest.raises(Damaged):
        decode_config(msgpack.packb({**unpack_fields(_config_body()), "features": features}), 0)


def test_numbers_and_names_are_bound() -> None:
    with pytest.raises(Damaged):
        decode_config(_config_body(), 1)
    with pytest.raises(Damaged):
        decode_generation(_body(ObjectKind.GENERATION), 5)
    with pytest.raises(Damaged):
        decode_segment(_body(ObjectKind.INDEX_SEGMENT), bytes(32))
    with pytest.raises(Damaged):
        decode_record(_body(ObjectKind.SNAPSHOT), SnapshotId("0" * 32))


def test_a_signature_covers_the_repository_and_the_id() -> None:
    key, session = make_world().key, make_world().session
    body = unpack_fields(_body(ObjectKind.SNAPSHOT))["record"]
    one = signed_bytes(body, key.repository_id, session)
    others = [
        signed_bytes(body, RepositoryId(bytes(32)), session),
        signed_bytes(body, key.repository_id, SnapshotId("0" * 32)),
        signed_bytes(body + b"\0", key.repository_id, session),
    ]
    assert one not in others
    assert one.endswith(body)


def test_the_body_of_recipients_is_what_is_signed() -> None:
    entry = RecipientEntry("A", "B", "C", b"D")
    unsigned = Recipients(0, (entry,), b"", None)
    signed = replace(unsigned, signature=b"signature")
    assert recipients_body(unsigned) == recipients_body(signed)
    assert decode_recipients(encode_recipients(signed), 0) == signed
    with pytest.raises(Damaged):
        decode_recipients(encode_recipients(replace(unsigned, entries=())), 0)


# -- newer repositories


def open_config(config: Config | bytes, operation: str, places: Places) -> Config:
    """Open a repository that has this config, as a client of it."""
    world = make_world()
    storage = MemoryStorage()
    body = config if isinstance(config, bytes) else encode_config(config)
    name = names.config(0)
    storage.put(name, envelope.seal(ObjectKind.CONFIG, name, body, world.key, world.random_bytes))
    save_state(places, world.repository.state)
    return open_repository(storage, places, operation).config


@pytest.fixture
def places(tmp_path: Any) -> Places:
    return Places(tmp_path / "state", tmp_path / "cache")


@pytest.mark.parametrize("needing", OPERATION_CLASSES)
def test_a_feature_that_is_unknown_stops_its_operations_only(needing: str, places: Places) -> None:
    config = replace(make_world().repository.config, features=((needing, ("quantum frames", "rust")),))
    for operation in OPERATION_CLASSES:
        if operation == needing:
            with pytest.raises(UnsupportedFormat, match=f"to {needing} .*quantum frames, rust.*newer chunkstore"):
                open_config(config, operation, places)
        else:
            assert open_config(config, operation, places) == config


def test_operation_classes_that_are_unknown_stop_nothing(places: Places) -> None:
    config = replace(make_world().repository.config, features=(("teleport", ("quantum frames",)),))
    for operation in OPERATION_CLASSES:
        assert open_config(config, operation, places) == config


@pytest.mark.parametrize("version", [2, 3, 2**62])
def test_a_newer_format_is_unsupported_and_named(version: int, places: Places) -> None:
    newer = msgpack.packb({"format": version, "whatever": "it holds"})
    with pytest.raises(UnsupportedFormat, match=f"format {version}.*up to 1"):
        open_config(newer, "read", places)


def test_without_the_state_of_a_client_nothing_opens(places: Places) -> None:
    world = make_world()
    storage = MemoryStorage()
    config = by_kind(ObjectKind.CONFIG)
    storage.put(config.name, config.data)
    with pytest.raises(NotAClient):
        open_repository(storage, places, "read")
    save_state(places, world.repository.state)
    assert open_repository(storage, places, "read").config == world.repository.config


def test_a_record_and_a_tombstone_are_told_apart() -> None:
    world = make_world()
    storage = MemoryStorage()
    for kind in (ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE):
        storage.put(by_kind(kind).name, by_kind(kind).data)
    repository = replace(world.repository, storage=storage)
    found = read_record(repository, world.session)
    assert found is not None
    assert found.record.id == world.session
    dead = SnapshotId(by_kind(ObjectKind.TOMBSTONE).name.removeprefix(names.SNAPSHOTS))
    assert read_record(repository, dead) is None


# -- sealed keys, as bytes


def test_a_sealed_key_is_checked_to_its_fields() -> None:
    world = make_world()
    repository_id = world.key.repository_id
    data = sealed_keys.encode(
        sealed_keys.SealedKey(sealed_keys.SealedKind.READING_KEY, b"k" * 16, b"message"), repository_id
    )

    def summed(body: bytes) -> bytes:
        return body + hashlib.sha256(body).digest()

    for changed in (
        data[:44] + b"\3" + data[45:-32],
        data[:44] + b"\0" + data[45:-32],
        data[:61] + struct.pack(">I", 2**32 - 1) + data[65:-32],
        data[:61] + struct.pack(">I", len(data) - 32 - 65 + 1) + data[65:-32],
        data[:64],
    ):
        with pytest.raises(Damaged):
            sealed_keys.decode(summed(changed), "name", repository_id)
    assert sealed_keys.decode(summed(data[:-32]), "name", repository_id).message == b"message"
