"""Every stored object against every kind of damage: it ends in a `ChunkstoreError`, or the value is as it was written."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.compression import Codec
from chunkstore.errors import ChunkstoreError, Damaged, UnsupportedFormat
from chunkstore.format import client_state, envelope, names, records, runs, sealed_keys, tree_nodes
from chunkstore.format import config as configs
from chunkstore.format import index as indexes
from chunkstore.format import pack as packs
from chunkstore.format.client_state import ClientState
from chunkstore.format.entries import (
    DIRECTORY,
    FILE,
    KINDS,
    SYMLINK,
    Entry,
    PlacedEntry,
    decode_segment,
    encode_directory,
    encode_entry,
    encode_segment,
    sort_key,
)
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.padding import padding_size
from chunkstore.format.wire import unpack_fields
from chunkstore.ids import ChunkId, PackId, RepositoryId, SnapshotId
from chunkstore.keys.derivation import ChunkKind, IndexKey
from tests.sample_objects import StoredObject, by_kind, is_ledger, ledger_object, make_key, make_world, sample_objects

LABELS = [each.label for each in sample_objects()]
PROFILE = settings(derandomize=True, deadline=None, max_examples=30)
MIB = 1 << 20
VERSION_AT, KIND_AT, FLAGS_AT, PREFIX_SIZE = 8, 9, (10, 11), 44


def sample(label: str, seed: int = 1) -> StoredObject:
    return next(each for each in sample_objects(seed) if each.label == label)


def refused(each: StoredObject, data: bytes, name: str | None = None) -> ChunkstoreError:
    """The error that reading `data` ends in; anything but `Damaged` and `UnsupportedFormat` fails the test."""
    try:
        each.read_as(name or each.name, data)
    except (Damaged, UnsupportedFormat) as e:
        return e
    raise AssertionError(f"{each.label} was accepted")


# -- damaged bytes


@pytest.mark.parametrize("label", LABELS)
def test_whole_objects_are_read(label: str) -> None:
    each = sample(label)
    assert each.read(each.data) is not None
    assert each.read(bytes(each.data)) == each.read(each.data)


@pytest.mark.parametrize("label", LABELS)
def test_every_truncation_is_damage(label: str) -> None:
    each = sample(label)
    for size in range(len(each.data)):
        assert isinstance(refused(each, each.data[:size]), Damaged)
        if size % 64 == 1:
            assert isinstance(refused(each, each.data[-size:]), Damaged)


@pytest.mark.parametrize("label", LABELS)
def test_every_changed_byte_is_refused(label: str) -> None:
    each = sample(label)
    data = bytearray(each.data)
    checked_first = each.kind in (ObjectKind.CONTENT_PACK, ObjectKind.TREE_PACK)  # the checksum in the name
    for at in range(len(data)):
        before = data[at]
        data[at] ^= 1 + at * 37 % 255
        error = refused(each, bytes(data))
        newer = at in (VERSION_AT, *FLAGS_AT) and not checked_first
        assert type(error) is (UnsupportedFormat if newer else Damaged), at
        data[at] = before


@PROFILE
@given(label=st.sampled_from(LABELS), data=st.data())
def test_bytes_that_are_added_moved_or_doubled_are_damage(label: str, data: st.DataObject) -> None:
    each = sample(label)
    at = data.draw(st.integers(0, len(each.data)))
    piece = data.draw(st.binary(min_size=1, max_size=64) | st.just(bytes(4096)) | st.just(each.data))
    changed = data.draw(
        st.sampled_from([each.data[:at] + piece + each.data[at:], each.data + piece, each.data[at:] + each.data[:at]])
    )
    if changed != each.data:
        refused(each, changed)


@PROFILE
@given(label=st.sampled_from(LABELS), noise=st.binary(max_size=300), keep=st.integers(0, 120))
def test_noise_is_refused(label: str, noise: bytes, keep: int) -> None:
    each = sample(label)
    refused(each, each.data[:keep] + noise)


@pytest.mark.parametrize("label", LABELS)
def test_objects_of_other_kinds_and_names_are_damage(label: str) -> None:
    each = sample(label)
    for other in sample_objects():
        if other is not each:
            assert isinstance(refused(each, other.data), Damaged), other.label


@pytest.mark.parametrize("label", LABELS)
def test_objects_of_another_repository_are_damage(label: str) -> None:
    mine, other = sample(label), sample(label, seed=2)
    assert isinstance(refused(mine, other.data), Damaged)
    assert isinstance(refused(mine, other.data, other.name), Damaged)


@pytest.mark.parametrize("label", LABELS)
def test_a_prefix_of_this_repository_does_not_make_it_ours(label: str) -> None:
    mine, other = sample(label), sample(label, seed=2)
    forged = mine.data[:PREFIX_SIZE] + other.data[PREFIX_SIZE:]
    assert isinstance(refused(mine, forged), Damaged)
    if not is_ledger(mine) and mine.kind != ObjectKind.SEALED_KEY:
        assert isinstance(refused(mine, forged, names.pack(_digest(forged))), Damaged)


def _digest(data: bytes) -> PackId:
    return PackId(hashlib.sha256(data).digest())


OTHER_NAMES = {
    ObjectKind.CONFIG: names.config(1),
    ObjectKind.RECIPIENTS: names.recipients(1),
    ObjectKind.SEALED_KEY: names.sealed_key(b"\1" * 16, 0),
    ObjectKind.CONTENT_PACK: names.pack(PackId(b"\1" * 32)),
    ObjectKind.TREE_PACK: names.pack(PackId(b"\1" * 32)),
    ObjectKind.RUN_INDEX: names.run_index(SnapshotId("1" * 32), 0),
    ObjectKind.INDEX_SEGMENT: names.segment(b"\1" * 32),
    ObjectKind.GENERATION: names.generation(5),
    ObjectKind.SNAPSHOT: names.snapshot(SnapshotId("1" * 32)),
    ObjectKind.TOMBSTONE: names.snapshot(SnapshotId("1" * 32)),
    ObjectKind.AMENDMENT: names.amendment("1" * 32),
    ObjectKind.SESSION: names.session(SnapshotId("1" * 32)),
    ObjectKind.PLAN: names.plan(4),
    ObjectKind.PLAN_DONE: names.plan_done(4),
}


@pytest.mark.parametrize("label", LABELS)
def test_a_renamed_object_is_damage(label: str) -> None:
    each = sample(label)
    assert isinstance(refused(each, each.data, OTHER_NAMES[each.kind]), Damaged)


# -- packs whose name fits what was changed


def _altered_pack(kind: ObjectKind, at: int, flip: int) -> tuple[StoredObject, bytes]:
    each = by_kind(kind)
    data = bytearray(each.data)
    data[at] ^= flip
    return each, bytes(data)


def _bound_positions(kind: ObjectKind) -> list[int]:
    """Positions of everything but the OpenPGP messages, their lengths and the padding."""
    each = by_kind(kind)
    info, _ = each.read(each.data)  # type: ignore[misc]
    assert isinstance(info, packs.PackInfo)
    offset, length, _ = struct.unpack(">QI8s", each.data[-20:])
    bound = [*range(PREFIX_SIZE + 2), *range(PREFIX_SIZE + 10, PREFIX_SIZE + 10 + 113 * len(info.slots))]
    bound += range(offset, offset + length)
    bound += range(len(each.data) - 20, len(each.data))
    for frame in info.frames:
        bound += range(frame.offset, frame.offset + frame.stored)
    return bound


@pytest.mark.parametrize("kind", [ObjectKind.CONTENT_PACK, ObjectKind.TREE_PACK])
def test_a_changed_byte_in_a_pack_is_refused_even_when_the_name_fits(kind: ObjectKind) -> None:
    bound = _bound_positions(kind)
    some = {at for at in bound if at < 400} | set(bound[-60:]) | set(bound[::29])
    for at in sorted(some):
        each, data = _altered_pack(kind, at, 1 + at * 37 % 255)
        refused(each, data, names.pack(_digest(data)))


@pytest.mark.parametrize("kind", [ObjectKind.CONTENT_PACK, ObjectKind.TREE_PACK])
def test_a_cut_pack_is_damage_even_when_the_name_fits(kind: ObjectKind) -> None:
    each = by_kind(kind)
    for size in {*range(600), *range(600, len(each.data), 211), *range(len(each.data) - 64, len(each.data))}:
        data = each.data[:size]
        refused(each, data, names.pack(_digest(data)))


# -- authentic but malformed: whoever has the index key can seal anything


def body_of(kind: ObjectKind) -> bytes:
    each = by_kind(kind)
    _, body = envelope.unseal(each.data, each.name, (kind,), make_world().key)
    return body


@cache
def decoders() -> dict[str, tuple[bytes, Callable[[bytes], Any]]]:
    """Every decode function with a valid body of it."""
    world = make_world()
    key, state = world.key, world.repository.state
    record = unpack_fields(body_of(ObjectKind.SNAPSHOT))["record"]
    plan, session = by_kind(ObjectKind.PLAN), world.session
    dead = SnapshotId(by_kind(ObjectKind.TOMBSTONE).name.removeprefix(names.SNAPSHOTS))
    assert plan.name == names.plan(3)
    run = unpack_fields(body_of(ObjectKind.RUN_INDEX))
    bundle = sealed_keys.index_bundle(key)
    reading = sealed_keys.reading_key(world.reading_key, key.repository_id)
    ids = [ChunkId(bytes([n]) * 32) for n in range(4)]
    level0 = tree_nodes.ReferenceNode(
        0,
        (
            tree_nodes.SegmentRef(ids[0], 700, (tree_nodes.RunRef(ids[1], 3),)),
            tree_nodes.SegmentRef(ids[2], 9, ()),
        ),
    )
    level1 = tree_nodes.ReferenceNode(1, (tree_nodes.NodeRef(ids[0], ids[1]), tree_nodes.NodeRef(ids[2], ids[3])))
    content = tree_nodes.ContentNode(1, ((b"/", b""), (b"/a", b"b")))
    return {
        "config": (body_of(ObjectKind.CONFIG), lambda b: configs.decode_config(b, 0)),
        "recipients": (body_of(ObjectKind.RECIPIENTS), lambda b: configs.decode_recipients(b, 0)),
        "run index": (body_of(ObjectKind.RUN_INDEX), indexes.decode_run_index),
        "segment": (
            body_of(ObjectKind.INDEX_SEGMENT),
            lambda b: indexes.decode_segment(b, indexes.segment_digest(b)),
        ),
        "generation": (body_of(ObjectKind.GENERATION), lambda b: indexes.decode_generation(b, 4)),
        "stored record": (body_of(ObjectKind.SNAPSHOT), lambda b: records.decode_record(b, session)),
        "record": (record, lambda b: records.decode_record(records.encode_record(b, None), session)),
        "tombstone": (body_of(ObjectKind.TOMBSTONE), lambda b: records.decode_tombstone(b, dead)),
        "amendment": (body_of(ObjectKind.AMENDMENT), records.decode_amendment),
        "session": (body_of(ObjectKind.SESSION), lambda b: runs.decode_session(b, session)),
        "plan": (body_of(ObjectKind.PLAN), lambda b: runs.decode_plan(b, 3)),
        "plan done": (body_of(ObjectKind.PLAN_DONE), lambda b: runs.decode_plan_done(b, 3)),
        "pack": (msgpack.packb(run["packs"][1]), lambda b: packs.read_pack_fields(unpack_fields(b))),
        "client state": (client_state.encode(state), client_state.decode),
        "index bundle": (
            bundle[65:],
            lambda b: sealed_keys.read_index_bundle(bundle[:65] + b, key.repository_id),
        ),
        "reading key": (
            reading[65:],
            lambda b: sealed_keys.read_reading_key(reading[:65] + b, key.repository_id, world.reading_key.key_id),
        ),
        "content node": (tree_nodes.encode_content_node(content), tree_nodes.decode_content_node),
        "reference node": (tree_nodes.encode_reference_node(level0), tree_nodes.decode_reference_node),
        "inner reference node": (tree_nodes.encode_reference_node(level1), tree_nodes.decode_reference_node),
        "run": (tree_nodes.encode_run(ids), lambda b: tree_nodes.decode_run(b, 4)),
    }


DECODERS = sorted(decoders())
MSGPACK_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 1, -1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1])
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=40)
    | st.binary(min_size=32, max_size=32)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4))
    | st.builds(msgpack.Timestamp, st.integers(-(2**33), 2**33), st.integers(0, 10**9 - 1))
)
MSGPACK = st.recursive(
    MSGPACK_SCALARS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8) | st.binary(max_size=4), below, max_size=4)
    ),
    max_leaves=8,
)


def accepts_or_refuses(decode: Callable[[bytes], Any], body: bytes) -> bool:
    """Whether `body` is accepted; every exception but `Damaged` and `UnsupportedFormat` fails the test."""
    try:
        decode(body)
    except (Damaged, UnsupportedFormat):
        return False
    return True


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    if isinstance(value, list):
        for at in range(len(value)):
            yield from _places(value[at], (*path, at))


def _changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    here = list(value) if isinstance(value, list) else dict(value)
    here[path[0]] = _changed(here[path[0]], path[1:], change)
    return here


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    return _changed(value, path, lambda _: new)


@pytest.mark.parametrize("which", DECODERS)
@settings(PROFILE, max_examples=40)
@given(data=st.data())
def test_changed_values_are_accepted_or_damage(which: str, data: st.DataObject) -> None:
    body, decode = decoders()[which]
    if which == "run":
        return
    value = msgpack.unpackb(body, strict_map_key=False)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(_places(value), key=repr)))
        new = data.draw(MSGPACK)
        how = data.draw(st.sampled_from(["replace", "drop", "double", "add", "cut"]))

        def change(old: Any, new: Any = new, how: str = how) -> Any:
            match how, old:
                case "drop", dict():
                    return dict(list(old.items())[1:])
                case "drop" | "cut", list() | bytes() | str():
                    return old[:-1]
                case "double", list() | bytes() | str():
                    return old + old
                case "add", list():
                    return [*old, new]
                case "add", dict():
                    return {**old, "another": new, b"another": new}
                case _:
                    return new

        value = _changed(value, path, change)
    accepts_or_refuses(decode, msgpack.packb(value))


@pytest.mark.parametrize("which", DECODERS)
@settings(PROFILE, max_examples=20)
@given(data=st.data())
def test_changed_bytes_are_accepted_or_damage(which: str, data: st.DataObject) -> None:
    body, decode = decoders()[which]
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    accepts_or_refuses(decode, bytes(changed))
    accepts_or_refuses(decode, bytes(changed[: data.draw(st.integers(0, len(body)))]))


@pytest.mark.parametrize("which", DECODERS)
def test_every_cut_body_is_damage(which: str) -> None:
    body, decode = decoders()[which]
    for size in range(len(body)):
        with pytest.raises(Damaged):
            decode(body[:size])
    with pytest.raises(Damaged):
        decode(body + b"\0")


@pytest.mark.parametrize("which", DECODERS)
@settings(PROFILE, max_examples=15)
@given(value=MSGPACK, noise=st.binary(max_size=60))
def test_other_values_are_damage(which: str, value: Any, noise: bytes) -> None:
    _, decode = decoders()[which]
    assert not accepts_or_refuses(decode, msgpack.packb(value))
    assert not accepts_or_refuses(decode, noise)


@PROFILE
@given(label=st.sampled_from([each.label for each in sample_objects() if is_ledger(each)]), value=MSGPACK)
def test_a_sealed_body_of_anything_is_damage(label: str, value: Any) -> None:
    each = sample(label)
    if each.kind == ObjectKind.INDEX_SEGMENT:
        return
    sealed = envelope.seal(each.kind, each.name, msgpack.packb(value), make_world().key, make_world().random_bytes)
    assert isinstance(refused(each, sealed), Damaged)


# -- manifest segments

NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & {0, 0x2F} and name not in (b".", b".."))
PATHS = st.lists(NAMES, max_size=4).map(lambda parts: b"/" + b"/".join(parts))
UNSIGNED = st.integers(0, 2**64 - 1) | st.integers(0, 2)
SIGNED = st.integers(-(2**63), 2**63 - 1)
EXTRAS = st.none() | st.dictionaries(st.text(max_size=5).filter(lambda key: key != "target"), st.binary(), max_size=2)


@st.composite
def entries(draw: st.DrawFn, name: bytes) -> Entry:
    kind = draw(st.sampled_from(sorted(KINDS))) if name else DIRECTORY
    extra = draw(EXTRAS)
    if kind == SYMLINK:
        extra = {**(extra or {}), "target": draw(st.binary(min_size=1, max_size=9).filter(lambda t: 0 not in t))}
    numbers = [draw(st.integers(0, 0o7777)), draw(UNSIGNED), draw(UNSIGNED), draw(SIGNED), draw(SIGNED)]
    chunks = draw(UNSIGNED) if kind == FILE else 0
    return Entry(name, kind, *numbers, draw(UNSIGNED), draw(UNSIGNED), chunks, extra)


@st.composite
def placed_entries(draw: st.DrawFn) -> list[PlacedEntry]:
    places = draw(st.sets(st.tuples(PATHS, NAMES), min_size=1, max_size=12))
    if draw(st.booleans()):
        places.add((b"/", b""))
    return [
        PlacedEntry(parent, draw(entries(name))) for parent, name in sorted(places, key=lambda place: sort_key(*place))
    ]


def segment_bytes(placed: list[PlacedEntry]) -> bytes:
    pieces, last = [], b""
    for parent, entry in placed:
        if parent != last:
            pieces.append(encode_directory(parent))
            last = parent
        pieces.append(encode_entry(entry))
    return encode_segment(pieces)


@PROFILE
@given(placed_entries())
def test_segments_come_back(placed: list[PlacedEntry]) -> None:
    assert list(decode_segment(segment_bytes(placed))[1]) == placed
    assert list(decode_segment(memoryview(segment_bytes(placed)))[1]) == placed


@PROFILE
@given(placed_entries(), st.data())
def test_cut_and_changed_segments_are_damage_or_well_formed(placed: list[PlacedEntry], data: st.DataObject) -> None:
    whole = segment_bytes(placed)
    changed = bytearray(whole)
    changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for each in (bytes(changed), whole[: data.draw(st.integers(0, len(whole) - 1))], data.draw(st.binary(max_size=50))):
        try:
            found = list(decode_segment(each)[1])
        except Damaged:
            continue
        keys = [sort_key(parent, entry.name) for parent, entry in found]
        assert keys == sorted(set(keys))
        assert all(set(part) & {0, 0x2F} == set() for parents, name in keys for part in (*parents, name))


@PROFILE
@given(st.lists(MSGPACK | st.sampled_from([[1], b"/", b"/a", b"/a/b"]), max_size=4), placed_entries(), st.data())
def test_strange_items_in_a_segment_are_damage(
    strange: list[Any], placed: list[PlacedEntry], data: st.DataObject
) -> None:
    items = _items(segment_bytes(placed))
    at = data.draw(st.integers(0, len(items)))
    fields = data.draw(st.integers(0, 10))
    if strange and at < len(items) and isinstance(items[at], list) and len(items[at]) == 11:
        items[at] = _with(items[at], (fields,), strange[0])
    else:
        items[at:at] = strange
    try:
        found = list(decode_segment(b"".join(map(msgpack.packb, items)))[1])
    except Damaged:
        return
    assert all(type(entry.kind) is int and entry.kind in KINDS for _, entry in found)


def _items(data: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(data)
    return list(unpacker)


# -- round trips

NATURAL = st.integers(0, 2**63 - 1)
ID = st.binary(min_size=32, max_size=32)
SHORT_ID = st.binary(min_size=16, max_size=16)
SNAPSHOT_ID = SHORT_ID.map(lambda raw: SnapshotId(raw.hex()))
TEXT = st.text(max_size=12)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
PREVIOUS = st.just(b"") | ID
PACK_IDS = st.frozensets(ID.map(PackId), max_size=4)

CONFIGS = st.builds(
    configs.Config,
    number=NATURAL,
    repository_id=ID.map(RepositoryId),
    chunker=TEXT,
    frame_size=st.integers(1024, packs.MAX_FRAME),
    pack_size=st.integers(0, packs.MAX_PACK // 2),
    features=st.dictionaries(TEXT, TEXTS, max_size=4).map(lambda features: tuple(sorted(features.items()))),
    conditional_writes=st.booleans(),
    previous=PREVIOUS,
)
RECIPIENTS = st.builds(
    configs.Recipients,
    number=NATURAL,
    entries=st.lists(
        st.builds(configs.RecipientEntry, TEXT, TEXT, TEXT, st.binary(max_size=50)), min_size=1, max_size=3
    ).map(tuple),
    previous=PREVIOUS,
    signature=st.none() | st.binary(max_size=20),
)
RECORDS = st.builds(
    records.SnapshotRecord,
    id=SNAPSHOT_ID,
    time=NATURAL,
    end=NATURAL,
    host=TEXT,
    user=TEXT,
    roots=st.lists(PATHS, min_size=1, max_size=3).map(tuple),
    tags=TEXTS,
    description=TEXT,
    content_root=ID.map(ChunkId),
    reference_root=ID.map(ChunkId),
    client=SHORT_ID,
    sequence=NATURAL,
    previous=PREVIOUS,
    generation=NATURAL,
    partial=st.booleans(),
    errors=NATURAL,
    statistics=st.dictionaries(TEXT, NATURAL, max_size=3),
    program=TEXT,
)
AMENDMENTS = st.builds(
    records.Amendment, SNAPSHOT_ID, NATURAL, TEXTS, TEXTS, st.none() | st.booleans(), st.none() | TEXT
)
GENERATIONS = st.builds(
    indexes.Generation, NATURAL, st.lists(ID, max_size=3).map(tuple), st.frozensets(TEXT, max_size=3), PACK_IDS
)
SESSIONS = st.builds(runs.Session, SNAPSHOT_ID, SHORT_ID, TEXT, NATURAL, NATURAL)
PLANS = st.builds(runs.Plan, NATURAL, NATURAL, PACK_IDS, PACK_IDS, PACK_IDS, NATURAL)
KEYS = st.builds(
    lambda id_secret, ledger, reading: IndexKey(id_secret, tuple(ledger), tuple(reading)),
    ID,
    st.lists(ID, min_size=1, max_size=3),
    st.lists(ID, min_size=1, max_size=3),
)
STATES = st.builds(
    ClientState,
    key=KEYS,
    recipients=RECIPIENTS,
    messages=st.builds(packs.KeyMessages, st.binary(max_size=20), st.binary(max_size=20)),
    client=SHORT_ID,
    sequence=NATURAL,
    previous=PREVIOUS,
    config=NATURAL,
    generation=NATURAL,
)


@st.composite
def pack_infos(draw: st.DrawFn) -> packs.PackInfo:
    plane = draw(st.sampled_from([ObjectKind.CONTENT_PACK, ObjectKind.TREE_PACK]))
    kinds = [ChunkKind.CONTENT] if plane == ObjectKind.CONTENT_PACK else [ChunkKind.MANIFEST, ChunkKind.REFERENCE]
    slots = draw(
        st.lists(
            st.builds(
                packs.Slot,
                st.sampled_from(packs.SlotType),
                SHORT_ID,
                SHORT_ID,
                st.binary(min_size=80, max_size=80),
            ),
            min_size=1,
            max_size=3,
        )
    )
    frames, at = [], draw(st.integers(0, 500))
    for _ in range(draw(st.integers(0, 4))):
        lengths = draw(st.lists(st.integers(1, packs.MAX_FRAME // 4), min_size=1, max_size=4))
        ids = draw(st.lists(ID.map(ChunkId), min_size=len(lengths), max_size=len(lengths)))
        stored = draw(st.integers(1, 1 << 20))
        slot = draw(st.integers(0, len(slots) - 1))
        kind = draw(st.sampled_from(kinds))
        frames.append(packs.Frame(kind, slot, at, stored, sum(lengths), tuple(ids), tuple(lengths)))
        at += stored + draw(st.integers(0, 5))
    size = at + draw(st.integers(0, 5000))
    return packs.PackInfo(PackId(draw(ID)), plane, size, tuple(slots), tuple(frames))


def as_tuples(info: packs.PackInfo) -> packs.PackInfo:
    """The same with tuples for whatever sequences its frames have."""
    frames = tuple(replace(frame, ids=tuple(frame.ids), lengths=tuple(frame.lengths)) for frame in info.frames)
    return replace(info, frames=frames)


@PROFILE
@given(st.data())
def test_values_come_back(data: st.DataObject) -> None:
    config, recipients = data.draw(CONFIGS), data.draw(RECIPIENTS)
    assert configs.decode_config(configs.encode_config(config), config.number) == config
    assert configs.decode_recipients(configs.encode_recipients(recipients), recipients.number) == recipients
    amendment, generation = data.draw(AMENDMENTS), data.draw(GENERATIONS)
    assert records.decode_amendment(records.encode_amendment(amendment)) == amendment
    assert indexes.decode_generation(indexes.encode_generation(generation), generation.number) == generation
    session, plan = data.draw(SESSIONS), data.draw(PLANS)
    assert runs.decode_session(runs.encode_session(session), session.id) == session
    assert runs.decode_plan(runs.encode_plan(plan), plan.number) == plan
    assert plan.condemned == plan.dead | plan.repack | plan.orphans
    done = runs.PlanDone(plan.number, plan.time)
    assert runs.decode_plan_done(runs.encode_plan_done(done), plan.number) == done
    tombstone = records.Tombstone(session.id, plan.time)
    assert records.decode_tombstone(records.encode_tombstone(tombstone), session.id) == tombstone


@PROFILE
@given(RECORDS, st.none() | st.binary(max_size=20))
def test_records_come_back_with_their_bytes(record: records.SnapshotRecord, signature: bytes | None) -> None:
    body = records.record_body(record)
    signed = records.decode_record(records.encode_record(body, signature), record.id)
    assert signed == records.SignedRecord(record, body, signature)
    assert signed.digest == hashlib.sha256(body).digest()


@PROFILE
@given(STATES)
def test_client_states_come_back(state: ClientState) -> None:
    assert client_state.decode(client_state.encode(state)) == state


@PROFILE
@given(st.lists(pack_infos(), max_size=3), SNAPSHOT_ID)
def test_index_objects_come_back(infos: list[packs.PackInfo], session: SnapshotId) -> None:
    run = indexes.decode_run_index(indexes.encode_run_index(indexes.RunIndex(session, tuple(infos))))
    assert (run.session, [as_tuples(info) for info in run.packs]) == (session, infos)
    body = indexes.encode_segment(indexes.IndexSegment(tuple(infos)))
    segment = indexes.decode_segment(body, indexes.segment_digest(body))
    assert [as_tuples(info) for info in segment.packs] == infos


@PROFILE
@given(st.data())
def test_tree_nodes_come_back(data: st.DataObject) -> None:
    level = data.draw(st.integers(0, tree_nodes.MAX_LEVEL))
    keys = data.draw(st.lists(st.tuples(PATHS, NAMES | st.just(b"")), min_size=1, max_size=5))
    content = tree_nodes.ContentNode(level, tuple(keys))
    assert tree_nodes.decode_content_node(tree_nodes.encode_content_node(content)) == content
    run = st.builds(tree_nodes.RunRef, ID, st.integers(1, tree_nodes.MAX_RUN))
    segment = st.builds(tree_nodes.SegmentRef, ID, st.integers(1, MIB), st.lists(run, max_size=3).map(tuple))
    child = segment if level == 0 else st.builds(tree_nodes.NodeRef, ID, ID)
    node = tree_nodes.ReferenceNode(level, tuple(data.draw(st.lists(child, min_size=1, max_size=5))))
    assert tree_nodes.decode_reference_node(tree_nodes.encode_reference_node(node)) == node
    ids = data.draw(st.lists(ID, max_size=5))
    assert tree_nodes.decode_run(tree_nodes.encode_run(ids), len(ids)) == b"".join(ids)


@PROFILE
@given(
    kind=st.sampled_from([kind for kind in ObjectKind if kind not in (ObjectKind.SEALED_KEY,)]),
    name=st.text("abcdefghij/-.0123456789", min_size=1, max_size=40),
    body=st.binary(max_size=200) | st.integers(0, 20_000).map(bytes),
)
def test_sealed_bodies_come_back(kind: ObjectKind, name: str, body: bytes) -> None:
    each = ledger_object(make_world(), kind, name, body, lambda _, found: found)
    assert each.read(each.data) == body
    assert each.read_as(name, memoryview(each.data)) == body  # type: ignore[arg-type]
    assert len(each.data) % 4096 == 0


@PROFILE
@given(
    kind=st.sampled_from(sealed_keys.SealedKind),
    key_id=SHORT_ID,
    message=st.binary(max_size=100) | st.integers(3900, 4100).map(bytes),
)
def test_sealed_keys_come_back(kind: sealed_keys.SealedKind, key_id: bytes, message: bytes) -> None:
    sealed = sealed_keys.SealedKey(kind, key_id, message)
    repository_id = make_world().key.repository_id
    data = sealed_keys.encode(sealed, repository_id)
    assert len(data) % 4096 == 0
    assert sealed_keys.decode(data, "name", repository_id) == sealed


@PROFILE
@given(st.integers(0, 9 * MIB), st.integers(0, 2**32 - 1))
def test_padded_sizes(size: int, drawn: int) -> None:
    padding = padding_size(size, lambda n: drawn.to_bytes(4, "big")[-n:])
    total = size + padding
    assert 0 <= padding < 2 * 65536
    assert total % 4096 == 0
    assert total <= MIB or total % 65536 == 0
    if size < MIB:
        assert padding < 2 * 4096 + 65536 * (total > MIB)


@PROFILE
@given(st.binary(min_size=1, max_size=300) | st.integers(1, 5000).map(bytes), st.integers(0, 2000))
def test_payloads_come_back_and_wrong_lengths_are_damage(raw: bytes, other: int) -> None:
    codec = Codec(8192)
    payload = bytes(codec.compress(memoryview(raw)))
    assert bytes(codec.decompress(memoryview(payload), len(raw))) == raw
    if other != len(raw):
        with pytest.raises(Damaged):
            codec.decompress(memoryview(payload), other)
    for size in range(0, len(payload), 1 + len(payload) // 20):
        with pytest.raises(Damaged):
            codec.decompress(memoryview(payload)[:size], len(raw))


@PROFILE
@given(st.binary(min_size=1, max_size=80), st.integers(0, 9000))
def test_any_payload_is_damage_or_has_the_length(payload: bytes, size: int) -> None:
    codec = Codec(8192)
    for each in (payload, b"\1\x28\xb5\x2f\xfd" + payload):
        with contextlib.suppress(Damaged):
            assert len(codec.decompress(memoryview(each), size)) == size


def test_keys_of_different_worlds_differ() -> None:
    assert make_key(1).repository_id != make_key(2).repository_id
